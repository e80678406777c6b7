/*
 * RPC over TCP (RFC 5531): one connection with many calls in flight. It knows nothing of NFS.
 *
 * Invariant: each call that was sent is answered exactly once: by the server's reply, or by -errno. A
 * connection that breaks is made again, and the calls that wait are sent again as they were, with their
 * xid: a server that keeps its replies then answers without doing them twice.
 *
 *     struct rpc_settings   where to, as whom, how many calls, how patient
 *     struct rpc            a connection; used by one thread at a time
 *     rpc_answer            what is called with a reply
 *
 *     rpc_begin -> xdr_put... -> rpc_send ......... rpc_step -> rpc_answer
 *
 * Memory is bounded: `calls` messages of at most MOST_CALL bytes, and one reply of MOST_REPLY.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_RPC_H
#define ARCHIPMIGRATE_NFS_PROTO_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/buffer.h"
#include "nfs/proto/pace.h"
#include "nfs/proto/xdr.h"

#define MOST_CALL   2048
#define MOST_REPLY  ((size_t)256 * 1024)
#define MOST_GROUPS 16 /* of AUTH_SYS: RFC 5531, appendix A */

struct rpc_settings {
    struct sockaddr_storage address;
    socklen_t address_length;
    uint32_t uid;
    uint32_t gid;
    uint32_t groups[MOST_GROUPS];
    size_t group_count;
    size_t calls;
    int64_t patience; /* ns without any reply, after which calls fail with -ETIMEDOUT */
    void *context;    /* of each call that is written, and reply that is read */
    bool insists;     /* a connection that is refused is tried again, until patience ends */
};

struct rpc;

/*
 * A call's reply, positioned at its results; or `error` (-errno) and nothing. `again`: it was sent more
 * than once. Returns 0, or after how many milliseconds the call is to be made anew
 * (later each time, and not for ever: in the end it is answered by -ETIMEDOUT).
 */
typedef int rpc_answer(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again);

/* Prepare a connection, which is made when the first call is. -ENOMEM. Calls are told to `pace`. */
int rpc_open(const struct rpc_settings *settings, struct pace *pace, struct rpc **rpc);

/* Close it; calls that wait are answered by -ECANCELED. */
void rpc_close(struct rpc *rpc);

/* How many calls wait for their replies. */
size_t rpc_waiting(const struct rpc *rpc);

/* Begin a call, to be followed by its arguments; NULL if too many wait. */
struct xdr_out *rpc_begin(struct rpc *rpc, uint32_t program, uint32_t version, uint32_t procedure);

/* Send what was begun. */
void rpc_send(struct rpc *rpc, rpc_answer *answer, void *owner, uint64_t tag);

/* Send and receive what there is, waiting for at most so many milliseconds; answers calls. */
void rpc_step(struct rpc *rpc, int milliseconds);

/* Say whether no call was answered, but by "later", for so many nanoseconds though calls wait. */
bool rpc_is_silent(const struct rpc *rpc, int64_t nanoseconds);

/* Answer all calls that wait by an error, and drop the connection. */
void rpc_cancel(struct rpc *rpc, int error);

#endif
