/*
 * How many operations a server accepts in one compound.
 *
 * Version 4.0 has no way to ask: a server answers RESOURCE, or worse, when there are too many. But
 * servers grant a session of version 4.1 a number (RFC 8881, section 18.36: ca_maxoperations), and
 * have one bound for all minor versions: Linux 16, 50 or 200, by its version, nfs-ganesha 100. So a
 * session is made, and destroyed again:
 *
 *     EXCHANGE_ID -> CREATE_SESSION -> DESTROY_SESSION -> DESTROY_CLIENTID
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_SESSION_H
#define ARCHIPMIGRATE_NFS_PROTO_SESSION_H

#include "nfs/proto/rpc.h"

#define SESSION_ID 16 /* bytes */

struct session {
    uint64_t client;
    uint32_t sequence;
    uint8_t id[SESSION_ID];
    uint32_t operations; /* in a compound at most */
};

enum session_step {
    SESSION_EXCHANGE,
    SESSION_CREATE,
    SESSION_DESTROY,
    SESSION_FORGET,
    SESSION_STEPS,
};

/* Begin the call of a step: rpc_send must follow. False if too many calls wait. */
bool session_call(struct rpc *rpc, enum session_step step, const struct session *session);

/* Read the reply. Returns 0, -EBADMSG, or -EPROTO for any other status of the server. */
int session_read(struct xdr_in *reply, enum session_step step, struct session *session);

#endif
