/*
 * The server's side of fuzz_server.h:
 *
 *     struct inode     an entry of the tree; 0 is version 4's pseudo root, 1 the share's root
 *     struct oddity    what is wrong with an entry of a listing
 */

#define _GNU_SOURCE
#include "fuzz_server.h"

#include <stdio.h>
#include <sys/stat.h>

#define MAX_INODES     24
#define MAX_OPERATIONS 96

#define NOENT    2
#define NOTDIR   20
#define STALE    70
#define NOT_SYNC 10002
#define JUKEBOX  10008
#define NOT_SAME 10027

struct inode {
    uint32_t type; /* 1: file, 2: directory, 5: symbolic link */
    uint32_t mode, links, uid, gid;
    uint64_t size, fsid, fileid, ctime;
    unsigned parent;
    bool is_gone;
    char name[256];
};

const char *const SHARE = "/s";
uint8_t quirks;
struct xdr_out out;

static int version;
static struct inode inodes[MAX_INODES], before[MAX_INODES];
static unsigned count, page, handle_length;

/* ---- the tree */

static void make_inode(unsigned number, uint8_t kind)
{
    static const uint32_t FILE_MODES[] = {0644, 0600, 04755, 0664, 02775, 01666};
    struct inode *inode = &inodes[number];
    bool is_directory = number < 2 || kind % 4 == 1;
    *inode = (struct inode){
        .type = is_directory     ? 2
                : kind % 16 == 3 ? 5
                                 : 1,
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

void server_open(int with)
{
    version = with;
    quirks = take8();
    page = 1 + take_below(8);
    static const unsigned LENGTHS[] = {4, 32, 64, 128};
    handle_length = LENGTHS[take_below(version == 4 ? 4 : 3)];
    count = 2 + take_below(MAX_INODES - 1);
    for (unsigned i = 0; i < count; i++)
        make_inode(i, i < 2 ? 0 : take8());
}

uint64_t server_root_inode(void)
{
    return inodes[1].fileid;
}

bool server_complies(const struct policy *policy, const char *const *skipped)
{
    for (unsigned i = 1; i < count; i++) {
        const struct inode *inode = &inodes[i];
        bool is_outside = false;
        for (unsigned at = i; at > 1; at = inodes[at].parent)
            is_outside |= inodes[at].type == 2 &&
                          (inodes[at].fsid != 1 || strcmp(inodes[at].name, skipped[0]) == 0 ||
                           (inodes[at].parent == 1 && strcmp(inodes[at].name, skipped[1]) == 0));
        uint32_t type = inode->type == 2 ? S_IFDIR : S_IFREG;
        struct attrs found = {type | inode->mode, inode->uid, inode->gid};
        if (inode->type <= 2 && !is_outside && !attrs_comply(policy, found))
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

void server_meddle(void)
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

static void set_attributes(struct inode *inode, uint32_t mode, uint32_t uid, uint32_t gid)
{
    if (inode->uid != uid || inode->gid != gid)
        inode->mode &= ~06000U;
    if (mode != NO_ID)
        inode->mode = mode & 07777;
    inode->uid = uid, inode->gid = gid, inode->ctime++;
}

/* Given by the script, where a listing is odd. */
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
        put_attributes4(inode, ~(1U << 2), ~0U);
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
    uint32_t mode = xdr_get32(call) ? xdr_get32(call) : NO_ID;
    uint32_t uid = xdr_get32(call) ? xdr_get32(call) : inode->uid;
    uint32_t gid = xdr_get32(call) ? xdr_get32(call) : inode->gid;
    xdr_get(call, 12);
    bool is_guarded = xdr_get32(call);
    bool is_same = !is_guarded || xdr_get64(call) == inode->ctime;
    check(!call->bad && call->at == call->end, "a SETATTR that does not decode");
    if (is_same)
        set_attributes(inode, mode, uid, gid);
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
        xdr_get(call, 16);
        check(!call->bad && call->at == call->end, "a READDIRPLUS that does not decode");
        xdr_put32(&out, inode->type == 2 ? 0 : NOTDIR);
        put_optional3(inode, NO_DIRECTORY);
        xdr_put64(&out, 7);
        put_entries(inode, cookie, how);
        break;
    }
    default:
        check(procedure == 18, "an unknown procedure");
        xdr_put64(&out, 0);
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

/* Write the attributes that were requested and are known here. */
static void put_attributes4(const struct inode *inode, uint32_t first, uint32_t second)
{
    uint32_t handle = quirks & NO_HANDLES ? 0 : 1U << 19, birth = quirks & NO_LOOKUP ? 0 : 1U << 18;
    first &= 1U << 1 | 1U << 2 | 1U << 3 | 1U << 4 | 1U << 8 | 1U << 11 | handle | 1U << 20;
    second &= 1U << 1 | 1U << 3 | 1U << 4 | 1U << 5 | birth | 1U << 20 | 1U << 21;
    xdr_put32(&out, 2);
    xdr_put32(&out, first);
    xdr_put32(&out, second);
    size_t start = out.length;
    xdr_put32(&out, 0);
    if (first & 1U << 1)
        xdr_put32(&out, inode->type);
    if (first & 1U << 2)
        xdr_put32(&out, 0);
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
    if (second & 1U << 18)
        xdr_put64(&out, inode->fileid), xdr_put32(&out, 0);
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

static uint32_t get_owner(struct xdr_in *call)
{
    uint32_t length, id = 0;
    const uint8_t *text = xdr_get_bytes(call, 16, &length);
    for (uint32_t i = 0; text && i < length; i++)
        id = id * 10 + text[i] - '0';
    return id;
}

static uint32_t setattr4(struct xdr_in *call, struct inode *inode)
{
    uint32_t first, second;
    xdr_get(call, 16);
    get_bitmap(call, &first, &second);
    xdr_get32(call);
    uint32_t mode = second & 1U << 1 ? xdr_get32(call) : NO_ID;
    uint32_t uid = second & 1U << 4 ? get_owner(call) : inode->uid;
    uint32_t gid = second & 1U << 5 ? get_owner(call) : inode->gid;
    set_attributes(inode, mode, uid, gid);
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
        xdr_put32(&out, 2), xdr_put32(&out, 0);
        xdr_put32(&out, setattr4(call, *current));
    } else {
        check(operation == 26, "an unknown operation");
        uint64_t cookie = xdr_get64(call);
        xdr_get(call, 16);
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
    uint32_t status = 0, done = 0;
    size_t head = out.length;
    if (session_answer(call, how))
        return;
    uint32_t operations = xdr_get32(call);
    check(operations <= MAX_OPERATIONS, "too many operations");
    xdr_put(&out, &(uint8_t[12]){0}, 12);
    while (done < operations && status == 0) {
        done++;
        status = operate(xdr_get32(call), call, &current, how);
    }
    check(!call->bad && (status || call->at == call->end), "a COMPOUND that does not decode");
    uint32_t words[] = {htobe32(status), 0, htobe32(done)};
    memcpy(out.bytes + head, words, sizeof(words));
}

/* ---- any call */

enum habit server_habit_of(uint32_t program, uint32_t procedure, struct xdr_in call)
{
    static const enum habit HABITS3[] = {0, A_LOOK, A_CHANGE, A_LOOKUP};
    uint32_t ignored;
    if (program != 100003)
        return A_MOUNT;
    if (version == 3)
        return procedure < 4 ? HABITS3[procedure] : procedure == 17 ? A_LISTING : A_MOUNT;
    xdr_get_bytes(&call, 1024, &ignored);
    bool is_session = xdr_get32(&call) > 0; /* version 4.1 */
    uint32_t operations = xdr_get32(&call);
    if (is_session || xdr_get32(&call) == 24) /* PUTROOTFH */
        return A_MOUNT;
    xdr_get_bytes(&call, 128, &ignored);
    uint32_t second = xdr_get32(&call);
    return second == 15 ? A_LOOKUP : second != 9 ? A_CHANGE : operations == 2 ? A_LOOK : A_LISTING;
}

void server_answer(uint32_t program, uint32_t its_version, uint32_t procedure, struct xdr_in *call,
                   uint8_t how)
{
    memcpy(before, inodes, sizeof(inodes));
    if (program == 100003 && its_version == 4 && procedure == 1) {
        answer_nfs4(call, how);
    } else if (program == 100003 && its_version == 3) {
        answer_nfs3(procedure, call, how);
    } else if (program == 100005 && procedure == 1) {
        answer_mount(call);
    } else {
        check(program == 100000 && procedure == 3, "an unknown program");
        xdr_put32(&out, 20048);
    }
}

void server_undo(void)
{
    memcpy(inodes, before, sizeof(inodes));
}

/* ---- errors instead */

void server_put_later(void)
{
    out.length = HEAD;
    xdr_put32(&out, JUKEBOX);
    xdr_put64(&out, version == 4);
    xdr_put32(&out, 22);
    xdr_put32(&out, JUKEBOX);
}

void server_put_status(bool is_nfs)
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
