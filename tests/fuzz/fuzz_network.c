/*
 * The network's side of fuzz_server.h: script, damage to replies, sockets, clock, memory.
 *
 *     struct connection   bytes that the client sent, and those that it will receive
 */

#define _GNU_SOURCE
#include "fuzz_server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 8
#define FIRST_FD        1000
#define MAX_OUT         ((size_t)300 * 1024)
#define MAX_IN          ((size_t)1 << 20)
#define MAX_MESSAGE     2048
#define LAST_FRAGMENT   0x80000000U
#define MAX_LOSSES      2
#define MAX_DELAYS      16
#define AFTER_STOP      4000 /* steps */

struct connection {
    bool is_open, is_connected, is_refused, is_ending, foresees;
    uint32_t xid; /* that is foreseen */
    uint8_t call[MAX_MESSAGE];
    size_t call_length;
    uint8_t *in;
    size_t in_length, in_room;
    uint8_t *kept; /* a reply that is overtaken by the next one */
    size_t kept_length;
};

/* What happens to a reply, beside the damages of mangle. */
enum choice {
    STATUS = 5,
    NONE = 11,
    DROP_BEFORE,
    DROP_AFTER,
    WRONG_MARK,
    PIECES,
    TWICE,
    OVERTAKEN,
    MEDDLE,
    ODD_LISTING,
    QUIRKS,
    NOT_DONE, /* a status, and nothing was done */
    LATER,
    FORESEE, /* answer this call and all later ones by an error, without reading them */
};

struct script script;
long max_steps = 100000, stop_at;
size_t max_unsent;
bool hears_stop, is_open;
volatile uint8_t stop;
int until_failure = -1;
bool is_at_work;

static bool has_habits;
static unsigned losses, delays;
static const uint8_t *habits[HABITS];
static long steps, steps_after_stop;
static int64_t now;
static struct connection connections[MAX_CONNECTIONS];
static uint8_t out_bytes[MAX_OUT];

void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    abort();
}

void network_open(bool habitual)
{
    has_habits = habitual;
    is_open = false;
    losses = delays = 0;
    memset(habits, 0, sizeof(habits));
    now = 1000000000LL;
    steps = 0;
    stop = 0;
}

void network_close(void)
{
    for (size_t i = 0; i < MAX_CONNECTIONS; i++)
        check(!connections[i].is_open, "a connection was left open");
}

/* ---- the script */

uint8_t take8(void)
{
    return script.at < script.end ? *script.at++ : 0;
}

uint32_t take32(void)
{
    uint32_t number = 0;
    for (int i = 0; i < 4; i++)
        number = number << 8 | take8();
    return number;
}

uint64_t take64(void)
{
    uint64_t high = take32();
    return high << 32 | take32();
}

uint8_t take_below(unsigned limit)
{
    return (uint8_t)(take8() % limit);
}

size_t take_bytes(uint8_t *to, size_t max)
{
    size_t length = 0;
    while (length < max && script.at < script.end)
        to[length++] = take8();
    return length;
}

/*
 * Return whether a client must tolerate this: replies that are lost, in pieces, doubled or late,
 * and DELAY, each a limited number of times.
 */
static bool is_bearable(uint8_t choice)
{
    switch (choice) {
    case NONE:
    case DROP_BEFORE:
    case DROP_AFTER:
        return ++losses <= MAX_LOSSES;
    case LATER:
        return ++delays <= MAX_DELAYS;
    default:
        return choice == PIECES || choice == TWICE || choice == OVERTAKEN;
    }
}

/* Return what happens to a call of this kind; 0: nothing. */
static uint8_t decide(enum habit habit)
{
    if (script.at < script.end)
        habits[habit] = script.at;
    else if (has_habits && habits[habit])
        script.at = habits[habit];
    uint8_t choice = take8();
    if (habit == A_CONNECTION) /* 1, 2: it is refused */
        choice = choice == 1 || choice == 2 ? NONE : 0;
    if (choice && !(is_open && is_bearable(choice)))
        script.deviates = true;
    return choice;
}

/* ---- replies */

static void deliver(struct connection *to, const void *bytes, size_t length)
{
    if (length > MAX_IN - to->in_length)
        return;
    if (to->in_length + length > to->in_room) {
        to->in_room = 2 * (to->in_length + length);
        to->in = realloc(to->in, to->in_room);
        check(to->in, "no memory");
    }
    if (length > 0)
        memcpy(to->in + to->in_length, bytes, length);
    to->in_length += length;
}

static void deliver_kept(struct connection *to)
{
    if (to->kept)
        deliver(to, to->kept, to->kept_length);
    free(to->kept);
    to->kept = NULL;
}

static void put_mark(uint8_t *at, uint32_t mark)
{
    mark = htobe32(mark);
    memcpy(at, &mark, sizeof(mark));
}

/* Deliver the record in fragments of `size` bytes. */
static void deliver_pieces(struct connection *to, size_t size)
{
    for (size_t at = 4; at < out.length; at += size) {
        uint8_t mark[4];
        bool is_last = out.length - at <= size;
        size_t length = is_last ? out.length - at : size;
        put_mark(mark, (uint32_t)length | (is_last ? LAST_FRAGMENT : 0));
        deliver(to, mark, sizeof(mark));
        deliver(to, out.bytes + at, length);
    }
}

/* Damage the reply in `out`, or its delivery. */
static void mangle(struct connection *to, uint8_t choice, bool is_nfs)
{
    switch (choice) {
    case 1:
    case 2:
        for (uint8_t i = choice == 1 ? 1 : take_below(16); i > 0; i--) {
            uint32_t at = take8() << 8 | take8();
            out.bytes[4 + at % (out.length - 4)] = take8();
        }
        break;
    case 3:
        out.length = 4 + (size_t)(take8() << 8 | take8()) % (out.length - 4);
        break;
    case 4:
        out.length = HEAD + take_bytes(out.bytes + HEAD, take8());
        break;
    case STATUS:
        server_put_status(is_nfs);
        break;
    case LATER:
        if (is_nfs)
            server_put_later();
        break;
    case 6: /* another's xid */
        out.bytes[4 + take_below(4)] ^= take8();
        break;
    case 7: /* denied, or accepted but not done */
        out.length = 12;
        for (uint8_t i = 1 + take_below(6); i > 0; i--)
            xdr_put32(&out, take8());
        break;
    case 8: { /* raw bytes before it */
        uint8_t raw[256];
        deliver(to, raw, take_bytes(raw, take8()));
        break;
    }
    case 9: { /* a word somewhere */
        uint32_t word = take32(), at = take8() << 8 | take8();
        if (out.length >= 8)
            put_mark(out.bytes + 4 + 4 * (at % (out.length / 4 - 1)), word);
        break;
    }
    case 10: /* more bytes at its end */
        out.length += take_bytes(out.bytes + out.length, take8());
        break;
    default:
        break;
    }
}

/* Answer the call that is likely to come next, by its number. */
static void foresee(struct connection *to)
{
    uint8_t reply[HEAD + 12] = {0};
    put_mark(reply, LAST_FRAGMENT | (sizeof(reply) - 4));
    put_mark(reply + 4, to->xid);
    put_mark(reply + 8, 1);
    put_mark(reply + HEAD, 5);
    deliver(to, reply, sizeof(reply));
    to->xid += 1U << 12;
}

static void send_reply(struct connection *to, uint8_t choice, bool is_nfs)
{
    check(!out.bad, "a reply that is too long");
    mangle(to, choice, is_nfs);
    put_mark(out.bytes, LAST_FRAGMENT | (uint32_t)(out.length - 4));
    switch (choice) {
    case NONE:
        return;
    case DROP_BEFORE:
        to->is_ending = true;
        return;
    case DROP_AFTER:
        deliver(to, out.bytes, out.length);
        to->is_ending = true;
        return;
    case WRONG_MARK:
        put_mark(out.bytes, take32());
        break;
    case PIECES:
        deliver_pieces(to, 1 + take8());
        return;
    case TWICE:
        deliver(to, out.bytes, out.length);
        break;
    case FORESEE:
        to->foresees = true;
        memcpy(&to->xid, out.bytes + 4, sizeof(to->xid));
        to->xid = be32toh(to->xid);
        foresee(to);
        return;
    case OVERTAKEN:
        if (!to->kept) {
            to->kept = malloc(out.length);
            check(to->kept, "no memory");
            memcpy(to->kept, out.bytes, out.length);
            to->kept_length = out.length;
            return;
        }
        break;
    default:
        break;
    }
    deliver(to, out.bytes, out.length);
    deliver_kept(to);
}

static void answer(struct connection *from, const uint8_t *message, size_t length)
{
    bool is_over = script.at == script.end;
    struct xdr_in call = {.at = message, .end = message + length};
    uint32_t xid = xdr_get32(&call), ignored;
    check(xdr_get32(&call) == 0 && xdr_get32(&call) == 2, "no call");
    uint32_t program = xdr_get32(&call);
    uint32_t its_version = xdr_get32(&call), procedure = xdr_get32(&call);
    for (int i = 0; i < 2; i++) {
        xdr_get32(&call);
        xdr_get_bytes(&call, 400, &ignored);
    }
    check(!call.bad, "a call whose head does not decode");
    uint8_t choice = decide(server_habit_of(program, procedure, call)), how = 0;
    if (choice == MEDDLE)
        server_meddle();
    if (choice == ODD_LISTING)
        how = take8();
    if (choice == QUIRKS)
        quirks = take8();
    out = (struct xdr_out){.bytes = out_bytes, .room = sizeof(out_bytes) - 1024};
    xdr_put32(&out, 0);
    xdr_put32(&out, xid);
    xdr_put32(&out, 1);
    xdr_put(&out, &(uint8_t[16]){0}, 16);
    server_answer(program, its_version, procedure, &call, how);
    if (choice == NOT_DONE || choice == LATER)
        server_undo();
    if (choice == NOT_DONE)
        choice = STATUS;
    send_reply(from, choice, program == 100003);
    if (is_over)
        script.at = script.end;
}

/* ---- the system's calls */

static bool is_failing(void)
{
    bool fails = is_at_work && until_failure == 0;
    until_failure -= is_at_work && until_failure >= 0;
    script.deviates |= fails;
    return fails;
}

void *fake_malloc(size_t size)
{
    return is_failing() ? NULL : malloc(size);
}

void *fake_calloc(size_t number, size_t size)
{
    return is_failing() ? NULL : calloc(number, size);
}

void *fake_realloc(void *bytes, size_t size)
{
    return is_failing() ? NULL : realloc(bytes, size);
}

static struct connection *connection_of(int fd)
{
    check(fd >= FIRST_FD && fd < FIRST_FD + MAX_CONNECTIONS && connections[fd - FIRST_FD].is_open,
          "a descriptor that is none");
    return &connections[fd - FIRST_FD];
}

int socket(int family, int type, int protocol)
{
    (void)family, (void)type, (void)protocol;
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        if (!connections[i].is_open) {
            connections[i].is_open = true;
            return FIRST_FD + i;
        }
    check(false, "too many connections");
    return -1;
}

int close(int fd)
{
    struct connection *connection = connection_of(fd);
    free(connection->in);
    free(connection->kept);
    *connection = (struct connection){0};
    return 0;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)fd, (void)address, (void)length;
    return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    (void)fd, (void)level, (void)name, (void)value, (void)length;
    return 0;
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)address, (void)length;
    bool is_over = script.at == script.end;
    uint8_t choice = decide(A_CONNECTION), how = choice ? take8() : 0;
    if (is_over)
        script.at = script.end;
    connection_of(fd)->is_refused = choice && how % 2;
    errno = choice && !(how % 2) ? ECONNREFUSED : EINPROGRESS;
    return -1;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    (void)level, (void)name, (void)length;
    struct connection *connection = connection_of(fd);
    *(int *)value = connection->is_refused ? ECONNREFUSED : 0;
    connection->is_connected = !connection->is_refused;
    return 0;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    (void)flags;
    struct connection *to = connection_of(fd);
    check(to->is_connected, "sent before there is a connection");
    if (to->is_ending) {
        errno = EPIPE;
        return -1;
    }
    check(length <= max_unsent, "more waits to be sent than there are calls");
    if (to->foresees) {
        errno = EAGAIN;
        return -1;
    }
    size_t sent = 0;
    while (sent < length) {
        to->call[to->call_length++] = ((const uint8_t *)bytes)[sent++];
        uint32_t mark = 0;
        memcpy(&mark, to->call, sizeof(mark));
        size_t size = (be32toh(mark) & ~LAST_FRAGMENT) + 4;
        if (to->call_length < 4)
            continue;
        check(size <= sizeof(to->call) && be32toh(mark) & LAST_FRAGMENT, "a call of no record");
        if (to->call_length < size)
            continue;
        to->call_length = 0;
        answer(to, to->call + 4, size - 4);
        if (quirks & SHORT_READS || to->is_ending || to->foresees)
            break;
    }
    return (ssize_t)sent;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
    (void)flags;
    struct connection *from = connection_of(fd);
    if (from->in_length == 0 && !from->is_ending) {
        errno = EAGAIN;
        return length ? -1 : 0;
    }
    size_t got = from->in_length < length ? from->in_length : length;
    if (quirks & SHORT_READS && got > 5)
        got = 5 + from->in_length % 64 < got ? 5 + from->in_length % 64 : got;
    if (got > 0) {
        memcpy(bytes, from->in, got);
        memmove(from->in, from->in + got, from->in_length - got);
    }
    from->in_length -= got;
    return (ssize_t)got;
}

int poll(struct pollfd *ready, nfds_t number, int milliseconds)
{
    check(++steps < max_steps, "no end");
    stop |= stop_at && steps >= stop_at;
    steps_after_stop = stop && hears_stop ? steps_after_stop + 1 : 0;
    check(steps_after_stop < AFTER_STOP, "no end after the stop flag was set");
    struct connection *connection = number ? connection_of(ready->fd) : NULL;
    now += 1000;
    if (!connection) {
        now += milliseconds * 1000000LL;
        return 0;
    }
    if (connection->in_length == 0)
        deliver_kept(connection);
    if (connection->in_length == 0 && connection->foresees) {
        now += 100000000; /* the guess may be wrong, and must not last for ever */
        foresee(connection);
    }
    ready->revents = ready->events & POLLOUT;
    if (connection->in_length > 0 || connection->is_ending)
        ready->revents |= POLLIN;
    if (ready->revents)
        return 1;
    now += milliseconds * 1000000LL;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    now += 10;
    *time = (struct timespec){now / 1000000000, now % 1000000000};
    return 0;
}

ssize_t getrandom(void *bytes, size_t length, unsigned flags)
{
    (void)flags;
    memset(bytes, 0xfd, length); /* numbers of calls wrap soon */
    return (ssize_t)length;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static struct sockaddr_in address = {.sin_family = AF_INET};
    static struct addrinfo first;
    (void)node, (void)service, (void)hints;
    first = (struct addrinfo){
        .ai_family = AF_INET,
        .ai_addrlen = sizeof(address),
        .ai_addr = (struct sockaddr *)&address,
    };
    *found = &first;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}
