/*
 * NFS version 4.0 (RFC 7530), as far as nfs3.h has version 3: one compound a call, without any state.
 *
 * A compound has one READDIR at most, and no more operations than ordinary clients send: what else a
 * server tolerates is not tried out on it.
 *
 *     read    PUTFH GETATTR READDIR
 *     change  PUTFH VERIFY(change) SETATTR, of up to MOST_TOGETHER entries; of a single one GETATTR, too
 *
 * Owners are texts (nfs_names.h): `struct names` is the context of connections.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_NFS4_H
#define ARCHIPMIGRATE_NFS_PROTO_NFS4_H

#include "nfs/proto/nfs3.h"

extern const struct protocol PROTOCOL4;

/* The pseudo root: a handle, and its attributes. */
bool call_root4(struct rpc *rpc);

#endif
