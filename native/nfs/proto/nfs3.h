/*
 * NFS version 3 (RFC 1813) and the programs beside it: MOUNT (appendix I) and the port mapper
 * (RFC 1833).
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_NFS3_H
#define ARCHIPMIGRATE_NFS_PROTO_NFS3_H

#include "nfs/proto/protocol.h"

extern const struct protocol nfs3_protocol;

/* FSSTAT: how many inodes are in use. After the status. */
bool nfs3_call_fsstat(struct rpc *rpc, const struct proto_handle *root);
int nfs3_read_fsstat(struct xdr_in *reply, uint64_t *used);

/* MNT: the root's handle. -EACCES if the server does not accept AUTH_SYS for it. */
bool nfs3_call_mount(struct rpc *rpc, const char *path);
int nfs3_read_mount(struct xdr_in *reply, struct proto_handle *root);

/* GETPORT: the TCP port of a program. -ECONNREFUSED if it has none. */
bool nfs3_call_port(struct rpc *rpc, uint32_t program, uint32_t version);
int nfs3_read_port(struct xdr_in *reply, uint16_t *port);

#endif
