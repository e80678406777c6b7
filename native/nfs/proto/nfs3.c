/*
 * The calls and replies of version 3, of MOUNT and of the port mapper (nfs3.h).
 */

#define _GNU_SOURCE
#include "nfs/proto/nfs3.h"

#include <errno.h>

#define NFS_PROGRAM   100003
#define NFS_VERSION   3
#define MOUNT_PROGRAM 100005
#define MOUNT_VERSION 3
#define MOUNT_MNT     1
#define PORT_PROGRAM  100000
#define PORT_VERSION  2
#define PORT_GETPORT  3
#define PORT_TCP      6
#define AUTH_NONE     0
#define AUTH_SYS      1
#define MAX_FLAVORS   16
#define MAX_HANDLE    64

/* A plain listing has about as many entries in a fraction of the bytes. */
#define PLAIN_FRACTION 4

/* ---- calls */

static struct xdr_out *begin(struct rpc *rpc, enum proto_procedure procedure)
{
    return rpc_begin(rpc, NFS_PROGRAM, NFS_VERSION, procedure);
}

static void put_handle(struct xdr_out *call, const struct proto_handle *handle)
{
    xdr_put_bytes(call, handle->bytes, handle->length);
}

static bool call_getattr(struct rpc *rpc, const struct proto_handle *handle)
{
    struct xdr_out *call = begin(rpc, PROTO_GETATTR);
    if (!call)
        return false;
    put_handle(call, handle);
    return true;
}

static bool call_setattr(struct rpc *rpc, const struct proto_handle *const *handles,
                         const struct proto_setattr *set, size_t count)
{
    (void)count; /* is 1 */
    struct xdr_out *call = begin(rpc, PROTO_SETATTR);
    if (!call)
        return false;
    put_handle(call, handles[0]);
    xdr_put32(call, set->sets_mode);
    if (set->sets_mode)
        xdr_put32(call, set->mode & 07777);
    xdr_put32(call, set->sets_uid);
    if (set->sets_uid)
        xdr_put32(call, set->uid);
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

static bool call_lookup(struct rpc *rpc, const struct proto_handle *directory, const void *name,
                        size_t length)
{
    struct xdr_out *call = begin(rpc, PROTO_LOOKUP);
    if (!call)
        return false;
    put_handle(call, directory);
    xdr_put_bytes(call, name, length);
    return true;
}

static bool call_listing(struct rpc *rpc, const struct proto_handle *directory, uint64_t cookie,
                         const uint8_t *verifier, uint32_t size, bool is_plain)
{
    struct xdr_out *call = begin(rpc, is_plain ? PROTO_READDIR : PROTO_READDIRPLUS);
    if (!call)
        return false;
    put_handle(call, directory);
    xdr_put64(call, cookie);
    xdr_put(call, verifier, PROTO_VERIFIER);
    if (!is_plain)
        xdr_put32(call, size); /* of names and cookies alone */
    xdr_put32(call, is_plain ? size / PLAIN_FRACTION : size);
    return true;
}

bool nfs3_call_fsstat(struct rpc *rpc, const struct proto_handle *root)
{
    struct xdr_out *call = begin(rpc, PROTO_FSSTAT);
    if (!call)
        return false;
    put_handle(call, root);
    return true;
}

bool nfs3_call_mount(struct rpc *rpc, const char *path)
{
    struct xdr_out *call = rpc_begin(rpc, MOUNT_PROGRAM, MOUNT_VERSION, MOUNT_MNT);
    if (!call)
        return false;
    xdr_put_bytes(call, path, strlen(path));
    return !call->bad;
}

bool nfs3_call_port(struct rpc *rpc, uint32_t program, uint32_t version)
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

static int read_status(struct xdr_in *reply)
{
    uint32_t status = xdr_get32(reply);
    return reply->bad ? -EBADMSG : proto_error(status);
}

static void get_attributes(struct xdr_in *reply, struct proto_attrs *found)
{
    uint32_t type = proto_type(xdr_get32(reply));
    if (type == 0) {
        reply->bad = true;
        return;
    }
    *found = (struct proto_attrs){.known = true, .lasts = true};
    found->mode = type | (xdr_get32(reply) & 07777);
    found->links = xdr_get32(reply);
    found->uid = xdr_get32(reply);
    found->gid = xdr_get32(reply);
    found->size = xdr_get64(reply);
    xdr_get(reply, 16); /* used, rdev */
    found->fsid = xdr_get64(reply);
    found->fileid = xdr_get64(reply);
    xdr_get(reply, 8); /* atime */
    found->mtime = proto_time(xdr_get64(reply));
    found->ctime = found->guard = xdr_get64(reply);
}

static void get_optional_attributes(struct xdr_in *reply, struct proto_attrs *found)
{
    found->known = false;
    if (xdr_get32(reply))
        get_attributes(reply, found);
}

static int read_getattr(struct xdr_in *reply, struct proto_attrs *found)
{
    get_attributes(reply, found);
    return xdr_error(reply);
}

static int read_lookup(struct xdr_in *reply, struct proto_handle *handle, struct proto_attrs *found)
{
    proto_get_handle(reply, MAX_HANDLE, handle);
    get_optional_attributes(reply, found);
    return xdr_error(reply);
}

static size_t read_setattr(struct xdr_in *reply, const struct proto_setattr *sets, size_t count,
                           int *error, struct proto_attrs *after)
{
    (void)sets, (void)count;
    struct proto_attrs before = {0};
    *after = before;
    *error = read_status(reply);
    if (*error)
        return 1;
    before.tells_before = xdr_get32(reply);
    if (before.tells_before) {
        xdr_get(reply, 8); /* size */
        before.mtime_before = proto_time(xdr_get64(reply));
        before.ctime_before = xdr_get64(reply);
    }
    get_optional_attributes(reply, after);
    after->tells_before = before.tells_before;
    after->mtime_before = before.mtime_before;
    after->ctime_before = before.ctime_before;
    *error = xdr_error(reply);
    return 1;
}

static int read_listing(struct xdr_in *reply, struct proto_listing *listing)
{
    get_optional_attributes(reply, &listing->directory);
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
    entry->fileid = xdr_get64(reply);
    entry->name = xdr_get_bytes(reply, PROTO_LONGEST_NAME, &entry->length);
    entry->cookie = xdr_get64(reply);
    entry->attrs.known = false;
    entry->handle.length = 0;
    if (!listing->is_plain)
        get_optional_attributes(reply, &entry->attrs);
    if (!listing->is_plain && xdr_get32(reply))
        proto_get_handle(reply, MAX_HANDLE, &entry->handle);
    if (reply->bad || proto_check_name(entry->name, entry->length) < 0)
        return -EBADMSG;
    return 1;
}

int nfs3_read_fsstat(struct xdr_in *reply, uint64_t *used)
{
    struct proto_attrs ignored;
    get_optional_attributes(reply, &ignored);
    xdr_get(reply, 24); /* bytes: all, free, free for us */
    uint64_t all = xdr_get64(reply), unused = xdr_get64(reply);
    *used = unused < all ? all - unused : 0;
    return xdr_error(reply);
}

int nfs3_read_mount(struct xdr_in *reply, struct proto_handle *root)
{
    int error = read_status(reply);
    if (error)
        return error > 0 ? -EIO : error;
    proto_get_handle(reply, MAX_HANDLE, root);
    uint32_t flavors = xdr_get32(reply);
    bool has_sys = flavors == 0;
    for (uint32_t i = 0; i < flavors && i < MAX_FLAVORS; i++) {
        uint32_t flavor = xdr_get32(reply);
        /* A server that lists AUTH_NONE ignores credentials: Linux takes it for "any", too. */
        has_sys |= flavor == AUTH_SYS || flavor == AUTH_NONE;
    }
    return xdr_error(reply) < 0 ? -EBADMSG : has_sys ? 0 : -EACCES;
}

int nfs3_read_port(struct xdr_in *reply, uint16_t *port)
{
    uint32_t number = xdr_get32(reply);
    if (reply->bad || number > UINT16_MAX)
        return -EBADMSG;
    *port = (uint16_t)number;
    return number ? 0 : -ECONNREFUSED;
}

const struct protocol nfs3_protocol = {
    .version = 3,
    .batch = 1,
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
