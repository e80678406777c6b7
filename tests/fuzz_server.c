/*
 * See fuzz_server.h. Its structures:
 *
 *     struct inode        an entry of the tree; number 0 is version 4's pseudo root, 1 the share's root
 *     struct connection   bytes that the client sent and is to receive
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "xdr.h"

#define MOST_INODES      24
#define MOST_CONNECTIONS 8
#define FIRST_FD         1000
#define MOST_OUT         ((size_t)300 * 1024)
#define MOST_IN          ((size_t)1 << 20)
#define MOST_MESSAGE     2048
#define MOST_OPERATIONS  24
#define LAST_FRAGMENT    0x80000000U
#define MOST_LOSSES      2
#define MOST_DELAYS      16
#define AFTER_STOP       4000 /* steps */
#define HEAD             28   /* bytes before a reply's results: mark, xid, ... */

#define NOT_SYNC    10002
#define STALE       70
#define NOENT       2
#define NOTDIR      20
#define ILLEGAL     10044
#define JUKEBOX     10008
#define NOT_SAME    10027

struct inode {
    uint32_t type; /* 1: file, 2: directory, 5: symbolic link */
    uint32_t mode, links, uid, gid;
    uint64_t size, fsid, fileid, ctime;
    unsigned parent;
    bool is_gone;
    char name[256];
};

struct connection {
    bool is_open, is_connected, is_refused, is_ending;
    uint8_t call[MOST_MESSAGE];
    size_t call_length;
    uint8_t *in;
    size_t in_length, in_room;
    uint8_t *kept; /* a reply that is overtaken by the next one */
    size_t kept_length;
};

/* What there are habits of. */
enum kind {
    A_CONNECTION,
    A_MOUNT,
    A_LOOK,
    A_LOOKUP,
    A_LISTING,
    A_CHANGE,
    KINDS,
};

/* What the script says of a reply, beside damages (mangle). */
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
};

struct script script;
const char *const SHARE = "/s";
long most_steps = 100000, stop_at;
bool hears_stop, is_open;
volatile uint8_t stop;
int until_failure = -1;
bool is_at_work;

static int version;
static bool has_habits;
static unsigned losses, delays;
static const uint8_t *habits[KINDS];
static long steps, steps_after_stop;
static int64_t now;
static struct inode inodes[MOST_INODES];
static unsigned count, page, handle_length;
static uint8_t quirks; /* bits: what is left out */
static struct connection connections[MOST_CONNECTIONS];
static uint8_t out_bytes[MOST_OUT];
static struct xdr_out out;

enum quirk {
    NO_DIRECTORY = 1, /* attributes, of a listing */
    NO_ATTRIBUTES = 2,
    NO_HANDLES = 4,
    NO_LOOKUP = 8, /* attributes */
    NO_AFTER = 16,
    SHORT_READS = 32,
};

void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    abort();
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

size_t take_bytes(uint8_t *to, size_t most)
{
    size_t length = 0;
    while (length < most && script.at < script.end)
        to[length++] = take8();
    return length;
}

/*
 * What networks and busy servers do to replies, and a client is to bear: lost, in pieces, twice, late, and
 * "later, please"; not for ever.
 */
static bool is_bearable(uint8_t choice)
{
    switch (choice) {
    case NONE:
    case DROP_BEFORE:
    case DROP_AFTER:
        return ++losses <= MOST_LOSSES;
    case LATER:
        return ++delays <= MOST_DELAYS;
    default:
        return choice == PIECES || choice == TWICE || choice == OVERTAKEN;
    }
}

/* What becomes of something of this kind; 0: nothing. */
static uint8_t decide(enum kind kind)
{
    if (script.at < script.end)
        habits[kind] = script.at;
    else if (has_habits && habits[kind])
        script.at = habits[kind];
    uint8_t choice = take8();
    if (kind == A_CONNECTION) /* 1, 2: it is refused */
        choice = choice == 1 || choice == 2 ? NONE : 0;
    if (choice && !(is_open && is_bearable(choice)))
        script.deviates = true;
    return choice;
}

/* ---- the tree */

static void make_inode(unsigned number, uint8_t kind)
{
    static const uint32_t FILE_MODES[] = {0644, 0600, 04755, 0664, 02775, 01666};
    struct inode *inode = &inodes[number];
    bool is_directory = number < 2 || kind % 4 == 1;
    *inode = (struct inode){
        .type = is_directory ? 2 : kind % 16 == 3 ? 5 : 1,
        .mode = is_directory ? (kind & 64 ? 02775 : 0755) : FILE_MODES[kind % 6],
        .links = kind % 7 == 2 ? 2 : 1,
        .uid = kind % 3,
        .gid = kind % 5 == 4 ? NEW_GID : kind % 5,
        .size = number,
        .fsid = number == 0 || kind == 255 ? 2 : 1,
        .fileid = 100 + number,
        .ctime = (uint64_t)number << 32 | 5,
    };
    for (unsigned parent = number - 1; number > 1; parent--)
        if (inodes[parent].type == 2 && (parent == 1 || (kind + parent) % 3)) {
            inode->parent = parent;
            break;
        }
    if (kind % 32 == 7) {
        memset(inode->name, 'x', 255);
        inode->name[254] = (char)('a' + number);
    } else {
        snprintf(inode->name, sizeof(inode->name), number == 1 ? "s" : "n%u", number);
    }
}

void server_open(int with, bool habitual)
{
    version = with;
    has_habits = habitual;
    is_open = false;
    losses = delays = 0;
    memset(habits, 0, sizeof(habits));
    now = 1000000000LL;
    steps = 0;
    stop = 0;
    quirks = take8();
    page = 1 + take_below(8);
    static const unsigned LENGTHS[] = {4, 32, 64, 128};
    handle_length = LENGTHS[take_below(version == 4 ? 4 : 3)];
    count = 2 + take_below(MOST_INODES - 1);
    for (unsigned i = 0; i < count; i++)
        make_inode(i, i < 2 ? 0 : take8());
}

void server_close(void)
{
    for (size_t i = 0; i < MOST_CONNECTIONS; i++)
        check(!connections[i].is_open, "a connection was left open");
}

uint64_t server_root_inode(void)
{
    return inodes[1].fileid;
}

bool server_complies(uint32_t directory_bits, uint32_t file_bits, const char *excluded)
{
    for (unsigned i = 1; i < count; i++) {
        const struct inode *inode = &inodes[i];
        bool is_outside = false;
        for (unsigned at = i; at > 1; at = inodes[at].parent)
            is_outside |= inodes[at].fsid != 1 ||
                          (inodes[at].type == 2 && strcmp(inodes[at].name, excluded) == 0);
        uint32_t bits = inode->type == 2 ? directory_bits : file_bits;
        if (inode->type <= 2 && !is_outside &&
            (inode->gid != NEW_GID || (inode->mode & bits) != bits))
            return false;
    }
    return true;
}

static struct inode *find(const uint8_t *handle, uint32_t length)
{
    bool is_known = handle && length == handle_length && handle[0] < count;
    return is_known && !inodes[handle[0]].is_gone ? &inodes[handle[0]] : NULL;
}

static struct inode *find_name(const struct inode *directory, const uint8_t *name, uint32_t length)
{
    unsigned parent = (unsigned)(directory - inodes);
    for (unsigned i = 1; name && i < count; i++)
        if (inodes[i].parent == parent && !inodes[i].is_gone && strlen(inodes[i].name) == length &&
            memcmp(inodes[i].name, name, length) == 0)
            return &inodes[i];
    return NULL;
}

/* Somebody changes an entry. */
static void meddle(void)
{
    struct inode *inode = &inodes[take_below(count)];
    uint8_t what = take8();
    inode->ctime++;
    if (what & 1)
        inode->mode ^= 1U << what % 12;
    if (what & 2)
        inode->gid = what % 8 ? what : NEW_GID;
    if (what & 4)
        inode->fileid += what;
    if (what & 8)
        inode->is_gone = !inode->is_gone;
    if (what & 16)
        inode->type = what % 8;
    if (what & 32)
        inode->size++;
}

/* ---- what both versions write */

static void put_handle(const struct inode *inode)
{
    uint8_t bytes[128];
    memset(bytes, 0xa5, sizeof(bytes));
    bytes[0] = (uint8_t)(inode - inodes);
    xdr_put_bytes(&out, bytes, handle_length);
}

static void set_attributes(struct inode *inode, bool sets_mode, uint32_t mode, bool sets_gid,
                           uint32_t gid)
{
    if (sets_gid && inode->gid != gid) {
        inode->mode &= ~06000U;
        inode->gid = gid;
    }
    if (sets_mode)
        inode->mode = mode & 07777;
    inode->ctime++;
}

/* What is odd about an entry of a listing: the script says it, where a listing is to be odd. */
struct oddity {
    bool is_odd;
    uint8_t kind, name;
    uint64_t number;
};

static struct oddity oddity;

static void put_name(const char *name)
{
    static const char *const NAMES[] = {"", "a/b", "/", "..", ".", "\n", "n2", "../n2"};
    uint8_t raw[300];
    if (!oddity.is_odd || !(oddity.kind & 1))
        xdr_put_bytes(&out, name, strlen(name));
    else if (oddity.name < 8)
        xdr_put_bytes(&out, NAMES[oddity.name], strlen(NAMES[oddity.name]));
    else if (oddity.name == 8)
        xdr_put_bytes(&out, "nul\0", 4);
    else if (oddity.name == 9)
        xdr_put32(&out, 0xfffffff0);
    else
        xdr_put_bytes(&out, raw, take_bytes(raw, oddity.name));
}

static uint64_t odd(uint8_t bit, uint64_t number)
{
    return oddity.is_odd && oddity.kind & bit ? oddity.number : number;
}

/* ---- version 3 */

static void put_attributes3(const struct inode *inode)
{
    xdr_put32(&out, inode->type);
    xdr_put32(&out, inode->mode);
    xdr_put32(&out, inode->links);
    xdr_put32(&out, inode->uid);
    xdr_put32(&out, inode->gid);
    xdr_put64(&out, inode->size);
    xdr_put64(&out, inode->size);
    xdr_put64(&out, 0);
    xdr_put64(&out, odd(2, inode->fsid));
    xdr_put64(&out, odd(4, inode->fileid));
    xdr_put64(&out, 1);
    xdr_put64(&out, 1);
    xdr_put64(&out, inode->ctime);
}

static void put_optional3(const struct inode *inode, uint8_t unless)
{
    bool is_there = !(quirks & unless);
    xdr_put32(&out, is_there);
    if (is_there)
        put_attributes3(inode);
}

static void put_entry3(const struct inode *inode, const char *name, uint64_t cookie)
{
    xdr_put32(&out, 1);
    xdr_put64(&out, inode->fileid);
    put_name(name);
    xdr_put64(&out, odd(8, cookie));
    put_optional3(inode, NO_ATTRIBUTES);
    xdr_put32(&out, !(quirks & NO_HANDLES));
    if (!(quirks & NO_HANDLES))
        put_handle(inode);
}

static void put_attributes4(const struct inode *inode, uint32_t first, uint32_t second);

static void put_entry4(const struct inode *inode, const char *name, uint64_t cookie)
{
    xdr_put32(&out, 1);
    xdr_put64(&out, odd(8, cookie));
    put_name(name);
    if (quirks & NO_ATTRIBUTES)
        put_attributes4(inode, 1U << 11, 0);
    else
        put_attributes4(inode, ~0U, ~0U);
}

/* A page of a directory; cookies are 1 to 2 for the dots, and then inode + 3. */
static void put_entries(const struct inode *directory, uint64_t cookie, uint8_t how)
{
    void (*put)(const struct inode *, const char *, uint64_t) =
        version == 4 ? put_entry4 : put_entry3;
    unsigned parent = (unsigned)(directory - inodes), left = page;
    oddity = (struct oddity){.is_odd = how & 1};
    if (oddity.is_odd) {
        oddity.kind = take8();
        oddity.name = oddity.kind & 1 ? take8() : 0;
        oddity.number = oddity.kind & 14 ? take64() : 0;
    }
    bool is_last = true;
    for (unsigned i = 0; i < 2 && version == 3; i++)
        if (cookie <= i)
            put(directory, i ? ".." : ".", i + 1);
    for (unsigned i = 2; i < count; i++) {
        if (inodes[i].parent != parent || inodes[i].is_gone || cookie >= i + 3)
            continue;
        if (left-- == 0 || how & 2) { /* no entry, and no end */
            is_last = false;
            break;
        }
        put(&inodes[i], inodes[i].name, i + 3);
        if (!(how & 8)) /* only the first one is odd */
            oddity.is_odd = false;
    }
    if (how & 16) { /* one more, with a cookie that goes on and on */
        oddity = (struct oddity){0};
        put(&inodes[1], how & 32 ? "." : "n", cookie + 1000);
        is_last = false;
    }
    oddity = (struct oddity){0};
    xdr_put32(&out, 0);
    xdr_put32(&out, how & 4 ? !is_last : is_last);
}

static void setattr3(struct xdr_in *call, struct inode *inode)
{
    bool sets_mode = xdr_get32(call);
    uint32_t mode = sets_mode ? xdr_get32(call) : 0;
    xdr_get32(call);
    bool sets_gid = xdr_get32(call);
    uint32_t gid = sets_gid ? xdr_get32(call) : 0;
    xdr_take(call, 12);
    bool is_guarded = xdr_get32(call);
    bool is_same = !is_guarded || xdr_get64(call) == inode->ctime;
    check(!call->bad && call->at == call->end, "a SETATTR that does not decode");
    if (is_same)
        set_attributes(inode, sets_mode, mode, sets_gid, gid);
    xdr_put32(&out, is_same ? 0 : NOT_SYNC);
    xdr_put32(&out, 0);
    put_optional3(inode, NO_AFTER);
}

static void answer_nfs3(uint32_t procedure, struct xdr_in *call, uint8_t how)
{
    uint32_t length, name_length;
    const uint8_t *handle = xdr_get_bytes(call, 128, &length), *name;
    check(!call->bad && length > 0, "a call without a handle");
    struct inode *inode = find(handle, length);
    if (!inode) {
        xdr_put32(&out, STALE);
        xdr_put64(&out, 0);
        return;
    }
    switch (procedure) {
    case 1:
        xdr_put32(&out, 0);
        put_attributes3(inode);
        break;
    case 2:
        setattr3(call, inode);
        break;
    case 3:
        name = xdr_get_bytes(call, 255, &name_length);
        check(!call->bad && call->at == call->end && name_length > 0, "a LOOKUP of no name");
        inode = find_name(inode, name, name_length);
        xdr_put32(&out, inode ? 0 : NOENT);
        if (inode) {
            put_handle(inode);
            put_optional3(inode, NO_LOOKUP);
        }
        xdr_put32(&out, 0);
        break;
    case 17: {
        uint64_t cookie = xdr_get64(call);
        xdr_take(call, 16);
        check(!call->bad && call->at == call->end, "a READDIRPLUS that does not decode");
        xdr_put32(&out, inode->type == 2 ? 0 : NOTDIR);
        put_optional3(inode, NO_DIRECTORY);
        xdr_put64(&out, 7);
        put_entries(inode, cookie, how);
        break;
    }
    default:
        check(procedure == 18, "an unknown procedure");
        xdr_put32(&out, 0);
        xdr_put32(&out, 0);
        xdr_put(&out, &(uint8_t[52]){0}, 52);
    }
}

static void answer_mount(struct xdr_in *call)
{
    uint32_t length;
    xdr_get_bytes(call, 1024, &length);
    check(!call->bad, "a MNT without a path");
    xdr_put32(&out, 0);
    put_handle(&inodes[1]);
    xdr_put32(&out, 1);
    xdr_put32(&out, 1);
}

/* ---- version 4 */

static void put_owner(uint32_t number)
{
    char text[16];
    xdr_put_bytes(&out, text, (size_t)snprintf(text, sizeof(text), "%u", number));
}

/* Those that were asked for and are known here. */
static void put_attributes4(const struct inode *inode, uint32_t first, uint32_t second)
{
    static const uint32_t TYPES[] = {0, 1, 2, 3, 4, 5, 6, 7};
    first &= 1U << 1 | 1U << 3 | 1U << 4 | 1U << 8 | 1U << 11 | 1U << 19 | 1U << 20;
    second &= 1U << 1 | 1U << 3 | 1U << 4 | 1U << 5 | 1U << 20 | 1U << 21;
    if (quirks & NO_HANDLES)
        first &= ~(1U << 19);
    xdr_put32(&out, 2);
    xdr_put32(&out, first);
    xdr_put32(&out, second);
    size_t start = out.length;
    xdr_put32(&out, 0);
    if (first & 1U << 1)
        xdr_put32(&out, TYPES[inode->type]);
    if (first & 1U << 3)
        xdr_put64(&out, inode->ctime);
    if (first & 1U << 4)
        xdr_put64(&out, inode->size);
    if (first & 1U << 8) {
        xdr_put64(&out, odd(2, inode->fsid));
        xdr_put64(&out, 0);
    }
    if (first & 1U << 11)
        xdr_put32(&out, 0);
    if (first & 1U << 19)
        put_handle(inode);
    if (first & 1U << 20)
        xdr_put64(&out, odd(4, inode->fileid));
    if (second & 1U << 1)
        xdr_put32(&out, inode->mode);
    if (second & 1U << 3)
        xdr_put32(&out, inode->links);
    if (second & 1U << 4)
        put_owner(inode->uid);
    if (second & 1U << 5)
        put_owner(inode->gid);
    if (second & 1U << 20)
        xdr_put64(&out, inode->ctime), xdr_put32(&out, 0);
    if (second & 1U << 21)
        xdr_put64(&out, 1), xdr_put32(&out, 0);
    if (out.bad)
        return;
    uint32_t length = htobe32((uint32_t)(out.length - start - 4));
    memcpy(out.bytes + start, &length, sizeof(length));
}

static void get_bitmap(struct xdr_in *call, uint32_t *first, uint32_t *second)
{
    uint32_t words = xdr_get32(call);
    *first = words > 0 ? xdr_get32(call) : 0;
    *second = words > 1 ? xdr_get32(call) : 0;
    check(words <= 2, "a bitmap of more words than two");
}

static uint32_t setattr4(struct xdr_in *call, struct inode *inode)
{
    uint32_t first, second, length, mode = 0, gid = 0;
    xdr_take(call, 16);
    get_bitmap(call, &first, &second);
    xdr_get32(call);
    if (second & 1U << 1)
        mode = xdr_get32(call);
    const uint8_t *group = second & 1U << 5 ? xdr_get_bytes(call, 16, &length) : NULL;
    for (uint32_t i = 0; group && i < length; i++)
        gid = gid * 10 + group[i] - '0';
    set_attributes(inode, second & 1U << 1, mode, group, gid);
    return second;
}

static uint32_t verify(struct xdr_in *call, const struct inode *inode)
{
    uint32_t first, second;
    get_bitmap(call, &first, &second);
    check(xdr_get32(call) == 8, "a VERIFY of something else than 8 bytes");
    return xdr_get64(call) == inode->ctime ? 0 : NOT_SAME;
}

static uint32_t lookup4(struct xdr_in *call, struct inode **current)
{
    uint32_t length;
    const uint8_t *name = xdr_get_bytes(call, 255, &length);
    check(!call->bad && length > 0, "a LOOKUP of no name");
    *current = find_name(*current, name, length);
    return *current ? 0 : NOENT;
}

/* Do one operation: its status. */
static uint32_t operate(uint32_t operation, struct xdr_in *call, struct inode **current,
                        uint8_t how)
{
    uint32_t length, first, second, status = 0;
    size_t at = out.length + 4;
    xdr_put32(&out, operation);
    xdr_put32(&out, 0);
    if (operation == 24) {
        *current = &inodes[0];
    } else if (operation == 22) {
        const uint8_t *handle = xdr_get_bytes(call, 128, &length);
        check(!call->bad && length > 0, "a call without a handle");
        *current = find(handle, length);
        status = *current ? 0 : STALE;
    } else if (!*current) {
        status = 10020; /* NOFILEHANDLE */
    } else if (operation == 9) {
        get_bitmap(call, &first, &second);
        if (quirks & NO_AFTER && out.length > 256)
            second = 0;
        put_attributes4(*current, first & ~(1U << 19), second);
    } else if (operation == 10) {
        put_handle(*current);
    } else if (operation == 15) {
        status = lookup4(call, current);
    } else if (operation == 37) {
        status = verify(call, *current);
    } else if (operation == 34) {
        uint32_t set = setattr4(call, *current);
        xdr_put32(&out, 2);
        xdr_put32(&out, 0);
        xdr_put32(&out, set);
    } else {
        check(operation == 26, "an unknown operation");
        uint64_t cookie = xdr_get64(call);
        xdr_take(call, 16);
        get_bitmap(call, &first, &second);
        status = (*current)->type == 2 ? 0 : NOTDIR;
        if (status == 0) {
            xdr_put64(&out, 7);
            put_entries(*current, cookie, how);
        }
    }
    uint32_t encoded = htobe32(status);
    memcpy(out.bytes + at, &encoded, sizeof(encoded));
    return status;
}

static void answer_nfs4(struct xdr_in *call, uint8_t how)
{
    struct inode *current = NULL;
    uint32_t length, status = 0, done = 0;
    size_t head = out.length;
    xdr_get_bytes(call, 1024, &length);
    check(xdr_get32(call) == 0, "a minor version");
    uint32_t operations = xdr_get32(call);
    check(operations <= MOST_OPERATIONS, "too many operations");
    xdr_put(&out, &(uint8_t[12]){0}, 12);
    while (done < operations && status == 0) {
        done++;
        status = operate(xdr_get32(call), call, &current, how);
    }
    check(!call->bad && (status || call->at == call->end), "a COMPOUND that does not decode");
    uint32_t words[] = {htobe32(status), 0, htobe32(done)};
    memcpy(out.bytes + head, words, sizeof(words));
}

/* ---- replies */

static void deliver(struct connection *to, const void *bytes, size_t length)
{
    if (length > MOST_IN - to->in_length)
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

/* The record in fragments of so many bytes. */
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

/* "Later, please" of the first operation. */
static void put_later(void)
{
    out.length = HEAD;
    xdr_put32(&out, JUKEBOX);
    xdr_put32(&out, 0);
    xdr_put32(&out, version == 4);
    xdr_put32(&out, 22);
    xdr_put32(&out, JUKEBOX);
}

static void put_status(bool is_nfs)
{
    static const uint32_t STATUSES[] = {JUKEBOX, NOT_SYNC, NOT_SAME, STALE, NOENT, NOTDIR,
                                        10003,   10018,    13,       30,    28,    10001};
    uint8_t choice = take8();
    uint32_t status = choice < 12 ? STATUSES[choice] : choice < 200 ? choice : take32();
    uint32_t which = take8();
    out.length = HEAD;
    xdr_put32(&out, status);
    xdr_put32(&out, 0);
    if (is_nfs && version == 4) { /* at an operation, after some that went well */
        static const uint32_t OPERATIONS[] = {22, 37, 34, 9, 15, 10, 26, 24};
        xdr_put32(&out, which);
        for (uint32_t i = 0; i < 2 + which % 6; i++) {
            uint32_t operation = OPERATIONS[i < which % 4 ? i : which / 4 % 8];
            xdr_put32(&out, operation);
            xdr_put32(&out, i < which % 4 ? 0 : status);
            if (operation == 34)
                xdr_put32(&out, 0);
        }
    } else {
        xdr_put64(&out, 0);
    }
}

/* Damage the reply in `out`, or how it comes. */
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
        put_status(is_nfs);
        break;
    case LATER:
        if (is_nfs)
            put_later();
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

/* What a call is, with its head taken off. */
static enum kind kind_of(uint32_t program, uint32_t procedure, struct xdr_in call)
{
    static const enum kind KINDS3[] = {0, A_LOOK, A_CHANGE, A_LOOKUP};
    uint32_t ignored;
    if (program != 100003)
        return A_MOUNT;
    if (version == 3)
        return procedure < 4 ? KINDS3[procedure] : procedure == 17 ? A_LISTING : A_MOUNT;
    xdr_get_bytes(&call, 1024, &ignored);
    xdr_get32(&call);
    uint32_t operations = xdr_get32(&call);
    if (xdr_get32(&call) == 24) /* PUTROOTFH */
        return A_MOUNT;
    xdr_get_bytes(&call, 128, &ignored);
    uint32_t second = xdr_get32(&call);
    return second == 15 ? A_LOOKUP : second != 9 ? A_CHANGE : operations == 2 ? A_LOOK : A_LISTING;
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
    uint8_t choice = decide(kind_of(program, procedure, call)), how = 0;
    if (choice == MEDDLE)
        meddle();
    if (choice == ODD_LISTING)
        how = take8();
    if (choice == QUIRKS)
        quirks = take8();
    struct inode before[MOST_INODES];
    memcpy(before, inodes, sizeof(inodes));
    out = (struct xdr_out){.bytes = out_bytes, .room = sizeof(out_bytes) - 1024};
    xdr_put32(&out, 0);
    xdr_put32(&out, xid);
    xdr_put32(&out, 1);
    xdr_put(&out, &(uint8_t[16]){0}, 16);
    if (program == 100003 && its_version == 4 && procedure == 1) {
        answer_nfs4(&call, how);
    } else if (program == 100003 && its_version == 3) {
        answer_nfs3(procedure, &call, how);
    } else if (program == 100005 && procedure == 1) {
        answer_mount(&call);
    } else {
        check(program == 100000 && procedure == 3, "an unknown program");
        xdr_put32(&out, 20048);
    }
    if (choice == NOT_DONE || choice == LATER)
        memcpy(inodes, before, sizeof(inodes));
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
    check(fd >= FIRST_FD && fd < FIRST_FD + MOST_CONNECTIONS && connections[fd - FIRST_FD].is_open,
          "a descriptor that is none");
    return &connections[fd - FIRST_FD];
}

int socket(int family, int type, int protocol)
{
    (void)family, (void)type, (void)protocol;
    for (int i = 0; i < MOST_CONNECTIONS; i++)
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
        if (quirks & SHORT_READS || to->is_ending)
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
    check(++steps < most_steps, "no end");
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
