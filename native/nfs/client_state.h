/*
 * What an open share consists of, for client.c and client_state.c alone.
 *
 *     struct nfs_client      the open share; its mutex guards the connections and the cache
 *     struct cached_handle   a directory's handle; inodes with the same remainder share a place
 */

#ifndef ARCHIPMIGRATE_NFS_CLIENT_STATE_H
#define ARCHIPMIGRATE_NFS_CLIENT_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "nfs/client.h"

struct cached_handle {
    uint64_t inode;
    int64_t when;
    struct proto_handle handle;
};

struct nfs_client {
    struct rpc_settings settings;
    const struct protocol *protocol;
    struct idmap *idmap;
    atomic_size_t batch;  /* entries that one call changes */
    atomic_bool is_plain; /* the server has no READDIRPLUS */
    atomic_bool is_unguarded;
    atomic_uint proven;  /* bits of the kinds of changes that came out as wanted */
    atomic_uint kept;    /* aspects of them */
    atomic_uint listing; /* bytes */
    struct proto_handle root;
    struct proto_attrs root_attrs; /* as they were when it was opened */
    struct pace pace;
    atomic_ullong calls[PROTO_PROCEDURES];
    pthread_mutex_t mutex; /* guards what follows */
    struct rpc **idle;     /* connections that nobody has acquired */
    size_t idle_count;
    size_t idle_room;
    size_t connections; /* idle or acquired */
    struct cached_handle *cache;
};

#endif
