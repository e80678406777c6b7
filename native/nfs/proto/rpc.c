/*
 * Its structures, beside those of rpc.h:
 *
 *     struct slot   a call that waits: the message as it was sent, and who gets the reply
 *
 * A call's xid has the number of its slot in its lower bits.
 */

#define _GNU_SOURCE
#include "nfs/proto/rpc.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/system.h"

#define SLOT_BITS   12
#define MILLISECOND 1000000LL
#define FIRST_PAUSE (50 * MILLISECOND)
#define LAST_PAUSE  (2000 * MILLISECOND)
/* So many replies in a row that are none (a record of absurd size, say) end the calls that wait. */
#define MOST_BROKEN 3
/* A call is made anew so often, with pauses that double to 64 times the first. */
#define MOST_LATER 20
/* Ports that only root may use; those below are other services' (as bindresvport(3) has it). */
#define FIRST_PORT 600
#define LAST_PORT  1023

#define LAST_FRAGMENT 0x80000000U
#define CALL          0
#define REPLY         1
#define RPC_VERSION   2
#define AUTH_NONE     0
#define AUTH_SYS      1
#define MOST_VERIFIER 400

struct slot {
    uint32_t xid;
    uint32_t serial;
    unsigned later; /* so often it was to be made anew */
    bool sent;
    bool again;    /* more than once */
    size_t length; /* of the message; 0: free */
    int64_t due;   /* not before; 0: it was sent */
    int64_t when;  /* it was sent */
    rpc_answer *answer;
    void *owner;
    uint64_t tag;
    uint8_t message[MOST_CALL];
};

struct rpc {
    struct rpc_settings settings;
    struct pace *pace;
    int fd;
    bool is_connected;
    bool was_connected;
    int broken; /* in a row */
    struct slot *slots;
    uint32_t *unused;
    size_t unused_count;
    size_t waiting;
    size_t delayed;
    uint32_t serial;
    struct xdr_out call; /* that is being written */
    struct buffer out;
    size_t out_at;
    uint8_t *in;
    size_t in_length;
    int64_t heard; /* when something came last, or a call was made while none waited */
    int64_t ended; /* the same of answers that end a call */
    int64_t tried; /* when the connection was made, or tried */
    int64_t pause; /* before the next try */
};

/* ---- open and close */

static void drop(struct rpc *rpc)
{
    if (rpc->fd >= 0)
        close(rpc->fd);
    rpc->fd = -1;
    rpc->is_connected = false;
    rpc->out.length = rpc->out_at = rpc->in_length = 0;
}

int rpc_open(const struct rpc_settings *settings, struct pace *pace, struct rpc **made)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));
    if (!rpc)
        return -ENOMEM;
    rpc->settings = *settings;
    rpc->pace = pace;
    rpc->fd = -1;
    rpc->was_connected = settings->insists;
    if (rpc->settings.calls > (1U << SLOT_BITS))
        rpc->settings.calls = 1U << SLOT_BITS;
    rpc->slots = calloc(rpc->settings.calls, sizeof(*rpc->slots));
    rpc->unused = calloc(rpc->settings.calls, sizeof(*rpc->unused));
    rpc->in = malloc(MOST_REPLY);
    if (!rpc->slots || !rpc->unused || !rpc->in) {
        rpc_close(rpc);
        return -ENOMEM;
    }
    for (size_t i = 0; i < rpc->settings.calls; i++)
        rpc->unused[rpc->unused_count++] = (uint32_t)(rpc->settings.calls - 1 - i);
    /* Two connections of one client must not use the same xids. */
    if (getrandom(&rpc->serial, sizeof(rpc->serial), 0) != sizeof(rpc->serial))
        rpc->serial = (uint32_t)sys_monotonic_time();
    *made = rpc;
    return 0;
}

void rpc_close(struct rpc *rpc)
{
    rpc_cancel(rpc, -ECANCELED);
    buffer_free(&rpc->out);
    free(rpc->slots);
    free(rpc->unused);
    free(rpc->in);
    free(rpc);
}

size_t rpc_waiting(const struct rpc *rpc)
{
    return rpc->waiting;
}

/* ---- calls */

static void number_call(struct rpc *rpc, struct slot *slot)
{
    slot->serial = rpc->serial++;
    slot->xid = slot->serial << SLOT_BITS | (uint32_t)(slot - rpc->slots);
}

/* Write the head of a call: RFC 5531, section 9, and appendix A for AUTH_SYS. */
struct xdr_out *rpc_begin(struct rpc *rpc, uint32_t program, uint32_t version, uint32_t procedure)
{
    if (rpc->unused_count == 0)
        return NULL;
    uint32_t number = rpc->unused[rpc->unused_count - 1];
    struct slot *slot = &rpc->slots[number];
    const struct rpc_settings *as = &rpc->settings;
    number_call(rpc, slot);
    rpc->call = (struct xdr_out){
        .bytes = slot->message, .room = sizeof(slot->message), .context = as->context};
    struct xdr_out *out = &rpc->call;
    xdr_put32(out, 0); /* the record mark */
    xdr_put32(out, slot->xid);
    xdr_put32(out, CALL);
    xdr_put32(out, RPC_VERSION);
    xdr_put32(out, program);
    xdr_put32(out, version);
    xdr_put32(out, procedure);
    xdr_put32(out, AUTH_SYS);
    xdr_put32(out, (uint32_t)(20 + 4 * as->group_count));
    xdr_put32(out, 0); /* stamp */
    xdr_put32(out, 0); /* no machine name */
    xdr_put32(out, as->uid);
    xdr_put32(out, as->gid);
    xdr_put32(out, (uint32_t)as->group_count);
    for (size_t i = 0; i < as->group_count; i++)
        xdr_put32(out, as->groups[i]);
    xdr_put32(out, AUTH_NONE);
    xdr_put32(out, 0);
    return out;
}

static void forget_sent(struct rpc *rpc)
{
    struct buffer *out = &rpc->out;
    out->length -= rpc->out_at;
    memmove(out->bytes, out->bytes + rpc->out_at, out->length);
    rpc->out_at = 0;
}

/* Queue a call's message; without a connection it is queued when there is one. */
static void queue(struct rpc *rpc, struct slot *slot)
{
    if (!rpc->is_connected)
        return;
    slot->again = slot->sent;
    slot->sent = true;
    slot->when = sys_monotonic_time();
    size_t most = rpc->settings.calls * MOST_CALL;
    if (rpc->out.length + slot->length > most)
        forget_sent(rpc);
    /* No memory, or a server that answers what it did not read: what waits is sent again by and by. */
    if (rpc->out.length + slot->length > most ||
        buffer_put(&rpc->out, slot->message, slot->length) < 0)
        drop(rpc);
}

void rpc_send(struct rpc *rpc, rpc_answer *answer, void *owner, uint64_t tag)
{
    struct xdr_out *call = &rpc->call;
    struct slot *slot = &rpc->slots[rpc->unused[--rpc->unused_count]];
    uint32_t mark = htobe32(LAST_FRAGMENT | (uint32_t)(call->length - sizeof(mark)));
    memcpy(slot->message, &mark, sizeof(mark));
    slot->length = call->length;
    slot->answer = answer;
    slot->owner = owner;
    slot->tag = tag;
    slot->sent = slot->again = false;
    slot->later = 0;
    slot->due = 0;
    if (rpc->waiting++ == 0)
        rpc->heard = rpc->ended = sys_monotonic_time();
    pace_sent(rpc->pace);
    queue(rpc, slot);
}

static void release(struct rpc *rpc, struct slot *slot)
{
    slot->length = 0;
    rpc->delayed -= slot->due != 0;
    rpc->unused[rpc->unused_count++] = (uint32_t)(slot - rpc->slots);
    rpc->waiting--;
    pace_ended(rpc->pace);
}

void rpc_cancel(struct rpc *rpc, int error)
{
    drop(rpc);
    /* Those that answers make now are not to be cancelled: it is as many as there are now. */
    uint32_t until = rpc->serial;
    for (size_t i = 0; rpc->slots && i < rpc->settings.calls; i++) {
        struct slot *slot = &rpc->slots[i];
        if (slot->length == 0 || (int32_t)(slot->serial - until) >= 0)
            continue;
        rpc_answer *answer = slot->answer;
        void *owner = slot->owner;
        uint64_t tag = slot->tag;
        bool again = slot->again;
        release(rpc, slot);
        answer(owner, tag, error, NULL, again);
    }
}

/* ---- the connection */

/* Take a port that only root may use, if we may: servers ask for that. */
static void take_port(int fd, sa_family_t family)
{
    uint16_t random = 0;
    if (geteuid() != 0 || getrandom(&random, sizeof(random), 0) != sizeof(random))
        return;
    const int ports = LAST_PORT - FIRST_PORT + 1;
    for (int i = 0; i < ports; i++) {
        uint16_t port = htobe16((uint16_t)(FIRST_PORT + (random + i) % ports));
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = port};
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = port};
        int result = family == AF_INET6 ? bind(fd, (struct sockaddr *)&six, sizeof(six))
                                        : bind(fd, (struct sockaddr *)&four, sizeof(four));
        if (result == 0 || errno != EADDRINUSE)
            return;
    }
}

static void break_off(struct rpc *rpc, int error)
{
    drop(rpc);
    if (!rpc->was_connected) {
        rpc_cancel(rpc, error);
        return;
    }
    rpc->pause = rpc->pause == 0 ? FIRST_PAUSE : rpc->pause * 2;
    if (rpc->pause > LAST_PAUSE)
        rpc->pause = LAST_PAUSE;
}

static void begin_connection(struct rpc *rpc)
{
    const struct rpc_settings *to = &rpc->settings;
    const int on = 1;
    rpc->tried = sys_monotonic_time();
    rpc->fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (rpc->fd < 0) {
        break_off(rpc, -errno);
        return;
    }
    setsockopt(rpc->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(rpc->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    take_port(rpc->fd, to->address.ss_family);
    if (connect(rpc->fd, (const struct sockaddr *)&to->address, to->address_length) < 0 &&
        errno != EINPROGRESS)
        break_off(rpc, -errno);
}

/* A connection stands, or failed: send (again) all that waits. */
static void end_connection(struct rpc *rpc)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(rpc->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error) {
        break_off(rpc, -error);
        return;
    }
    rpc->is_connected = rpc->was_connected = true;
    rpc->tried = sys_monotonic_time();
    for (size_t i = 0; rpc->is_connected && i < rpc->settings.calls; i++) {
        struct slot *slot = &rpc->slots[i];
        if (slot->length > 0 && !slot->due)
            queue(rpc, slot);
    }
}

static void transmit(struct rpc *rpc)
{
    while (rpc->is_connected && rpc->out_at < rpc->out.length) {
        ssize_t sent = send(rpc->fd, rpc->out.bytes + rpc->out_at, rpc->out.length - rpc->out_at,
                            MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            break_off(rpc, -errno);
        else
            rpc->out_at += (size_t)sent;
    }
    if (rpc->is_connected)
        rpc->out.length = rpc->out_at = 0;
}

/* ---- replies */

/* Read the head of a reply: 0, or the error that it is. RFC 5531, section 9. */
static int read_head(struct xdr_in *reply)
{
    static const int ERRORS[] = {0, -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP, -EINVAL, -EIO};
    if (xdr_get32(reply) != REPLY)
        return -EBADMSG;
    uint32_t denied = xdr_get32(reply);
    if (denied)
        return reply->bad || denied > 1 ? -EBADMSG
               : xdr_get32(reply) == 0  ? -EPROTONOSUPPORT
                                        : -EACCES;
    uint32_t length;
    xdr_get32(reply);
    xdr_get_bytes(reply, MOST_VERIFIER, &length);
    uint32_t status = xdr_get32(reply);
    if (reply->bad || status >= sizeof(ERRORS) / sizeof(ERRORS[0]))
        return -EBADMSG;
    return ERRORS[status];
}

/* Have the call made anew later, with another xid: to this one the server would say the same. */
static void make_later(struct rpc *rpc, struct slot *slot, int milliseconds)
{
    number_call(rpc, slot);
    uint32_t xid = htobe32(slot->xid);
    memcpy(slot->message + sizeof(xid), &xid, sizeof(xid));
    slot->sent = false;
    slot->due = sys_monotonic_time() + milliseconds * MILLISECOND;
    rpc->delayed++;
}

static void take_reply(struct rpc *rpc, const uint8_t *bytes, size_t length)
{
    struct xdr_in reply = {.at = bytes, .end = bytes + length, .context = rpc->settings.context};
    uint32_t xid = xdr_get32(&reply);
    uint32_t number = xid & ((1U << SLOT_BITS) - 1);
    struct slot *slot = number < rpc->settings.calls ? &rpc->slots[number] : NULL;
    if (reply.bad || !slot || slot->length == 0 || slot->xid != xid || slot->due)
        return; /* a late one, to a call that was made anew */
    rpc->heard = sys_monotonic_time();
    int64_t latency = rpc->heard - slot->when;
    bool again = slot->again;
    int error = read_head(&reply);
    int later = slot->answer(slot->owner, slot->tag, error, error ? NULL : &reply, slot->again);
    if (later > 0)
        pace_refused(rpc->pace, rpc->heard, latency);
    else if (!again)
        pace_answered(rpc->pace, rpc->heard, latency);
    if (later > 0 && slot->later++ < MOST_LATER) {
        make_later(rpc, slot, later << (slot->later < 6 ? slot->later : 6));
    } else {
        if (later > 0)
            slot->answer(slot->owner, slot->tag, -ETIMEDOUT, NULL, slot->again);
        release(rpc, slot);
        rpc->ended = sys_monotonic_time();
    }
    rpc->pause = 0;
    rpc->broken = 0;
}

/* How many bytes the record at `bytes` takes: 0 if it is not whole yet, -EBADMSG if it is none. */
static ssize_t measure(const uint8_t *bytes, size_t there)
{
    size_t at = 0;
    uint32_t mark = 0;
    while (!(mark & LAST_FRAGMENT)) {
        if (there - at < sizeof(mark))
            return 0;
        memcpy(&mark, bytes + at, sizeof(mark));
        mark = be32toh(mark);
        at += sizeof(mark);
        size_t size = mark & ~LAST_FRAGMENT;
        if (size > MOST_REPLY - at)
            return -EBADMSG;
        if (there - at < size)
            return 0;
        at += size;
    }
    return (ssize_t)at;
}

/* Take the marks out of a record that is whole; return how long it is without them. */
static size_t join(uint8_t *bytes, size_t size)
{
    size_t to = 0;
    for (size_t from = 0; from < size;) {
        uint32_t mark;
        memcpy(&mark, bytes + from, sizeof(mark));
        from += sizeof(mark);
        size_t more = be32toh(mark) & ~LAST_FRAGMENT;
        memmove(bytes + to, bytes + from, more);
        to += more;
        from += more;
    }
    return to;
}

static void take_replies(struct rpc *rpc)
{
    size_t at = 0;
    while (rpc->is_connected && at < rpc->in_length) {
        ssize_t taken = measure(rpc->in + at, rpc->in_length - at);
        if (taken < 0) {
            break_off(rpc, -EBADMSG);
            if (++rpc->broken >= MOST_BROKEN)
                rpc_cancel(rpc, -EBADMSG);
            return;
        }
        if (taken == 0)
            break;
        take_reply(rpc, rpc->in + at, join(rpc->in + at, (size_t)taken));
        at += (size_t)taken;
    }
    if (!rpc->is_connected)
        return;
    memmove(rpc->in, rpc->in + at, rpc->in_length - at);
    rpc->in_length -= at;
}

static void receive(struct rpc *rpc)
{
    while (rpc->is_connected) {
        size_t room = MOST_REPLY - rpc->in_length;
        ssize_t got = recv(rpc->fd, rpc->in + rpc->in_length, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            break_off(rpc, got == 0 ? -ECONNRESET : -errno);
            return;
        }
        rpc->in_length += (size_t)got;
        take_replies(rpc);
        if ((size_t)got < room)
            return;
    }
}

/* ---- one step */

/* Queue the calls that are to be made anew, now; return when the next one is. */
static int64_t queue_due(struct rpc *rpc, int64_t now)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; rpc->delayed && i < rpc->settings.calls; i++) {
        struct slot *slot = &rpc->slots[i];
        if (slot->length == 0 || slot->due == 0)
            continue;
        if (slot->due <= now) {
            if (rpc->delayed == rpc->waiting)
                rpc->heard = now; /* nobody was to say anything meanwhile */
            slot->due = 0;
            rpc->delayed--;
            queue(rpc, slot);
        } else if (slot->due < next) {
            next = slot->due;
        }
    }
    return next;
}

bool rpc_is_silent(const struct rpc *rpc, int64_t nanoseconds)
{
    return rpc->waiting > 0 && sys_monotonic_time() - rpc->ended > nanoseconds;
}

static bool is_out_of_patience(const struct rpc *rpc)
{
    return rpc->waiting > rpc->delayed &&
           sys_monotonic_time() - rpc->heard > rpc->settings.patience;
}

void rpc_step(struct rpc *rpc, int milliseconds)
{
    int64_t now = sys_monotonic_time();
    int64_t next = queue_due(rpc, now);
    if (is_out_of_patience(rpc)) {
        pace_refused(rpc->pace, now, 0);
        rpc_cancel(rpc, -ETIMEDOUT);
        return;
    }
    /* A server that came back without its connections may never say so. */
    int64_t last = rpc->heard > rpc->tried ? rpc->heard : rpc->tried;
    if (rpc->fd >= 0 && rpc->waiting > rpc->delayed && now - last > rpc->settings.patience / 3)
        break_off(rpc, -ETIMEDOUT);
    if (rpc->fd < 0 && rpc->waiting > 0 && now >= rpc->tried + rpc->pause)
        begin_connection(rpc);
    transmit(rpc);
    if (next != INT64_MAX && next - now < milliseconds * MILLISECOND)
        milliseconds = (int)((next - now) / MILLISECOND) + 1;
    if (rpc->fd < 0) {
        int pause = (int)(rpc->pause / MILLISECOND);
        poll(NULL, 0, pause < milliseconds ? pause : milliseconds);
        return;
    }
    bool sends = !rpc->is_connected || rpc->out_at < rpc->out.length;
    struct pollfd ready = {.fd = rpc->fd, .events = (short)(POLLIN | (sends ? POLLOUT : 0))};
    if (poll(&ready, 1, milliseconds) <= 0)
        return;
    if (!rpc->is_connected)
        end_connection(rpc);
    else if (ready.revents & (POLLIN | POLLERR | POLLHUP))
        receive(rpc);
    transmit(rpc);
}
