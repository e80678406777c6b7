/*
 * Mounting, the pool of connections, and the cache of handles (client.h).
 *
 *     struct single   a call that its maker waits for
 */

#define _GNU_SOURCE
#include "nfs/client_state.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/system.h"
#include "nfs/proto/nfs3.h"
#include "nfs/proto/nfs4.h"
#include "nfs/proto/session.h"

#define NFS_PORT            2049
#define PORT_PORT           111
#define MOUNT_PROGRAM       100005
#define MOUNT_VERSION       3
#define SECOND              1000000000LL
#define OPEN_PATIENCE       (15 * SECOND) /* somebody waits for the command to begin */
#define CACHE_SIZE          65536         /* handles; 10 MB */
#define CACHE_AGE           (60 * SECOND)
#define SPARE_CALLS         8   /* room for single calls while all others are in flight */
#define STOP_CHECK_MS       200 /* ms between two looks at the stop flag */
#define MAX_USER_GROUPS     1024
#define OPERATIONS_A_CHANGE 3 /* PUTFH, VERIFY, SETATTR */

/* ---- single calls */

struct single {
    int (*read)(struct xdr_in *reply, struct single *single);
    const struct protocol *protocol; /* NULL: the reply has no status */
    bool is_done;
    int error;
    struct proto_handle *handle;
    struct proto_attrs *attrs;
    uint16_t *port;
    uint64_t *used;
    struct session *session;
    enum session_step step;
};

static int answer_single(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    (void)tag, (void)resent;
    struct single *single = owner;
    if (error == 0 && single->protocol)
        error = single->protocol->read_status(reply);
    if (error == PROTO_DELAY)
        return NFS_DELAY;
    single->error = error ? error : single->read(reply, single);
    single->is_done = true;
    return 0;
}

static int wait_for(struct rpc *rpc, const struct single *single, const volatile uint8_t *stop)
{
    while (!single->is_done) {
        rpc_step(rpc, STOP_CHECK_MS);
        if (stop && *stop && rpc_is_silent(rpc, NFS_STOP_PATIENCE))
            rpc_cancel(rpc, -ECANCELED);
    }
    return single->error;
}

static int single_lookup(struct xdr_in *reply, struct single *single)
{
    return single->protocol->read_lookup(reply, single->handle, single->attrs);
}

static int single_getattr(struct xdr_in *reply, struct single *single)
{
    return single->protocol->read_getattr(reply, single->attrs);
}

static int single_mount(struct xdr_in *reply, struct single *single)
{
    return nfs3_read_mount(reply, single->handle);
}

static int single_port(struct xdr_in *reply, struct single *single)
{
    return nfs3_read_port(reply, single->port);
}

static int single_session(struct xdr_in *reply, struct single *single)
{
    return session_read(reply, single->step, single->session);
}

static int single_fsstat(struct xdr_in *reply, struct single *single)
{
    return nfs3_read_fsstat(reply, single->used);
}

int nfs_client_getattr(struct nfs_client *client, struct rpc *rpc,
                       const struct proto_handle *handle, struct proto_attrs *attrs,
                       const volatile uint8_t *stop)
{
    struct single single = {.read = single_getattr, .protocol = client->protocol, .attrs = attrs};
    if (!client->protocol->call_getattr(rpc, handle))
        return -EBUSY;
    nfs_client_send(client, rpc, PROTO_GETATTR, answer_single, &single, 0);
    return wait_for(rpc, &single, stop);
}

int nfs_client_lookup(struct nfs_client *client, struct rpc *rpc,
                      const struct proto_handle *directory, const void *name, size_t length,
                      struct proto_handle *handle, struct proto_attrs *attrs,
                      const volatile uint8_t *stop)
{
    struct single single = {
        .read = single_lookup, .protocol = client->protocol, .handle = handle, .attrs = attrs};
    if (length > PROTO_MAX_NAME)
        return -ENAMETOOLONG;
    if (!client->protocol->call_lookup(rpc, directory, name, length))
        return -EBUSY;
    nfs_client_send(client, rpc, PROTO_LOOKUP, answer_single, &single, 0);
    int error = wait_for(rpc, &single, stop);
    return error || attrs->known ? error : nfs_client_getattr(client, rpc, handle, attrs, stop);
}

int nfs_client_used_inodes(struct nfs_client *client, uint64_t *used)
{
    struct rpc *rpc;
    if (client->protocol->version != 3)
        return -EOPNOTSUPP;
    int error = nfs_client_acquire(client, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_fsstat, .protocol = client->protocol, .used = used};
    if (nfs3_call_fsstat(rpc, &client->root)) {
        nfs_client_send(client, rpc, PROTO_FSSTAT, answer_single, &single, 0);
        error = wait_for(rpc, &single, NULL);
    }
    nfs_client_release(client, rpc);
    return error;
}

/* ---- open and close */

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static int ask_port(struct nfs_client *client, uint16_t *port)
{
    struct rpc *rpc;
    set_port(&client->settings.addresses[0].address, PORT_PORT);
    int error = rpc_open(&client->settings, &client->pace, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_port, .port = port};
    nfs3_call_port(rpc, MOUNT_PROGRAM, MOUNT_VERSION);
    rpc_send(rpc, answer_single, &single, 0);
    error = wait_for(rpc, &single, NULL);
    rpc_close(rpc);
    return error;
}

static int ask_root(struct nfs_client *client, uint16_t port, const char *path)
{
    struct rpc *rpc;
    set_port(&client->settings.addresses[0].address, port);
    int error = rpc_open(&client->settings, &client->pace, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_mount, .handle = &client->root};
    if (nfs3_call_mount(rpc, path)) {
        rpc_send(rpc, answer_single, &single, 0);
        error = wait_for(rpc, &single, NULL);
    } else {
        error = -ENAMETOOLONG;
    }
    rpc_close(rpc);
    return error;
}

int nfs_client_root_attrs(struct nfs_client *client, struct proto_attrs *attrs)
{
    struct rpc *rpc;
    int error = nfs_client_acquire(client, &rpc);
    if (error)
        return error;
    error = nfs_client_getattr(client, rpc, &client->root, attrs, NULL);
    nfs_client_release(client, rpc);
    return error;
}

static int ask_attributes(struct nfs_client *client)
{
    int error = nfs_client_root_attrs(client, &client->root_attrs);
    return error || S_ISDIR(client->root_attrs.mode) ? error : -ENOTDIR;
}

/* Look up the share, name by name from the pseudo root. */
static int look_up_root(struct nfs_client *client, struct rpc *rpc, const char *path)
{
    struct single single = {
        .read = single_lookup,
        .protocol = client->protocol,
        .handle = &client->root,
        .attrs = &client->root_attrs,
    };
    nfs4_call_root(rpc);
    rpc_send(rpc, answer_single, &single, 0);
    int error = wait_for(rpc, &single, NULL);
    while (error == 0 && *(path += strspn(path, "/"))) {
        struct proto_handle above = client->root;
        size_t length = strcspn(path, "/");
        if (length > PROTO_MAX_NAME)
            return -ENAMETOOLONG;
        error = nfs_client_lookup(client, rpc, &above, path, length, &client->root,
                                  &client->root_attrs, NULL);
        path += length;
    }
    return error || S_ISDIR(client->root_attrs.mode) ? error : -ENOTDIR;
}

static int open_root4(struct nfs_client *client, const char *path)
{
    struct rpc *rpc;
    int error = nfs_client_acquire(client, &rpc);
    if (error)
        return error;
    error = look_up_root(client, rpc, path);
    nfs_client_release(client, rpc);
    return error;
}

/*
 * Change as many entries by one call as the server grants operations for. If it grants none, say
 * because it has no version 4.1, the usual batch remains.
 */
static void enlarge_batch(struct nfs_client *client)
{
    struct rpc *rpc;
    struct session session = {.operations = PROTO_MAX_BATCH * OPERATIONS_A_CHANGE};
    if (nfs_client_acquire(client, &rpc) < 0)
        return;
    int error = 0;
    for (int step = 0; step < SESSION_STEPS; step++) {
        struct single single = {
            .read = single_session, .session = &session, .step = (enum session_step)step};
        if (step == SESSION_DESTROY && error)
            continue; /* there is none; the client's identity may be there, though */
        if (!session_call(rpc, single.step, &session))
            break;
        rpc_send(rpc, answer_single, &single, 0);
        int failed = wait_for(rpc, &single, NULL);
        if (failed && step == SESSION_EXCHANGE)
            break;
        error = step <= SESSION_CREATE ? failed : error;
        if (step == SESSION_CREATE && failed == 0) {
            size_t batch = session.operations / OPERATIONS_A_CHANGE;
            batch = batch < PROTO_MAX_BATCH ? batch : PROTO_MAX_BATCH;
            if (batch > client->protocol->batch)
                atomic_store(&client->batch, batch);
        }
    }
    nfs_client_release(client, rpc);
}

static void set_address(struct nfs_client *client, const struct addrinfo *at)
{
    memcpy(&client->settings.addresses[0].address, at->ai_addr, at->ai_addrlen);
    client->settings.addresses[0].length = at->ai_addrlen;
    client->settings.address_count = 1;
}

static int open_root3(struct nfs_client *client, const struct nfs_client_settings *settings,
                      const char **operation)
{
    uint16_t port = settings->mount_port;
    *operation = "port mapper";
    int error = port ? 0 : ask_port(client, &port);
    if (error)
        return error;
    *operation = "mount";
    return ask_root(client, port, settings->path);
}

/* The same, where mountd has another address. */
static int open_root3_elsewhere(struct nfs_client *client,
                                const struct nfs_client_settings *settings, const char **operation)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
    *operation = "mount";
    if (getaddrinfo(settings->mount_server, NULL, &hints, &addresses) != 0)
        return -EHOSTUNREACH;
    set_address(client, addresses);
    freeaddrinfo(addresses);
    return open_root3(client, settings, operation);
}

/* Close connections to an address that does not serve the share, or with OPEN_PATIENCE. */
static void drop_idle(struct nfs_client *client)
{
    while (client->idle_count > 0) {
        rpc_close(client->idle[--client->idle_count]);
        client->connections--;
    }
}

static int try_address(struct nfs_client *client, const struct nfs_client_settings *settings,
                       const struct addrinfo *at, const char **operation)
{
    uint16_t nfs_port = settings->nfs_port ? settings->nfs_port : NFS_PORT;
    int error = 0;
    set_address(client, at);
    client->root = settings->root;
    if (client->root.length == 0 && settings->version == 4) {
        *operation = "lookup";
        set_port(&client->settings.addresses[0].address, nfs_port);
        return open_root4(client, settings->path);
    }
    if (client->root.length == 0)
        error = settings->mount_server ? open_root3_elsewhere(client, settings, operation)
                                       : open_root3(client, settings, operation);
    if (error)
        return error;
    *operation = "getattr";
    set_address(client, at);
    set_port(&client->settings.addresses[0].address, nfs_port);
    return ask_attributes(client);
}

static void set_credentials(struct rpc_settings *rpc, const struct nfs_client_settings *settings)
{
    gid_t groups[MAX_USER_GROUPS];
    rpc->uid = settings->uid >= 0 ? (uint32_t)settings->uid : geteuid();
    rpc->gid = settings->gid >= 0 ? (uint32_t)settings->gid : getegid();
    int count = settings->uid >= 0 || settings->gid >= 0 ? 0 : getgroups(MAX_USER_GROUPS, groups);
    for (int i = 0; i < count && i < RPC_MAX_GROUPS; i++)
        rpc->groups[rpc->group_count++] = groups[i];
}

int nfs_client_open(const struct nfs_client_settings *settings, struct nfs_client **made,
                    const char **operation)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
    *operation = "address";
    struct nfs_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    pthread_mutex_init(&client->mutex, NULL);
    client->cache = calloc(CACHE_SIZE, sizeof(*client->cache));
    pace_init(&client->pace, settings->calls);
    client->protocol = settings->version == 4 ? &nfs4_protocol : &nfs3_protocol;
    client->batch = client->protocol->batch;
    client->listing = PROTO_LISTING;
    client->idmap = client->settings.context = idmap_new(settings->domain);
    set_credentials(&client->settings, settings);
    client->settings.calls = settings->calls * PROTO_BATCH + PROTO_MAX_BATCH + SPARE_CALLS;
    int64_t patience = (int64_t)(settings->patience * (double)SECOND);
    client->settings.patience = patience < OPEN_PATIENCE ? patience : OPEN_PATIENCE;
    int error = -EHOSTUNREACH;
    if (!client->cache || !client->idmap)
        error = -ENOMEM;
    else if (getaddrinfo(settings->server, NULL, &hints, &addresses) == 0) {
        for (const struct addrinfo *at = addresses; at && error; at = at->ai_next) {
            drop_idle(client);
            error = try_address(client, settings, at, operation);
            if (error == -ENODATA && client->root_attrs.missing)
                *operation = client->root_attrs.missing;
        }
        freeaddrinfo(addresses);
    }
    if (error) {
        nfs_client_close(client);
        return error;
    }
    if (settings->version == 4)
        enlarge_batch(client);
    drop_idle(client);
    client->settings.patience = patience;
    client->settings.insists = true;
    *made = client;
    return 0;
}

const char *nfs_client_join(struct nfs_client *client, const struct nfs_client *other)
{
    const struct proto_attrs *ours = &client->root_attrs, *its = &other->root_attrs;
    struct rpc_settings *settings = &client->settings;
    if (client->root.length != other->root.length ||
        memcmp(client->root.bytes, other->root.bytes, client->root.length) != 0)
        return "file handle";
    if (ours->fsid != its->fsid)
        return "fsid";
    if (ours->fileid != its->fileid)
        return "inode";
    if (settings->address_count == RPC_MAX_ADDRESSES)
        return "number: there are too many addresses";
    settings->addresses[settings->address_count++] = other->settings.addresses[0];
    if (other->batch < client->batch)
        client->batch = other->batch;
    return NULL;
}

void nfs_client_close(struct nfs_client *client)
{
    for (size_t i = 0; i < client->idle_count; i++)
        rpc_close(client->idle[i]);
    free(client->idle);
    free(client->cache);
    pace_free(&client->pace);
    idmap_free(client->idmap);
    pthread_mutex_destroy(&client->mutex);
    free(client);
}

/* ---- connections */

int nfs_client_acquire(struct nfs_client *client, struct rpc **rpc)
{
    int error = 0;
    pthread_mutex_lock(&client->mutex);
    if (client->idle_count > 0) {
        *rpc = client->idle[--client->idle_count];
    } else {
        /* Room for all of them to be idle, so that a release cannot fail. */
        if (client->connections == client->idle_room) {
            size_t room = client->idle_room ? 2 * client->idle_room : 8;
            struct rpc **idle = realloc(client->idle, room * sizeof(*idle));
            if (idle) {
                client->idle = idle;
                client->idle_room = room;
            } else {
                error = -ENOMEM;
            }
        }
        client->settings.next = client->connections;
        if (error == 0)
            error = rpc_open(&client->settings, &client->pace, rpc);
        client->connections += error == 0;
    }
    pthread_mutex_unlock(&client->mutex);
    return error;
}

void nfs_client_release(struct nfs_client *client, struct rpc *rpc)
{
    pthread_mutex_lock(&client->mutex);
    client->idle[client->idle_count++] = rpc;
    pthread_mutex_unlock(&client->mutex);
}

size_t nfs_client_max_calls(const struct nfs_client *client)
{
    return (size_t)client->pace.max;
}

void nfs_client_set_bound(struct nfs_client *client, size_t calls)
{
    pace_set_max(&client->pace, calls);
}

size_t nfs_client_bound(const struct nfs_client *client)
{
    return (size_t)atomic_load(&client->pace.limit);
}

bool nfs_client_may_call(const struct nfs_client *client, const struct rpc *rpc)
{
    return rpc_waiting(rpc) == 0 || pace_has_room(&client->pace);
}

void nfs_client_send(struct nfs_client *client, struct rpc *rpc, enum proto_procedure procedure,
                     rpc_answer *answer, void *owner, uint64_t tag)
{
    atomic_fetch_add(&client->calls[procedure], 1);
    rpc_send(rpc, answer, owner, tag);
}

/* ---- handles */

void nfs_client_remember(struct nfs_client *client, uint64_t inode,
                         const struct proto_handle *handle)
{
    int64_t now = sys_monotonic_time();
    pthread_mutex_lock(&client->mutex);
    client->cache[inode % CACHE_SIZE] = (struct cached_handle){inode, now, *handle};
    pthread_mutex_unlock(&client->mutex);
}

bool nfs_client_recall(struct nfs_client *client, uint64_t inode, struct proto_handle *handle)
{
    int64_t now = sys_monotonic_time();
    pthread_mutex_lock(&client->mutex);
    const struct cached_handle *cached = &client->cache[inode % CACHE_SIZE];
    bool is_there =
        cached->handle.length && cached->inode == inode && now - cached->when < CACHE_AGE;
    if (is_there)
        *handle = cached->handle;
    pthread_mutex_unlock(&client->mutex);
    return is_there;
}

void nfs_client_forget(struct nfs_client *client, uint64_t inode)
{
    pthread_mutex_lock(&client->mutex);
    struct cached_handle *cached = &client->cache[inode % CACHE_SIZE];
    if (cached->inode == inode)
        cached->handle.length = 0;
    pthread_mutex_unlock(&client->mutex);
}
