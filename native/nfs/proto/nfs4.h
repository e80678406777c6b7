/*
 * NFS version 4.0 (RFC 7530): one compound a call, without any state.
 *
 * A compound has at most one READDIR, and no more operations than ordinary clients send (16), or
 * than the server grants (session.h): servers differ in what else they accept.
 *
 *     read    PUTFH GETATTR READDIR
 *     change  PUTFH VERIFY(change) SETATTR, nfs_client_batch times; GETATTR after a single one
 *
 * Owners are strings: a connection's context must be its `struct idmap`.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_NFS4_H
#define ARCHIPMIGRATE_NFS_PROTO_NFS4_H

#include "nfs/proto/protocol.h"

extern const struct protocol nfs4_protocol;

/* Get the pseudo root; read_lookup reads the reply. */
bool nfs4_call_root(struct rpc *rpc);

#endif
