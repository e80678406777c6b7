/*
 * The compounds of version 4.0 and their replies (nfs4.h).
 *
 *     struct head   the head of a compound's reply
 */

#define _GNU_SOURCE
#include "nfs/proto/nfs4.h"

#include <errno.h>

#include "nfs/proto/idmap.h"

#define NFS_PROGRAM 100003
#define NFS_VERSION 4
#define COMPOUND    1
#define MAX_OWNER   1024 /* that is skipped; idmap.h has the bound of what is understood */
#define MAX_TAG     1024
#define MAX_WORDS   8

enum operation {
    GETATTR = 9,
    GETFH = 10,
    LOOKUP = 15,
    PUTFH = 22,
    PUTROOTFH = 24,
    READDIR = 26,
    SETATTR = 34,
    VERIFY = 37,
    ILLEGAL = 10044, /* in place of one that the server does not know */
};

/* RFC 7530, section 5: bits of the first and second words of an attribute bitmap. */
enum first_word {
    TYPE = 1U << 1,
    EXPIRES = 1U << 2, /* fh_expire_type; 0: never */
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
    CREATED = 1U << 18, /* many servers lack it */
    CHANGED = 1U << 20,
    MODIFIED = 1U << 21,
};

#define FIRST  (TYPE | CHANGE | SIZE | FSID | FILEID)
#define SECOND (MODE | LINKS | OWNER | GROUP | CREATED | CHANGED | MODIFIED)
/* Requested of single entries only, and of those in listings only. */
#define OF_ENTRY  EXPIRES
#define OF_LISTED (READ_ERROR | FILEHANDLE)

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

static void put_handle(struct xdr_out *call, const struct proto_handle *handle)
{
    xdr_put32(call, PUTFH);
    xdr_put_bytes(call, handle->bytes, handle->length);
}

static void put_getattr(struct xdr_out *call)
{
    xdr_put32(call, GETATTR);
    put_bitmap(call, FIRST | OF_ENTRY, SECOND);
}

static bool call_getattr(struct rpc *rpc, const struct proto_handle *handle)
{
    struct xdr_out *call = begin(rpc, 2);
    if (!call)
        return false;
    put_handle(call, handle);
    put_getattr(call);
    return true;
}

static bool call_lookup(struct rpc *rpc, const struct proto_handle *directory, const void *name,
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

bool nfs4_call_root(struct rpc *rpc)
{
    struct xdr_out *call = begin(rpc, 3);
    if (!call)
        return false;
    xdr_put32(call, PUTROOTFH);
    xdr_put32(call, GETFH);
    put_getattr(call);
    return true;
}

static bool call_listing(struct rpc *rpc, const struct proto_handle *directory, uint64_t cookie,
                         const uint8_t *verifier, uint32_t size, bool is_plain)
{
    (void)is_plain;
    struct xdr_out *call = begin(rpc, 3);
    if (!call)
        return false;
    put_handle(call, directory);
    put_getattr(call);
    xdr_put32(call, READDIR);
    xdr_put64(call, cookie);
    xdr_put(call, verifier, PROTO_VERIFIER);
    xdr_put32(call, size);
    xdr_put32(call, size);
    put_bitmap(call, FIRST | OF_LISTED, SECOND);
    return true;
}

static void put_setattr(struct xdr_out *call, const struct proto_handle *handle,
                        const struct proto_setattr *set)
{
    char owner[IDMAP_MAX_OWNER], group[IDMAP_MAX_OWNER];
    size_t owner_length =
        set->sets_uid ? idmap_write(call->context, IDMAP_USER, set->uid, owner) : 0;
    size_t group_length =
        set->sets_gid ? idmap_write(call->context, IDMAP_GROUP, set->gid, group) : 0;
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
    put_bitmap(call, 0,
               (set->sets_mode ? MODE : 0) | (set->sets_uid ? OWNER : 0) |
                   (set->sets_gid ? GROUP : 0));
    xdr_put32(call,
              (uint32_t)(4 * set->sets_mode + (set->sets_uid ? 4 + xdr_padded(owner_length) : 0) +
                         (set->sets_gid ? 4 + xdr_padded(group_length) : 0)));
    if (set->sets_mode)
        xdr_put32(call, set->mode & 07777);
    if (set->sets_uid)
        xdr_put_bytes(call, owner, owner_length);
    if (set->sets_gid)
        xdr_put_bytes(call, group, group_length);
}

static bool call_setattr(struct rpc *rpc, const struct proto_handle *const *handles,
                         const struct proto_setattr *sets, size_t count)
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

/* RFC 7530, section 13. */
static int error_of(uint32_t status)
{
    switch (status) {
    case 10013: /* GRACE */
        return PROTO_DELAY;
    case 10018: /* RESOURCE */
        return PROTO_RESOURCE;
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
    case 10039: /* BADOWNER: the server wants names, or does not know this one */
        return -EPROTOTYPE;
    case 10032: /* ATTRNOTSUPP */
    case 10044: /* OP_ILLEGAL */
        return -EOPNOTSUPP;
    case 10040: /* BADCHAR */
    case 10041: /* BADNAME */
        return -EINVAL;
    case 10002: /* of version 3 only */
    case 10006: /* SERVERFAULT */
        return -EIO;
    default:
        return proto_error(status);
    }
}

struct head {
    uint32_t status;  /* of the last operation that the server tried */
    uint32_t results; /* how many it tried */
};

static struct head read_head(struct xdr_in *reply)
{
    uint32_t length;
    struct head head = {.status = xdr_get32(reply)};
    xdr_get_bytes(reply, MAX_TAG, &length);
    head.results = xdr_get32(reply);
    return head;
}

static int read_status(struct xdr_in *reply)
{
    int error = error_of(read_head(reply).status);
    if (reply->bad)
        return -EBADMSG;
    /* Such compounds cannot be made smaller; and NOT_SAME is READDIR's, about a verifier. */
    return error == PROTO_RESOURCE ? PROTO_DELAY : error == -EAGAIN ? -EILSEQ : error;
}

/* Read the head of one result, which must be of this operation and without an error. */
static void expect(struct xdr_in *reply, enum operation operation)
{
    if (xdr_get32(reply) != operation || xdr_get32(reply) != 0)
        reply->bad = true;
}

/* Read a uid or gid. Returns 0, or the error of idmap_read. */
static int get_id(struct xdr_in *reply, enum idmap_kind kind, uint32_t *id)
{
    uint32_t length;
    const uint8_t *text = xdr_get_bytes(reply, MAX_OWNER, &length);
    if (!text || length == 0) {
        reply->bad = true;
        return -EBADMSG;
    }
    return idmap_read(reply->context, kind, text, length, id);
}

static uint64_t get_time(struct xdr_in *reply)
{
    uint64_t seconds = xdr_get64(reply);
    return seconds << 32 | xdr_get32(reply);
}

/* Return the first of the requested attributes that the server did not send, or NULL. */
static const char *missing_of(uint32_t first, uint32_t second)
{
    static const struct {
        uint32_t first, second;
        const char *name;
    } ATTRIBUTES[] = {
        {TYPE, 0, "type"},
        {CHANGE, 0, "change"},
        {SIZE, 0, "size"},
        {FSID, 0, "fsid"},
        {FILEID, 0, "fileid"},
        {0, MODE, "mode"},
        {0, LINKS, "numlinks"},
        {0, OWNER, "owner"},
        {0, GROUP, "owner_group"},
        {0, CHANGED, "time_metadata"},
        {0, MODIFIED, "time_modify"},
    };
    for (size_t i = 0; i < sizeof(ATTRIBUTES) / sizeof(ATTRIBUTES[0]); i++)
        if (ATTRIBUTES[i].first & ~first || ATTRIBUTES[i].second & ~second)
            return ATTRIBUTES[i].name;
    return NULL;
}

/*
 * Read those of the requested attributes that the server sent. They are known if all are there; an
 * entry that the server cannot look at has an error instead. Returns 0, or the error of an owner:
 * then they are not known, either. `handle` is for an entry of a listing; else NULL.
 */
static int get_attributes(struct xdr_in *reply, struct proto_attrs *found,
                          struct proto_handle *handle)
{
    int error = 0;
    uint32_t words = xdr_get32(reply), bits[MAX_WORDS] = {0}, length;
    if (words > MAX_WORDS)
        reply->bad = true;
    for (uint32_t i = 0; !reply->bad && i < words; i++)
        bits[i] = xdr_get32(reply);
    const uint8_t *bytes = xdr_get_bytes(reply, RPC_MAX_REPLY, &length);
    uint32_t requested = FIRST | (handle ? OF_LISTED : OF_ENTRY);
    if (!bytes || bits[0] & ~requested || bits[1] & ~(uint32_t)SECOND) {
        reply->bad = true;
        return -EBADMSG;
    }
    struct xdr_in in = {.at = bytes, .end = bytes + length, .context = reply->context};
    uint32_t type = bits[0] & TYPE ? xdr_get32(&in) : 1;
    *found = (struct proto_attrs){.missing = missing_of(bits[0], bits[1])};
    found->known = !found->missing;
    if (bits[0] & EXPIRES)
        found->lasts = xdr_get32(&in) == 0;
    if (bits[0] & CHANGE)
        found->guard = xdr_get64(&in);
    if (bits[0] & SIZE)
        found->size = xdr_get64(&in);
    if (bits[0] & FSID) {
        found->fsid = xdr_get64(&in);
        found->fsid ^= xdr_get64(&in) * 0x9E3779B97F4A7C15U; /* combines two numbers */
    }
    if (bits[0] & READ_ERROR)
        xdr_get32(&in);
    if (bits[0] & FILEHANDLE)
        proto_get_handle(&in, PROTO_MAX_HANDLE, handle);
    if (bits[0] & FILEID)
        found->fileid = xdr_get64(&in);
    if (bits[1] & MODE)
        found->mode = xdr_get32(&in) & 07777;
    if (bits[1] & LINKS)
        found->links = xdr_get32(&in);
    if (bits[1] & OWNER)
        error = get_id(&in, IDMAP_USER, &found->uid);
    if (bits[1] & GROUP) {
        int other = get_id(&in, IDMAP_GROUP, &found->gid);
        error = error ? error : other;
    }
    if (bits[1] & CREATED)
        found->birth = proto_time(get_time(&in));
    if (bits[1] & CHANGED)
        found->ctime = get_time(&in);
    if (bits[1] & MODIFIED)
        found->mtime = proto_time(get_time(&in));
    if (in.bad || proto_type(type) == 0)
        reply->bad = true;
    found->mode |= proto_type(type);
    found->known &= error == 0;
    return error;
}

/* Read GETATTR at the end of a compound: all attributes must be there. */
static int read_last_getattr(struct xdr_in *reply, struct proto_attrs *found)
{
    expect(reply, GETATTR);
    int error = get_attributes(reply, found, NULL);
    if (reply->bad)
        return -EBADMSG;
    return error ? error : found->known ? 0 : -ENODATA;
}

static int read_getattr(struct xdr_in *reply, struct proto_attrs *found)
{
    expect(reply, PUTFH);
    return read_last_getattr(reply, found);
}

static int read_lookup(struct xdr_in *reply, struct proto_handle *handle, struct proto_attrs *found)
{
    uint32_t operation = xdr_get32(reply);
    if (xdr_get32(reply) != 0)
        reply->bad = true;
    if (operation == PUTFH)
        expect(reply, LOOKUP);
    else if (operation != PUTROOTFH)
        reply->bad = true;
    expect(reply, GETFH);
    proto_get_handle(reply, PROTO_MAX_HANDLE, handle);
    return read_last_getattr(reply, found);
}

static int read_listing(struct xdr_in *reply, struct proto_listing *listing)
{
    expect(reply, PUTFH);
    expect(reply, GETATTR);
    get_attributes(reply, &listing->directory, NULL);
    expect(reply, READDIR);
    listing->verifier = xdr_get(reply, PROTO_VERIFIER);
    return xdr_error(reply);
}

static int read_entry(struct xdr_in *reply, struct proto_listing *listing,
                      struct proto_entry *entry)
{
    if (!xdr_get32(reply)) {
        listing->is_last = xdr_get32(reply);
        return xdr_error(reply);
    }
    entry->cookie = xdr_get64(reply);
    entry->name = xdr_get_bytes(reply, PROTO_LONGEST_NAME, &entry->length);
    entry->handle.length = 0;
    get_attributes(reply, &entry->attrs, &entry->handle);
    entry->fileid = entry->attrs.fileid;
    if (reply->bad || proto_check_name(entry->name, entry->length) < 0)
        return -EBADMSG;
    return 1;
}

/*
 * Read the status of one operation of a SETATTR compound, and skip the rest of its result. Some
 * servers leave out the result of the operation that failed: then the head has its status.
 */
static int read_result(struct xdr_in *reply, struct head *head, enum operation operation)
{
    if (head->results == 0)
        return head->status && !reply->bad ? error_of(head->status) : -EBADMSG;
    head->results--;
    uint32_t got = xdr_get32(reply);
    uint32_t status = xdr_get32(reply);
    if (got == SETATTR) { /* has a bitmap of what was set, also if it failed */
        uint32_t words = xdr_get32(reply);
        for (uint32_t i = 0; i < words && i < MAX_WORDS; i++)
            xdr_get32(reply);
        if (words > MAX_WORDS)
            reply->bad = true;
    }
    if (got == ILLEGAL && status)
        got = operation;
    return reply->bad || got != operation ? -EBADMSG : error_of(status);
}

static size_t read_setattr(struct xdr_in *reply, const struct proto_setattr *sets, size_t count,
                           int *errors, struct proto_attrs *after)
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
    /* The change was made. If only its attributes are missing, the caller asks for them again. */
    if (count == 1 && read_result(reply, &head, GETATTR) == 0) {
        get_attributes(reply, after, NULL);
        after->known &= !reply->bad;
    }
    return count;
}

const struct protocol nfs4_protocol = {
    .version = 4,
    .batch = PROTO_BATCH,
    .call_getattr = call_getattr,
    .call_lookup = call_lookup,
    .call_listing = call_listing,
    .call_setattr = call_setattr,
    .read_status = read_status,
    .read_getattr = read_getattr,
    .read_lookup = read_lookup,
    .read_listing = read_listing,
    .read_entry = read_entry,
    .read_setattr = read_setattr,
};
