#define _GNU_SOURCE
#include "nfs/proto/nfs4.h"

#include "nfs/idmap.h"

#include <errno.h>
#include <sys/stat.h>

#define NFS_PROGRAM  100003
#define NFS_VERSION  4
#define COMPOUND     1
#define LISTING_SIZE (MOST_REPLY / 2)
#define MOST_TEXT    1024 /* of an owner */
#define MOST_TAG     1024
#define MOST_WORDS   8

enum operation {
    GETATTR = 9,
    GETFH = 10,
    LOOKUP = 15,
    PUTFH = 22,
    PUTROOTFH = 24,
    READDIR = 26,
    SETATTR = 34,
    VERIFY = 37,
};

/* RFC 7530, section 5: bits of the first word of a bitmap, and of the second. */
enum first_word {
    TYPE = 1U << 1,
    CHANGE = 1U << 3,
    SIZE = 1U << 4,
    FSID = 1U << 8,
    READ_ERROR = 1U << 11,
    FILEHANDLE = 1U << 19,
    FILEID = 1U << 20,
};
enum second_word {
    MODE = 1U << 1,
    LINKS = 1U << 3,
    OWNER = 1U << 4,
    GROUP = 1U << 5,
    CHANGED = 1U << 20,
    MODIFIED = 1U << 21,
};

#define FIRST  (TYPE | CHANGE | SIZE | FSID | FILEID)
#define SECOND (MODE | LINKS | OWNER | GROUP | CHANGED | MODIFIED)

/* ---- calls */

static struct xdr_out *begin(struct rpc *rpc, uint32_t operations)
{
    struct xdr_out *call = rpc_begin(rpc, NFS_PROGRAM, NFS_VERSION, COMPOUND);
    if (!call)
        return NULL;
    xdr_put32(call, 0); /* no tag */
    xdr_put32(call, 0); /* minor version */
    xdr_put32(call, operations);
    return call;
}

static void put_bitmap(struct xdr_out *call, uint32_t first, uint32_t second)
{
    xdr_put32(call, 2);
    xdr_put32(call, first);
    xdr_put32(call, second);
}

static void put_handle(struct xdr_out *call, const struct handle *handle)
{
    xdr_put32(call, PUTFH);
    xdr_put_bytes(call, handle->bytes, handle->length);
}

static void put_getattr(struct xdr_out *call)
{
    xdr_put32(call, GETATTR);
    put_bitmap(call, FIRST, SECOND);
}

static bool call_getattr4(struct rpc *rpc, const struct handle *handle)
{
    struct xdr_out *call = begin(rpc, 2);
    if (!call)
        return false;
    put_handle(call, handle);
    put_getattr(call);
    return true;
}

static bool call_lookup4(struct rpc *rpc, const struct handle *directory, const void *name,
                         size_t length)
{
    struct xdr_out *call = begin(rpc, 4);
    if (!call)
        return false;
    put_handle(call, directory);
    xdr_put32(call, LOOKUP);
    xdr_put_bytes(call, name, length);
    xdr_put32(call, GETFH);
    put_getattr(call);
    return true;
}

bool call_root4(struct rpc *rpc)
{
    struct xdr_out *call = begin(rpc, 3);
    if (!call)
        return false;
    xdr_put32(call, PUTROOTFH);
    xdr_put32(call, GETFH);
    put_getattr(call);
    return true;
}

static bool call_listing4(struct rpc *rpc, const struct handle *directory, uint64_t cookie,
                          const uint8_t *verifier)
{
    struct xdr_out *call = begin(rpc, 3);
    if (!call)
        return false;
    put_handle(call, directory);
    put_getattr(call);
    xdr_put32(call, READDIR);
    xdr_put64(call, cookie);
    xdr_put(call, verifier, VERIFIER_SIZE);
    xdr_put32(call, LISTING_SIZE);
    xdr_put32(call, LISTING_SIZE);
    put_bitmap(call, FIRST | READ_ERROR | FILEHANDLE, SECOND);
    return true;
}

static void put_setattr(struct xdr_out *call, const struct handle *handle,
                        const struct setattr *set)
{
    char group[MOST_OWNER];
    size_t length = set->sets_gid ? names_write(call->context, set->gid, group) : 0;
    put_handle(call, handle);
    if (set->guarded) {
        xdr_put32(call, VERIFY);
        put_bitmap(call, CHANGE, 0);
        xdr_put32(call, 8);
        xdr_put64(call, set->guard);
    }
    xdr_put32(call, SETATTR);
    xdr_put64(call, 0); /* the anonymous stateid */
    xdr_put64(call, 0);
    put_bitmap(call, 0, (set->sets_mode ? MODE : 0) | (set->sets_gid ? GROUP : 0));
    xdr_put32(call, (uint32_t)(4 * set->sets_mode + (set->sets_gid ? 4 + xdr_padded(length) : 0)));
    if (set->sets_mode)
        xdr_put32(call, set->mode & 07777);
    if (set->sets_gid)
        xdr_put_bytes(call, group, length);
}

static bool call_setattr4(struct rpc *rpc, const struct handle *const *handles,
                          const struct setattr *sets, size_t count)
{
    uint32_t operations = count == 1;
    for (size_t i = 0; i < count; i++)
        operations += 2 + sets[i].guarded;
    struct xdr_out *call = begin(rpc, operations);
    if (!call)
        return false;
    for (size_t i = 0; i < count; i++)
        put_setattr(call, handles[i], &sets[i]);
    if (count == 1)
        put_getattr(call);
    return true;
}

/* ---- replies */

static int error_of(uint32_t status)
{
    /* RFC 7530, section 13; those that version 3 has as well are the same. */
    switch (status) {
    case 10013: /* GRACE */
        return JUKEBOX_ERROR;
    case 10018: /* RESOURCE */
        return SMALLER_ERROR;
    case 10014: /* FHEXPIRED */
        return -ESTALE;
    case 10016: /* WRONGSEC */
        return -EACCES;
    case 10019: /* MOVED */
        return -EREMOTE;
    case 10021: /* MINOR_VERS_MISMATCH */
        return -EPROTONOSUPPORT;
    case 10027: /* NOT_SAME */
        return -EAGAIN;
    case 10029: /* SYMLINK */
        return -ENOTDIR;
    case 10039: /* BADOWNER: it wants names, or none of ours */
        return -EPROTOTYPE;
    case 10040: /* BADCHAR */
    case 10041: /* BADNAME */
        return -EINVAL;
    case 10002: /* means something else there */
    case 10005:
    case 10006:
        return -EIO;
    default:
        return error_of_status(status);
    }
}

/* The head of a compound's reply: the status of the last operation that was tried, and how many were. */
struct head {
    uint32_t status;
    uint32_t results;
};

static struct head read_head(struct xdr_in *reply)
{
    uint32_t length;
    struct head head = {.status = xdr_get32(reply)};
    xdr_get_bytes(reply, MOST_TAG, &length);
    head.results = xdr_get32(reply);
    return head;
}

static int read_status4(struct xdr_in *reply)
{
    int error = error_of(read_head(reply).status);
    if (reply->bad)
        return -EBADMSG;
    /* There is nothing to be made smaller; and NOT_SAME is READDIR's, of a verifier. */
    return error == SMALLER_ERROR ? JUKEBOX_ERROR : error == -EAGAIN ? -EILSEQ : error;
}

/* Read the head of one operation that must be this one, and well. */
static void expect(struct xdr_in *reply, enum operation operation)
{
    if (xdr_get32(reply) != operation || xdr_get32(reply) != 0)
        reply->bad = true;
}

static void get_handle(struct xdr_in *reply, struct handle *handle)
{
    uint32_t length;
    const uint8_t *bytes = xdr_get_bytes(reply, MOST_HANDLE, &length);
    if (!bytes || length == 0) {
        reply->bad = true;
        return;
    }
    handle->length = (uint8_t)length;
    memcpy(handle->bytes, bytes, length);
}

/* Read a uid or gid: 0, or the error of names_read. */
static int get_id(struct xdr_in *reply, enum owner kind, uint32_t *id)
{
    uint32_t length;
    const uint8_t *text = xdr_get_bytes(reply, MOST_TEXT, &length);
    if (!text || length == 0) {
        reply->bad = true;
        return -EBADMSG;
    }
    return names_read(reply->context, kind, text, length, id);
}

static uint64_t get_time(struct xdr_in *reply)
{
    uint64_t seconds = xdr_get64(reply);
    return seconds << 32 | xdr_get32(reply);
}

/*
 * Read what there is of the attributes that were asked for; those of entries may lack all but an error.
 * Returns 0 or the error of an owner; then they are not known.
 */
static int get_attributes(struct xdr_in *reply, struct attributes *found, struct handle *handle)
{
    int error = 0;
    static const uint32_t TYPES[] = {0,       S_IFREG, S_IFDIR,  S_IFBLK,
                                     S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO};
    uint32_t words = xdr_get32(reply), bits[MOST_WORDS] = {0}, length;
    if (words > MOST_WORDS)
        reply->bad = true;
    for (uint32_t i = 0; !reply->bad && i < words; i++)
        bits[i] = xdr_get32(reply);
    const uint8_t *bytes = xdr_get_bytes(reply, MOST_REPLY, &length);
    if (!bytes || bits[0] & ~(uint32_t)(FIRST | READ_ERROR | FILEHANDLE) ||
        bits[1] & ~(uint32_t)SECOND) {
        reply->bad = true;
        return -EBADMSG;
    }
    struct xdr_in in = {.at = bytes, .end = bytes + length, .context = reply->context};
    uint32_t type = bits[0] & TYPE ? xdr_get32(&in) : 1;
    *found = (struct attributes){.known = (bits[0] & FIRST) == FIRST && bits[1] == SECOND};
    if (bits[0] & CHANGE)
        found->guard = xdr_get64(&in);
    if (bits[0] & SIZE)
        found->size = xdr_get64(&in);
    if (bits[0] & FSID) {
        found->fsid = xdr_get64(&in);
        found->fsid ^= xdr_get64(&in) * 0x9E3779B97F4A7C15U; /* two numbers as one */
    }
    if (bits[0] & READ_ERROR)
        xdr_get32(&in);
    if (bits[0] & FILEHANDLE && handle)
        get_handle(&in, handle);
    else if (bits[0] & FILEHANDLE)
        in.bad = true; /* nobody asked for it */
    if (bits[0] & FILEID)
        found->fileid = xdr_get64(&in);
    if (bits[1] & MODE)
        found->mode = xdr_get32(&in) & 07777;
    if (bits[1] & LINKS)
        found->links = xdr_get32(&in);
    if (bits[1] & OWNER)
        error = get_id(&in, OWNER_USER, &found->uid);
    if (bits[1] & GROUP) {
        int other = get_id(&in, OWNER_GROUP, &found->gid);
        error = error ? error : other;
    }
    if (bits[1] & CHANGED)
        found->ctime = get_time(&in);
    if (bits[1] & MODIFIED)
        found->mtime = time_of(get_time(&in));
    if (in.bad || type == 0 || type >= sizeof(TYPES) / sizeof(TYPES[0]))
        reply->bad = true;
    else
        found->mode |= TYPES[type];
    found->known &= error == 0;
    return error;
}

static int ending(const struct xdr_in *reply)
{
    return reply->bad ? -EBADMSG : 0;
}

/* Read GETATTR at the end of a compound: all that was asked for must be there. */
static int read_last_getattr(struct xdr_in *reply, struct attributes *found)
{
    expect(reply, GETATTR);
    int error = get_attributes(reply, found, NULL);
    if (reply->bad)
        return -EBADMSG;
    return error ? error : found->known ? 0 : -EBADMSG;
}

static int read_getattr4(struct xdr_in *reply, struct attributes *found)
{
    expect(reply, PUTFH);
    return read_last_getattr(reply, found);
}

static int read_lookup4(struct xdr_in *reply, struct handle *handle, struct attributes *found)
{
    uint32_t operation = xdr_get32(reply);
    if (xdr_get32(reply) != 0)
        reply->bad = true;
    if (operation == PUTFH)
        expect(reply, LOOKUP);
    else if (operation != PUTROOTFH)
        reply->bad = true;
    expect(reply, GETFH);
    get_handle(reply, handle);
    return read_last_getattr(reply, found);
}

static int read_listing4(struct xdr_in *reply, struct listing3 *listing)
{
    expect(reply, PUTFH);
    expect(reply, GETATTR);
    get_attributes(reply, &listing->directory, NULL);
    expect(reply, READDIR);
    listing->verifier = xdr_take(reply, VERIFIER_SIZE);
    return ending(reply);
}

static int read_entry4(struct xdr_in *reply, struct listing3 *listing, struct entry3 *entry)
{
    if (!xdr_get32(reply)) {
        listing->is_last = xdr_get32(reply);
        return ending(reply);
    }
    entry->cookie = xdr_get64(reply);
    entry->name = xdr_get_bytes(reply, MOST_NAME, &entry->length);
    entry->handle.length = 0;
    get_attributes(reply, &entry->attributes, &entry->handle);
    entry->fileid = entry->attributes.fileid;
    if (reply->bad || check_name(entry->name, entry->length) < 0)
        return -EBADMSG;
    return 1;
}

/* Read one operation's result, which is all that it says: 0, or its error. Some servers leave the last out. */
static int read_result(struct xdr_in *reply, struct head *head, enum operation operation)
{
    if (head->results == 0)
        return head->status && !reply->bad ? error_of(head->status) : -EBADMSG;
    head->results--;
    uint32_t got = xdr_get32(reply);
    uint32_t status = xdr_get32(reply);
    if (got == SETATTR) { /* says which attributes were set, also if it failed */
        uint32_t words = xdr_get32(reply);
        for (uint32_t i = 0; i < words && i < MOST_WORDS; i++)
            xdr_get32(reply);
        if (words > MOST_WORDS)
            reply->bad = true;
    }
    return reply->bad || got != operation ? -EBADMSG : error_of(status);
}

static size_t read_setattr4(struct xdr_in *reply, const struct setattr *sets, size_t count,
                            int *errors, struct attributes *after)
{
    struct head head = read_head(reply);
    after->known = false;
    for (size_t i = 0; i < count; i++) {
        errors[i] = read_result(reply, &head, PUTFH);
        if (errors[i] == 0 && sets[i].guarded)
            errors[i] = read_result(reply, &head, VERIFY);
        if (errors[i] == 0)
            errors[i] = read_result(reply, &head, SETATTR);
        if (errors[i])
            return i + 1;
    }
    /* It is changed: if only its attributes are not to be had, they are asked for again. */
    if (count == 1 && read_result(reply, &head, GETATTR) == 0) {
        get_attributes(reply, after, NULL);
        after->known &= !reply->bad;
    }
    return count;
}

const struct protocol PROTOCOL4 = {
    .together = 5,
    .call_getattr = call_getattr4,
    .call_lookup = call_lookup4,
    .call_listing = call_listing4,
    .call_setattr = call_setattr4,
    .read_status = read_status4,
    .read_getattr = read_getattr4,
    .read_lookup = read_lookup4,
    .read_listing = read_listing4,
    .read_entry = read_entry4,
    .read_setattr = read_setattr4,
};
