/*
 * RPC over TCP (RFC 5531): one connection with many calls in flight. It knows nothing of NFS.
 *
 *     struct rpc_settings   the server, the credentials, the number of calls, time-outs
 *     struct rpc            a connection; used by one thread at a time
 *     rpc_answer            the callback that gets a reply
 *
 *     rpc_begin -> xdr_put... -> rpc_send ......... rpc_step -> rpc_answer
 *
 * Invariant: each call that was sent is answered exactly once, by the server's reply or by -errno.
 * A connection that breaks is made again, and unanswered calls are sent again with the same xid: a
 * server with a reply cache then answers them without executing them twice.
 *
 * Memory is bounded: `calls` messages of at most RPC_MAX_CALL bytes, and one reply of
 * RPC_MAX_REPLY, for which there is less room until one needs it.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_RPC_H
#define ARCHIPMIGRATE_NFS_PROTO_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "nfs/proto/pace.h"
#include "nfs/proto/xdr.h"

#define RPC_MAX_CALL   16384 /* holds PROTO_MAX_BATCH changes, of which each has up to 468 bytes */
#define RPC_MAX_REPLY  ((size_t)2048 * 1024)
#define RPC_MAX_GROUPS 16 /* of AUTH_SYS: RFC 5531, appendix A */

/* Heads of one server: a connection that breaks is made again to the next one. */
#define RPC_MAX_ADDRESSES 16

struct rpc_address {
    struct sockaddr_storage address;
    socklen_t length;
};

struct rpc_settings {
    struct rpc_address addresses[RPC_MAX_ADDRESSES];
    size_t address_count;
    size_t next; /* which of them to connect to next, modulo their count */
    uint32_t uid;
    uint32_t gid;
    uint32_t groups[RPC_MAX_GROUPS];
    size_t group_count;
    size_t calls;     /* that may be unanswered at a time */
    int64_t patience; /* ns without any reply, after which all calls fail with -ETIMEDOUT */
    void *context;    /* of each call that is written, and reply that is read */
    bool insists;     /* retry a refused connection until patience ends; else calls fail at once */
};

struct rpc;

/*
 * Take a call's reply, positioned at its results; or `error` (-errno) and NULL. `resent`: the call
 * was sent more than once, so it may have been executed before.
 *
 * Return 0, or a number of milliseconds: then the call is made again after that time, which doubles
 * with each repetition. After the last repetition the callback gets -ETIMEDOUT.
 */
typedef int rpc_answer(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent);

/*
 * Prepare a connection, which is made with the first call. -ENOMEM. Calls are reported to `pace`.
 */
int rpc_open(const struct rpc_settings *settings, struct pace *pace, struct rpc **rpc);

/* Close it; unanswered calls get -ECANCELED. */
void rpc_close(struct rpc *rpc);

/* Return how many calls are unanswered. */
size_t rpc_waiting(const struct rpc *rpc);

/* Begin a call, to be followed by its arguments; NULL if too many are unanswered. */
struct xdr_out *rpc_begin(struct rpc *rpc, uint32_t program, uint32_t version, uint32_t procedure);

/* Send the call that was begun. */
void rpc_send(struct rpc *rpc, rpc_answer *answer, void *owner, uint64_t tag);

/* Send and receive what is ready, and call back; wait at most `milliseconds` for it. */
void rpc_step(struct rpc *rpc, int milliseconds);

/* Return whether calls are unanswered, and no reply other than DELAY came for `nanoseconds`. */
bool rpc_is_silent(const struct rpc *rpc, int64_t nanoseconds);

/* Answer all unanswered calls by an error, and drop the connection. */
void rpc_cancel(struct rpc *rpc, int error);

#endif
