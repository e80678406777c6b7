/*
 * A connection's life: connect, send, receive, reconnect (rpc.h).
 *
 *     struct slot   an unanswered call: the message as it was sent, and the callback for its reply
 *     struct rpc    the slots of a connection, the bytes to send, and the reply that arrives
 *
 *     free -> [ begun ] -> sent -> answered: free
 *                           |  '-> DELAY: due later, with another xid -> sent
 *                           '----> connection lost: sent again, with the same xid
 *
 * The lower bits of a call's xid are the number of its slot.
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

#include "core/buffer.h"
#include "core/system.h"

#define SLOT_BITS   12
#define MILLISECOND 1000000LL
#define FIRST_PAUSE (50 * MILLISECOND)
#define LAST_PAUSE  (2000 * MILLISECOND)
/* After this many malformed records in a row (of absurd size, say) unanswered calls fail. */
#define MAX_BROKEN 3
/* How often a call is repeated after DELAY, with pauses that double to 64 times the first. */
#define MAX_DELAYS 20
/* Ports that only root may use; lower ones belong to other services (see bindresvport(3)). */
#define FIRST_PORT 600
#define LAST_PORT  1023

#define LAST_FRAGMENT 0x80000000U
#define CALL          0
#define REPLY         1
#define RPC_VERSION   2
#define AUTH_NONE     0
#define AUTH_SYS      1
#define MAX_VERIFIER  400
#define FIRST_ROOM    ((size_t)256 * 1024) /* for replies */

struct slot {
    uint32_t xid;
    uint32_t serial;
    unsigned delays; /* how often the server answered DELAY */
    bool sent;
    bool resent;
    size_t length; /* of the message; 0: the slot is free */
    int64_t due;   /* when to repeat the call; 0: it is sent */
    int64_t sent_at;
    rpc_answer *answer;
    void *owner;
    uint64_t tag;
    uint8_t message[RPC_MAX_CALL];
};

struct rpc {
    struct rpc_settings settings;
    struct pace *pace;
    int fd;
    bool is_connected;
    bool was_connected;
    int broken; /* malformed records in a row */
    struct slot *slots;
    uint32_t *unused;
    size_t unused_count;
    size_t waiting;
    size_t delayed; /* of those: not yet due */
    uint32_t serial;
    struct xdr_out call; /* between rpc_begin and rpc_send */
    struct buffer out;
    size_t out_at; /* sent up to here */
    uint8_t *in;
    size_t in_length;
    size_t in_room;
    int64_t
        heard; /* time of the last reply, or of a call that was made while none was unanswered */
    int64_t ended; /* the same, of replies other than DELAY */
    int64_t tried; /* time of the last connection, or attempt at it */
    int64_t pause; /* before the next attempt */
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
    rpc->in = malloc(FIRST_ROOM);
    rpc->in_room = FIRST_ROOM;
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

/* Queue a call's message. Without a connection, end_connection will. */
static void queue_call(struct rpc *rpc, struct slot *slot)
{
    if (!rpc->is_connected)
        return;
    slot->resent = slot->sent;
    slot->sent = true;
    slot->sent_at = sys_monotonic_time();
    size_t max = rpc->settings.calls * RPC_MAX_CALL;
    if (rpc->out.length + slot->length > max)
        forget_sent(rpc);
    /*
     * No memory, or a server that answers calls which it did not read: reconnect, and send all
     * unanswered calls again.
     */
    if (rpc->out.length + slot->length > max ||
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
    slot->sent = slot->resent = false;
    slot->delays = 0;
    slot->due = 0;
    if (rpc->waiting++ == 0)
        rpc->heard = rpc->ended = sys_monotonic_time();
    pace_sent(rpc->pace);
    queue_call(rpc, slot);
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
    /* Callbacks may make new calls: those are not cancelled. */
    uint32_t until = rpc->serial;
    for (size_t i = 0; rpc->slots && i < rpc->settings.calls; i++) {
        struct slot *slot = &rpc->slots[i];
        if (slot->length == 0 || (int32_t)(slot->serial - until) >= 0)
            continue;
        rpc_answer *answer = slot->answer;
        void *owner = slot->owner;
        uint64_t tag = slot->tag;
        bool resent = slot->resent;
        release(rpc, slot);
        answer(owner, tag, error, NULL, resent);
    }
}

/* ---- the connection */

/* Bind to a port that only root may use, if we may: servers ask for that. */
static void bind_privileged_port(int fd, sa_family_t family)
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
    struct rpc_settings *settings = &rpc->settings;
    const struct rpc_address *to = &settings->addresses[settings->next++ % settings->address_count];
    const int on = 1;
    rpc->tried = sys_monotonic_time();
    rpc->fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (rpc->fd < 0) {
        break_off(rpc, -errno);
        return;
    }
    setsockopt(rpc->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(rpc->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    bind_privileged_port(rpc->fd, to->address.ss_family);
    if (connect(rpc->fd, (const struct sockaddr *)&to->address, to->length) < 0 &&
        errno != EINPROGRESS)
        break_off(rpc, -errno);
}

/* The attempt to connect has ended: queue all unanswered calls, or try again later. */
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
            queue_call(rpc, slot);
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

/* Read the head of a reply (RFC 5531, section 9). Returns 0, or its error. */
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
    xdr_get_bytes(reply, MAX_VERIFIER, &length);
    uint32_t status = xdr_get32(reply);
    if (reply->bad || status >= sizeof(ERRORS) / sizeof(ERRORS[0]))
        return -EBADMSG;
    return ERRORS[status];
}

/* Repeat a call later, with another xid: a reply cache would answer DELAY again to this one. */
static void delay_call(struct rpc *rpc, struct slot *slot, int milliseconds)
{
    number_call(rpc, slot);
    uint32_t xid = htobe32(slot->xid);
    memcpy(slot->message + sizeof(xid), &xid, sizeof(xid));
    slot->sent = false;
    slot->due = sys_monotonic_time() + milliseconds * MILLISECOND;
    rpc->delayed++;
}

static void handle_reply(struct rpc *rpc, const uint8_t *bytes, size_t length)
{
    struct xdr_in reply = {.at = bytes, .end = bytes + length, .context = rpc->settings.context};
    uint32_t xid = xdr_get32(&reply);
    uint32_t number = xid & ((1U << SLOT_BITS) - 1);
    struct slot *slot = number < rpc->settings.calls ? &rpc->slots[number] : NULL;
    if (reply.bad || !slot || slot->length == 0 || slot->xid != xid || slot->due)
        return; /* late: the call was repeated with another xid */
    rpc->heard = sys_monotonic_time();
    int64_t rtt = rpc->heard - slot->sent_at;
    bool resent = slot->resent;
    int error = read_head(&reply);
    int delay = slot->answer(slot->owner, slot->tag, error, error ? NULL : &reply, slot->resent);
    if (delay > 0)
        pace_refused(rpc->pace, rpc->heard, rtt);
    else if (!resent)
        pace_answered(rpc->pace, rpc->heard, rtt);
    if (delay > 0 && slot->delays++ < MAX_DELAYS) {
        delay_call(rpc, slot, delay << (slot->delays < 6 ? slot->delays : 6));
    } else {
        if (delay > 0)
            slot->answer(slot->owner, slot->tag, -ETIMEDOUT, NULL, slot->resent);
        release(rpc, slot);
        rpc->ended = sys_monotonic_time();
    }
    rpc->pause = 0;
    rpc->broken = 0;
}

/*
 * Return the length of the record at `bytes`: 0 if it is incomplete, -EBADMSG if it is malformed.
 */
static ssize_t record_length(const uint8_t *bytes, size_t there)
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
        if (size > RPC_MAX_REPLY - at)
            return -EBADMSG;
        if (there - at < size)
            return 0;
        at += size;
    }
    return (ssize_t)at;
}

/* Remove the marks of the fragments of a complete record; return its length without them. */
static size_t join_fragments(uint8_t *bytes, size_t size)
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

static void handle_replies(struct rpc *rpc)
{
    size_t at = 0;
    while (rpc->is_connected && at < rpc->in_length) {
        ssize_t length = record_length(rpc->in + at, rpc->in_length - at);
        if (length < 0) {
            break_off(rpc, -EBADMSG);
            if (++rpc->broken >= MAX_BROKEN)
                rpc_cancel(rpc, -EBADMSG);
            return;
        }
        if (length == 0)
            break;
        handle_reply(rpc, rpc->in + at, join_fragments(rpc->in + at, (size_t)length));
        at += (size_t)length;
    }
    if (!rpc->is_connected)
        return;
    memmove(rpc->in, rpc->in + at, rpc->in_length - at);
    rpc->in_length -= at;
}

/*
 * Make room for the rest of a record that fills it; there is some, because record_length allows
 * none above RPC_MAX_REPLY.
 */
static bool make_room(struct rpc *rpc)
{
    if (rpc->in_length < rpc->in_room)
        return true;
    uint8_t *in = realloc(rpc->in, 2 * rpc->in_room);
    if (!in) {
        rpc_cancel(rpc, -ENOMEM);
        return false;
    }
    rpc->in = in;
    rpc->in_room *= 2;
    return true;
}

static void receive(struct rpc *rpc)
{
    while (rpc->is_connected && make_room(rpc)) {
        size_t room = rpc->in_room - rpc->in_length;
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
        handle_replies(rpc);
        if ((size_t)got < room)
            return;
    }
}

/* ---- one step */

/* Queue the delayed calls that are due; return when the next one will be. */
static int64_t queue_due(struct rpc *rpc, int64_t now)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; rpc->delayed && i < rpc->settings.calls; i++) {
        struct slot *slot = &rpc->slots[i];
        if (slot->length == 0 || slot->due == 0)
            continue;
        if (slot->due <= now) {
            if (rpc->delayed == rpc->waiting)
                rpc->heard = now; /* no reply was to be expected meanwhile */
            slot->due = 0;
            rpc->delayed--;
            queue_call(rpc, slot);
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
    /* A server that restarted may not reset its old connections. */
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
