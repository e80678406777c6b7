/*
 * An open share: the NFS client that scan (nfs/scan.h) and apply (nfs/apply.h) make their calls by.
 *
 *     struct nfs_client_settings   which share, as whom, how many calls in flight
 *     struct nfs_client            the open share; thread-safe
 *
 * A thread acquires a connection, uses it alone and releases it; there are as many as were ever in
 * use at once. The calls in flight are bounded for all of them together (pace.h), but a connection
 * without any may always make one.
 *
 * File handles come from the server and go back to it. A handle names the very entry that was seen,
 * also if that was moved since. Handles of directories are cached for a minute.
 */

#ifndef ARCHIPMIGRATE_NFS_CLIENT_H
#define ARCHIPMIGRATE_NFS_CLIENT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/proto/idmap.h"
#include "nfs/proto/protocol.h"
#include "nfs/proto/rpc.h"

/* The upper bound of calls in flight. */
#define NFS_MAX_CALLS 512
/*
 * How long (ns) a scan or apply that is to stop waits for calls in flight, without an answer but
 * DELAY.
 */
#define NFS_STOP_PATIENCE (2 * 1000000000LL)
/* How soon (ms) a call is repeated after the first DELAY. */
#define NFS_DELAY 100

struct nfs_client_settings {
    const char *server;
    const char *path;
    int version;              /* 3 or 4 */
    uint16_t nfs_port;        /* 0: 2049 */
    uint16_t mount_port;      /* 0: ask the port mapper */
    const char *mount_server; /* NULL: the same server */
    struct proto_handle root; /* length 0: find it by the path */
    int64_t uid;              /* -1: the process's */
    int64_t gid;
    size_t calls;       /* in flight at most; up to NFS_MAX_CALLS */
    double patience;    /* seconds without any reply, after which calls fail */
    const char *domain; /* of owner names; "": none */
};

struct nfs_client;

/*
 * Mount the share. Returns 0 or -errno; `operation` is the step that failed, or with -ENODATA the
 * attribute of a directory that the server did not send.
 */
int nfs_client_open(const struct nfs_client_settings *settings, struct nfs_client **client,
                    const char **operation);

/*
 * Spread the connections over the other one's address, too; before there is more than one thread.
 * Returns NULL, or in which respect the root is not the same there.
 */
const char *nfs_client_join(struct nfs_client *client, const struct nfs_client *other);

void nfs_client_close(struct nfs_client *client);

/* Return the version of the protocol: 3 or 4. */
int nfs_client_version(const struct nfs_client *client);

/* Return the root's inode. */
uint64_t nfs_client_root_inode(const struct nfs_client *client);

/* Return the root's attributes as they were when it was opened. */
const struct proto_attrs *nfs_client_opened_attrs(const struct nfs_client *client);

/* Get the root's attributes, fresh from the server. Returns 0 or -errno. */
int nfs_client_root_attrs(struct nfs_client *client, struct proto_attrs *attrs);

/*
 * Get how many inodes the root's filesystem has in use. Returns 0 or -errno; -EOPNOTSUPP by version
 * 4.
 */
int nfs_client_used_inodes(struct nfs_client *client, uint64_t *used);

/* Return the map of owners, which lives as long as the client. */
struct idmap *nfs_client_idmap(const struct nfs_client *client);

/* Copy how often each procedure was called: PROTO_PROCEDURES numbers. */
void nfs_client_calls(const struct nfs_client *client, uint64_t *calls);

/*
 * Set how many calls may be in flight at most, up to `calls` of the settings; before the first
 * call.
 */
void nfs_client_set_bound(struct nfs_client *client, size_t calls);

/* Return how many calls may be in flight now: fewer than the bound if the server is slow. */
size_t nfs_client_bound(const struct nfs_client *client);

/* ---- for scan and apply */

/* Return whether an error (-errno) means that an entry is not there any more. */
static inline bool nfs_error_is_gone(int error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

const struct proto_handle *nfs_client_root(const struct nfs_client *client);
uint64_t nfs_client_fsid(const struct nfs_client *client);
const struct protocol *nfs_client_protocol(const struct nfs_client *client);

/* Return how many entries to change by one call; and reduce it, because `than` were too many. */
size_t nfs_client_batch(const struct nfs_client *client);
void nfs_client_reduce_batch(struct nfs_client *client, size_t than);

/*
 * Return whether listings are plain (READDIR), and make all of them so from now on, because the
 * server has no READDIRPLUS: false if the version has no plain ones.
 */
bool nfs_client_lists_plainly(const struct nfs_client *client);
bool nfs_client_list_plainly(struct nfs_client *client);

/*
 * Return whether a change of this kind (0 to 31) was read back and came out as wanted, and which
 * aspects (core/result.h) of such changes were kept; and note that of one that did.
 */
bool nfs_client_is_proven(const struct nfs_client *client, unsigned kind);
uint8_t nfs_client_kept(const struct nfs_client *client);
void nfs_client_set_proven(struct nfs_client *client, unsigned kind, uint8_t kept);

/*
 * Return how many bytes to ask for in a listing; and ask for more, because `than` were too few:
 * false if more cannot be received.
 */
uint32_t nfs_client_listing(const struct nfs_client *client);
bool nfs_client_list_more(struct nfs_client *client, uint32_t than);

/* Return whether the server refuses guards: changes are made without from then on. */
bool nfs_client_is_unguarded(const struct nfs_client *client);
void nfs_client_set_unguarded(struct nfs_client *client);

/* Acquire a connection for this thread alone; 0 or -ENOMEM. */
int nfs_client_acquire(struct nfs_client *client, struct rpc **rpc);
void nfs_client_release(struct nfs_client *client, struct rpc *rpc);

/* Return how many calls may be in flight at most. */
size_t nfs_client_max_calls(const struct nfs_client *client);

/* Return whether a connection may make one more call now. */
bool nfs_client_may_call(const struct nfs_client *client, const struct rpc *rpc);

/* Send the call that was begun, and count it. */
void nfs_client_send(struct nfs_client *client, struct rpc *rpc, enum proto_procedure procedure,
                     rpc_answer *answer, void *owner, uint64_t tag);

/* Cache a directory's handle by its inode; look it up, if it is fresh; remove it. */
void nfs_client_remember(struct nfs_client *client, uint64_t inode,
                         const struct proto_handle *handle);
bool nfs_client_recall(struct nfs_client *client, uint64_t inode, struct proto_handle *handle);
void nfs_client_forget(struct nfs_client *client, uint64_t inode);

/*
 * Look a name up, or get an entry's attributes, and wait for the reply; other calls are answered
 * meanwhile. Returns 0 or -errno. If `stop` (or NULL) is set while the server is silent for
 * NFS_STOP_PATIENCE, all calls of the connection fail with -ECANCELED.
 */
int nfs_client_lookup(struct nfs_client *client, struct rpc *rpc,
                      const struct proto_handle *directory, const void *name, size_t length,
                      struct proto_handle *handle, struct proto_attrs *attrs,
                      const volatile uint8_t *stop);
int nfs_client_getattr(struct nfs_client *client, struct rpc *rpc,
                       const struct proto_handle *handle, struct proto_attrs *attrs,
                       const volatile uint8_t *stop);

#endif
