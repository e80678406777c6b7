/*
 * The open share: mounting, connections, handles that are remembered. Its structures:
 *
 *     struct cached   a directory's handle; one for all inodes with the same remainder
 *     struct single   a call that is waited for
 */

#define _GNU_SOURCE
#include "nfs/client.h"

#include "nfs/proto/nfs4.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/system.h"

#define NFS_PORT      2049
#define PORT_PORT     111
#define MOUNT_PROGRAM 100005
#define MOUNT_VERSION 3
#define SECOND        1000000000LL
#define OPEN_PATIENCE (15 * SECOND) /* people wait for it */
#define CACHED        65536         /* 6 MB */
#define FRESH         (60 * SECOND)
#define SPARE_CALLS   8 /* that are waited for, while all others are in flight */
#define STEP          200

struct cached {
    uint64_t inode;
    int64_t when;
    struct handle handle;
};

struct nfs {
    struct rpc_settings settings;
    const struct protocol *protocol;
    struct names *names;
    atomic_size_t together;
    struct handle root;
    struct attributes attributes;
    struct pace pace;
    atomic_ullong calls[PROCEDURES3];
    pthread_mutex_t mutex; /* for what follows */
    struct rpc **idle;
    size_t idle_count;
    size_t idle_room;
    size_t connections;
    struct cached *cache;
};

/* ---- single calls */

struct single {
    int (*read)(struct xdr_in *reply, struct single *single);
    const struct protocol *protocol; /* NULL: the reply has no status */
    bool is_done;
    int error;
    struct handle *handle;
    struct attributes *found;
    uint16_t *port;
    uint64_t *used;
};

static int answer_single(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    (void)tag, (void)again;
    struct single *single = owner;
    if (error == 0 && single->protocol)
        error = single->protocol->read_status(reply);
    if (error == JUKEBOX_ERROR)
        return LATER;
    single->error = error ? error : single->read(reply, single);
    single->is_done = true;
    return 0;
}

static int wait_for(struct rpc *rpc, const struct single *single, const volatile uint8_t *stop)
{
    while (!single->is_done) {
        rpc_step(rpc, STEP);
        if (stop && *stop && rpc_is_silent(rpc, SILENT))
            rpc_cancel(rpc, -ECANCELED);
    }
    return single->error;
}

static int single_lookup(struct xdr_in *reply, struct single *single)
{
    return single->protocol->read_lookup(reply, single->handle, single->found);
}

static int single_getattr(struct xdr_in *reply, struct single *single)
{
    return single->protocol->read_getattr(reply, single->found);
}

static int single_mount(struct xdr_in *reply, struct single *single)
{
    return read_mount(reply, single->handle);
}

static int single_port(struct xdr_in *reply, struct single *single)
{
    return read_port(reply, single->port);
}

static int single_fsstat(struct xdr_in *reply, struct single *single)
{
    return read_fsstat(reply, single->used);
}

int nfs_getattr(struct nfs *nfs, struct rpc *rpc, const struct handle *handle,
                struct attributes *found, const volatile uint8_t *stop)
{
    struct single single = {.read = single_getattr, .protocol = nfs->protocol, .found = found};
    if (!nfs->protocol->call_getattr(rpc, handle))
        return -EBUSY;
    nfs_send(nfs, rpc, GETATTR3, answer_single, &single, 0);
    return wait_for(rpc, &single, stop);
}

int nfs_lookup(struct nfs *nfs, struct rpc *rpc, const struct handle *directory, const void *name,
               size_t length, struct handle *handle, struct attributes *found,
               const volatile uint8_t *stop)
{
    struct single single = {
        .read = single_lookup, .protocol = nfs->protocol, .handle = handle, .found = found};
    if (length > MOST_NAME)
        return -ENAMETOOLONG;
    if (!nfs->protocol->call_lookup(rpc, directory, name, length))
        return -EBUSY;
    nfs_send(nfs, rpc, LOOKUP3, answer_single, &single, 0);
    int error = wait_for(rpc, &single, stop);
    return error || found->known ? error : nfs_getattr(nfs, rpc, handle, found, stop);
}

int nfs_used_inodes(struct nfs *nfs, uint64_t *used)
{
    struct rpc *rpc;
    if (nfs->protocol != &PROTOCOL3)
        return -EOPNOTSUPP;
    int error = nfs_take(nfs, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_fsstat, .protocol = nfs->protocol, .used = used};
    if (call_fsstat(rpc, &nfs->root)) {
        nfs_send(nfs, rpc, FSSTAT3, answer_single, &single, 0);
        error = wait_for(rpc, &single, NULL);
    }
    nfs_give(nfs, rpc);
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

static int ask_port(struct nfs *nfs, uint16_t *port)
{
    struct rpc *rpc;
    set_port(&nfs->settings.address, PORT_PORT);
    int error = rpc_open(&nfs->settings, &nfs->pace, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_port, .port = port};
    call_port(rpc, MOUNT_PROGRAM, MOUNT_VERSION);
    rpc_send(rpc, answer_single, &single, 0);
    error = wait_for(rpc, &single, NULL);
    rpc_close(rpc);
    return error;
}

static int ask_root(struct nfs *nfs, uint16_t port, const char *path)
{
    struct rpc *rpc;
    set_port(&nfs->settings.address, port);
    int error = rpc_open(&nfs->settings, &nfs->pace, &rpc);
    if (error)
        return error;
    struct single single = {.read = single_mount, .handle = &nfs->root};
    if (call_mount(rpc, path)) {
        rpc_send(rpc, answer_single, &single, 0);
        error = wait_for(rpc, &single, NULL);
    } else {
        error = -ENAMETOOLONG;
    }
    rpc_close(rpc);
    return error;
}

int nfs_root_attributes(struct nfs *nfs, struct attributes *found)
{
    struct rpc *rpc;
    int error = nfs_take(nfs, &rpc);
    if (error)
        return error;
    error = nfs_getattr(nfs, rpc, &nfs->root, found, NULL);
    nfs_give(nfs, rpc);
    return error;
}

static int ask_attributes(struct nfs *nfs)
{
    int error = nfs_root_attributes(nfs, &nfs->attributes);
    return error || S_ISDIR(nfs->attributes.mode) ? error : -ENOTDIR;
}

/* Go from the pseudo root to the share. */
static int walk_to_root(struct nfs *nfs, struct rpc *rpc, const char *path)
{
    struct single single = {
        .read = single_lookup,
        .protocol = nfs->protocol,
        .handle = &nfs->root,
        .found = &nfs->attributes,
    };
    call_root4(rpc);
    rpc_send(rpc, answer_single, &single, 0);
    int error = wait_for(rpc, &single, NULL);
    while (error == 0 && *(path += strspn(path, "/"))) {
        struct handle above = nfs->root;
        size_t length = strcspn(path, "/");
        if (length > MOST_NAME)
            return -ENAMETOOLONG;
        error = nfs_lookup(nfs, rpc, &above, path, length, &nfs->root, &nfs->attributes, NULL);
        path += length;
    }
    return error || S_ISDIR(nfs->attributes.mode) ? error : -ENOTDIR;
}

static int open_root4(struct nfs *nfs, const char *path)
{
    struct rpc *rpc;
    int error = nfs_take(nfs, &rpc);
    if (error)
        return error;
    error = walk_to_root(nfs, rpc, path);
    nfs_give(nfs, rpc);
    return error;
}

static void set_address(struct nfs *nfs, const struct addrinfo *at)
{
    memcpy(&nfs->settings.address, at->ai_addr, at->ai_addrlen);
    nfs->settings.address_length = at->ai_addrlen;
}

static int open_root3(struct nfs *nfs, const struct nfs_settings *settings, const char **operation)
{
    uint16_t port = settings->mount_port;
    *operation = "port mapper";
    int error = port ? 0 : ask_port(nfs, &port);
    if (error)
        return error;
    *operation = "mount";
    return ask_root(nfs, port, settings->path);
}

/* As above, where mountd has an address of its own. */
static int open_root3_elsewhere(struct nfs *nfs, const struct nfs_settings *settings,
                                const char **operation)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
    *operation = "mount";
    if (getaddrinfo(settings->mount_server, NULL, &hints, &addresses) != 0)
        return -EHOSTUNREACH;
    set_address(nfs, addresses);
    freeaddrinfo(addresses);
    return open_root3(nfs, settings, operation);
}

/* Close connections that were made to an address that does not serve, or impatiently. */
static void drop_idle(struct nfs *nfs)
{
    while (nfs->idle_count > 0) {
        rpc_close(nfs->idle[--nfs->idle_count]);
        nfs->connections--;
    }
}

static int try_address(struct nfs *nfs, const struct nfs_settings *settings,
                       const struct addrinfo *at, const char **operation)
{
    uint16_t nfs_port = settings->nfs_port ? settings->nfs_port : NFS_PORT;
    int error = 0;
    set_address(nfs, at);
    nfs->root = settings->root;
    if (nfs->root.length == 0 && settings->version == 4) {
        *operation = "lookup";
        set_port(&nfs->settings.address, nfs_port);
        return open_root4(nfs, settings->path);
    }
    if (nfs->root.length == 0)
        error = settings->mount_server ? open_root3_elsewhere(nfs, settings, operation)
                                       : open_root3(nfs, settings, operation);
    if (error)
        return error;
    *operation = "getattr";
    set_address(nfs, at);
    set_port(&nfs->settings.address, nfs_port);
    return ask_attributes(nfs);
}

static void set_credentials(struct rpc_settings *rpc, const struct nfs_settings *settings)
{
    gid_t groups[1024];
    rpc->uid = settings->uid >= 0 ? (uint32_t)settings->uid : geteuid();
    rpc->gid = settings->gid >= 0 ? (uint32_t)settings->gid : getegid();
    int count = settings->uid >= 0 || settings->gid >= 0 ? 0 : getgroups(1024, groups);
    for (int i = 0; i < count && i < MOST_GROUPS; i++)
        rpc->groups[rpc->group_count++] = groups[i];
}

int nfs_open(const struct nfs_settings *settings, struct nfs **made, const char **operation)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
    *operation = "address";
    struct nfs *nfs = calloc(1, sizeof(*nfs));
    if (!nfs)
        return -ENOMEM;
    pthread_mutex_init(&nfs->mutex, NULL);
    nfs->cache = calloc(CACHED, sizeof(*nfs->cache));
    pace_init(&nfs->pace, settings->calls);
    nfs->protocol = settings->version == 4 ? &PROTOCOL4 : &PROTOCOL3;
    nfs->together = nfs->protocol->together;
    nfs->names = nfs->settings.context = names_make(settings->domain);
    set_credentials(&nfs->settings, settings);
    nfs->settings.calls = settings->calls * MOST_TOGETHER + SPARE_CALLS;
    int64_t patience = (int64_t)(settings->patience * (double)SECOND);
    nfs->settings.patience = patience < OPEN_PATIENCE ? patience : OPEN_PATIENCE;
    int error = -EHOSTUNREACH;
    if (!nfs->cache || !nfs->names)
        error = -ENOMEM;
    else if (getaddrinfo(settings->server, NULL, &hints, &addresses) == 0) {
        for (const struct addrinfo *at = addresses; at && error; at = at->ai_next) {
            drop_idle(nfs);
            error = try_address(nfs, settings, at, operation);
        }
        freeaddrinfo(addresses);
    }
    if (error) {
        nfs_close(nfs);
        return error;
    }
    drop_idle(nfs);
    nfs->settings.patience = patience;
    nfs->settings.insists = true;
    *made = nfs;
    return 0;
}

void nfs_close(struct nfs *nfs)
{
    for (size_t i = 0; i < nfs->idle_count; i++)
        rpc_close(nfs->idle[i]);
    free(nfs->idle);
    free(nfs->cache);
    pace_free(&nfs->pace);
    names_free(nfs->names);
    pthread_mutex_destroy(&nfs->mutex);
    free(nfs);
}

const struct handle *nfs_root(const struct nfs *nfs)
{
    return &nfs->root;
}

uint64_t nfs_root_inode(const struct nfs *nfs)
{
    return nfs->attributes.fileid;
}

const struct protocol *nfs_protocol(const struct nfs *nfs)
{
    return nfs->protocol;
}

int nfs_version(const struct nfs *nfs)
{
    return nfs->protocol == &PROTOCOL4 ? 4 : 3;
}

struct names *nfs_names(const struct nfs *nfs)
{
    return nfs->names;
}

size_t nfs_together(const struct nfs *nfs)
{
    return atomic_load(&nfs->together);
}

void nfs_take_fewer(struct nfs *nfs, size_t than)
{
    size_t together = atomic_load(&nfs->together);
    size_t fewer = than > 1 ? than / 2 : 1;
    while (fewer < together && !atomic_compare_exchange_weak(&nfs->together, &together, fewer))
        ;
}

uint64_t nfs_fsid(const struct nfs *nfs)
{
    return nfs->attributes.fsid;
}

void nfs_calls(const struct nfs *nfs, uint64_t *calls)
{
    for (size_t i = 0; i < PROCEDURES3; i++)
        calls[i] = atomic_load(&nfs->calls[i]);
}

/* ---- connections */

int nfs_take(struct nfs *nfs, struct rpc **rpc)
{
    int error = 0;
    pthread_mutex_lock(&nfs->mutex);
    if (nfs->idle_count > 0) {
        *rpc = nfs->idle[--nfs->idle_count];
    } else {
        /* Room for all of them to be idle, so that giving back cannot fail. */
        if (nfs->connections == nfs->idle_room) {
            size_t room = nfs->idle_room ? 2 * nfs->idle_room : 8;
            struct rpc **idle = realloc(nfs->idle, room * sizeof(*idle));
            if (idle) {
                nfs->idle = idle;
                nfs->idle_room = room;
            } else {
                error = -ENOMEM;
            }
        }
        if (error == 0)
            error = rpc_open(&nfs->settings, &nfs->pace, rpc);
        nfs->connections += error == 0;
    }
    pthread_mutex_unlock(&nfs->mutex);
    return error;
}

void nfs_give(struct nfs *nfs, struct rpc *rpc)
{
    pthread_mutex_lock(&nfs->mutex);
    nfs->idle[nfs->idle_count++] = rpc;
    pthread_mutex_unlock(&nfs->mutex);
}

size_t nfs_limit(const struct nfs *nfs)
{
    return (size_t)nfs->pace.most;
}

void nfs_set_bound(struct nfs *nfs, size_t calls)
{
    pace_bound(&nfs->pace, calls);
}

size_t nfs_bound(const struct nfs *nfs)
{
    return (size_t)atomic_load(&nfs->pace.limit);
}

bool nfs_may_call(const struct nfs *nfs, const struct rpc *rpc)
{
    return rpc_waiting(rpc) == 0 || pace_has_room(&nfs->pace);
}

void nfs_send(struct nfs *nfs, struct rpc *rpc, enum procedure3 procedure, rpc_answer *answer,
              void *owner, uint64_t tag)
{
    atomic_fetch_add(&nfs->calls[procedure], 1);
    rpc_send(rpc, answer, owner, tag);
}

/* ---- handles */

void nfs_remember(struct nfs *nfs, uint64_t inode, const struct handle *handle)
{
    int64_t now = sys_monotonic_time();
    pthread_mutex_lock(&nfs->mutex);
    nfs->cache[inode % CACHED] = (struct cached){inode, now, *handle};
    pthread_mutex_unlock(&nfs->mutex);
}

bool nfs_recall(struct nfs *nfs, uint64_t inode, struct handle *handle)
{
    int64_t now = sys_monotonic_time();
    pthread_mutex_lock(&nfs->mutex);
    const struct cached *cached = &nfs->cache[inode % CACHED];
    bool is_there = cached->handle.length && cached->inode == inode && now - cached->when < FRESH;
    if (is_there)
        *handle = cached->handle;
    pthread_mutex_unlock(&nfs->mutex);
    return is_there;
}

void nfs_forget(struct nfs *nfs, uint64_t inode)
{
    pthread_mutex_lock(&nfs->mutex);
    struct cached *cached = &nfs->cache[inode % CACHED];
    if (cached->inode == inode)
        cached->handle.length = 0;
    pthread_mutex_unlock(&nfs->mutex);
}
