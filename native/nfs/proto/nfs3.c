#define _GNU_SOURCE
#include "nfs/proto/nfs3.h"

#include <errno.h>
#include <sys/stat.h>

#define NFS_PROGRAM   100003
#define NFS_VERSION   3
#define MOUNT_PROGRAM 100005
#define MOUNT_VERSION 3
#define MOUNT_MNT     1
#define PORT_PROGRAM  100000
#define PORT_VERSION  2
#define PORT_GETPORT  3
#define PORT_TCP      6
#define MOST_FLAVORS  16
#define MOST_HANDLE3  64

/*
 * Bytes of entries in one reply: some 500 of them, as much as fits in half of MOST_REPLY (servers count
 * in their own ways).
 */
#define LISTING_SIZE (MOST_REPLY / 2)

/* ---- calls */

static struct xdr_out *begin(struct rpc *rpc, enum procedure3 procedure)
{
    return rpc_begin(rpc, NFS_PROGRAM, NFS_VERSION, procedure);
}

static void put_handle(struct xdr_out *call, const struct handle *handle)
{
    xdr_put_bytes(call, handle->bytes, handle->length);
}

static bool call_getattr(struct rpc *rpc, const struct handle *handle)
{
    struct xdr_out *call = begin(rpc, GETATTR3);
    if (!call)
        return false;
    put_handle(call, handle);
    return true;
}

static bool call_setattr(struct rpc *rpc, const struct handle *const *handles,
                         const struct setattr *set, size_t count)
{
    (void)count; /* is 1 */
    struct xdr_out *call = begin(rpc, SETATTR3);
    if (!call)
        return false;
    put_handle(call, handles[0]);
    xdr_put32(call, set->sets_mode);
    if (set->sets_mode)
        xdr_put32(call, set->mode & 07777);
    xdr_put32(call, 0); /* never the owner */
    xdr_put32(call, set->sets_gid);
    if (set->sets_gid)
        xdr_put32(call, set->gid);
    xdr_put32(call, 0); /* size */
    xdr_put32(call, 0); /* atime */
    xdr_put32(call, 0); /* mtime */
    xdr_put32(call, set->guarded);
    if (set->guarded)
        xdr_put64(call, set->guard);
    return true;
}

static bool call_lookup(struct rpc *rpc, const struct handle *directory, const void *name,
                        size_t length)
{
    struct xdr_out *call = begin(rpc, LOOKUP3);
    if (!call)
        return false;
    put_handle(call, directory);
    xdr_put_bytes(call, name, length);
    return true;
}

static bool call_readdirplus(struct rpc *rpc, const struct handle *directory, uint64_t cookie,
                             const uint8_t *verifier)
{
    struct xdr_out *call = begin(rpc, READDIRPLUS3);
    if (!call)
        return false;
    put_handle(call, directory);
    xdr_put64(call, cookie);
    xdr_put(call, verifier, VERIFIER_SIZE);
    xdr_put32(call, LISTING_SIZE);
    xdr_put32(call, LISTING_SIZE);
    return true;
}

bool call_fsstat(struct rpc *rpc, const struct handle *root)
{
    struct xdr_out *call = begin(rpc, FSSTAT3);
    if (!call)
        return false;
    put_handle(call, root);
    return true;
}

bool call_mount(struct rpc *rpc, const char *path)
{
    struct xdr_out *call = rpc_begin(rpc, MOUNT_PROGRAM, MOUNT_VERSION, MOUNT_MNT);
    if (!call)
        return false;
    xdr_put_bytes(call, path, strlen(path));
    return !call->bad;
}

bool call_port(struct rpc *rpc, uint32_t program, uint32_t version)
{
    struct xdr_out *call = rpc_begin(rpc, PORT_PROGRAM, PORT_VERSION, PORT_GETPORT);
    if (!call)
        return false;
    xdr_put32(call, program);
    xdr_put32(call, version);
    xdr_put32(call, PORT_TCP);
    xdr_put32(call, 0);
    return true;
}

/* ---- replies */

int error_of_status(uint32_t status)
{
    /* The lower numbers are those of errno. */
    switch (status) {
    case 0:
    case JUKEBOX_ERROR:
        return (int)status;
    case 10001: /* BADHANDLE */
        return -ESTALE;
    case 10002: /* NOT_SYNC */
        return -EAGAIN;
    case 10003: /* BAD_COOKIE */
        return -EILSEQ;
    case 10004: /* NOTSUPP */
        return -EOPNOTSUPP;
    case 10005: /* TOOSMALL */
    case 10006: /* SERVERFAULT */
    case 10007: /* BADTYPE */
        return -EIO;
    case 1:  /* PERM */
    case 2:  /* NOENT */
    case 5:  /* IO */
    case 6:  /* NXIO */
    case 13: /* ACCES */
    case 19: /* NODEV */
    case 20: /* NOTDIR */
    case 22: /* INVAL */
    case 28: /* NOSPC */
    case 30: /* ROFS */
    case 63: /* NAMETOOLONG */
    case 69: /* DQUOT */
    case 70: /* STALE */
        return status == 63   ? -ENAMETOOLONG
               : status == 69 ? -EDQUOT
               : status == 70 ? -ESTALE
                              : -(int)status;
    default:
        return -EIO;
    }
}

static int read_status(struct xdr_in *reply)
{
    uint32_t status = xdr_get32(reply);
    return reply->bad ? -EBADMSG : error_of_status(status);
}

int64_t time_of(uint64_t time)
{
    return (int64_t)((time >> 32) * 1000000000U + (time & UINT32_MAX));
}

static void get_handle(struct xdr_in *reply, struct handle *handle)
{
    uint32_t length;
    const uint8_t *bytes = xdr_get_bytes(reply, MOST_HANDLE3, &length);
    if (!bytes || length == 0) {
        reply->bad = true;
        return;
    }
    handle->length = (uint8_t)length;
    memcpy(handle->bytes, bytes, length);
}

static void get_attributes(struct xdr_in *reply, struct attributes *found)
{
    static const uint32_t TYPES[] = {0,       S_IFREG, S_IFDIR,  S_IFBLK,
                                     S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO};
    uint32_t type = xdr_get32(reply);
    if (type == 0 || type >= sizeof(TYPES) / sizeof(TYPES[0])) {
        reply->bad = true;
        return;
    }
    *found = (struct attributes){.known = true};
    found->mode = TYPES[type] | (xdr_get32(reply) & 07777);
    found->links = xdr_get32(reply);
    found->uid = xdr_get32(reply);
    found->gid = xdr_get32(reply);
    found->size = xdr_get64(reply);
    xdr_take(reply, 16); /* used, rdev */
    found->fsid = xdr_get64(reply);
    found->fileid = xdr_get64(reply);
    xdr_take(reply, 8); /* atime */
    found->mtime = time_of(xdr_get64(reply));
    found->ctime = found->guard = xdr_get64(reply);
}

static void get_optional_attributes(struct xdr_in *reply, struct attributes *found)
{
    found->known = false;
    if (xdr_get32(reply))
        get_attributes(reply, found);
}

static int ending(const struct xdr_in *reply)
{
    return reply->bad ? -EBADMSG : 0;
}

static int read_getattr(struct xdr_in *reply, struct attributes *found)
{
    get_attributes(reply, found);
    return ending(reply);
}

static int read_lookup(struct xdr_in *reply, struct handle *handle, struct attributes *found)
{
    get_handle(reply, handle);
    get_optional_attributes(reply, found);
    return ending(reply);
}

static size_t read_setattr(struct xdr_in *reply, const struct setattr *sets, size_t count,
                           int *error, struct attributes *after)
{
    (void)sets, (void)count;
    struct attributes before = {0};
    *after = before;
    *error = read_status(reply);
    if (*error)
        return 1;
    before.tells_before = xdr_get32(reply);
    if (before.tells_before) {
        xdr_take(reply, 8); /* size */
        before.mtime_before = time_of(xdr_get64(reply));
        before.ctime_before = xdr_get64(reply);
    }
    get_optional_attributes(reply, after);
    after->tells_before = before.tells_before;
    after->mtime_before = before.mtime_before;
    after->ctime_before = before.ctime_before;
    *error = ending(reply);
    return 1;
}

int check_name(const uint8_t *name, size_t length)
{
    bool is_good = length > 0 && length <= MOST_NAME && !memchr(name, '/', length) &&
                   !memchr(name, '\0', length);
    return is_good ? 0 : -EBADMSG;
}

static int read_listing(struct xdr_in *reply, struct listing3 *listing)
{
    get_optional_attributes(reply, &listing->directory);
    listing->verifier = xdr_take(reply, VERIFIER_SIZE);
    return ending(reply);
}

static int read_entry(struct xdr_in *reply, struct listing3 *listing, struct entry3 *entry)
{
    if (!xdr_get32(reply)) {
        listing->is_last = xdr_get32(reply);
        return ending(reply);
    }
    entry->fileid = xdr_get64(reply);
    entry->name = xdr_get_bytes(reply, MOST_NAME, &entry->length);
    entry->cookie = xdr_get64(reply);
    get_optional_attributes(reply, &entry->attributes);
    entry->handle.length = 0;
    if (xdr_get32(reply))
        get_handle(reply, &entry->handle);
    if (reply->bad || check_name(entry->name, entry->length) < 0)
        return -EBADMSG;
    return 1;
}

int read_fsstat(struct xdr_in *reply, uint64_t *used)
{
    struct attributes ignored;
    get_optional_attributes(reply, &ignored);
    xdr_take(reply, 24); /* bytes: all, free, free for us */
    uint64_t all = xdr_get64(reply), unused = xdr_get64(reply);
    *used = unused < all ? all - unused : 0;
    return ending(reply);
}

int read_mount(struct xdr_in *reply, struct handle *root)
{
    int error = read_status(reply);
    if (error)
        return error > 0 ? -EIO : error;
    get_handle(reply, root);
    uint32_t flavors = xdr_get32(reply);
    bool has_sys = flavors == 0;
    for (uint32_t i = 0; i < flavors && i < MOST_FLAVORS; i++)
        has_sys |= xdr_get32(reply) == 1; /* AUTH_SYS */
    return ending(reply) < 0 ? -EBADMSG : has_sys ? 0 : -EACCES;
}

int read_port(struct xdr_in *reply, uint16_t *port)
{
    uint32_t number = xdr_get32(reply);
    if (reply->bad || number > UINT16_MAX)
        return -EBADMSG;
    *port = (uint16_t)number;
    return number ? 0 : -ECONNREFUSED;
}

const struct protocol PROTOCOL3 = {
    .together = 1,
    .call_getattr = call_getattr,
    .call_lookup = call_lookup,
    .call_listing = call_readdirplus,
    .call_setattr = call_setattr,
    .read_status = read_status,
    .read_getattr = read_getattr,
    .read_lookup = read_lookup,
    .read_listing = read_listing,
    .read_entry = read_entry,
    .read_setattr = read_setattr,
};
