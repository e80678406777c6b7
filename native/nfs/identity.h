/*
 * By what an entry is told over NFS from another one that has its inode number later
 * (core/known.h): version 4 may tell when it was created; otherwise the server's handle is its own
 * for ever, unless handles may expire.
 */

#ifndef ARCHIPMIGRATE_NFS_IDENTITY_H
#define ARCHIPMIGRATE_NFS_IDENTITY_H

#include "core/known.h"
#include "nfs/client.h"

/* Return what identities are by this client. */
enum identity_kind nfs_identity_kind(const struct nfs_client *client);

/* Return the identity of an entry, of that or another kind; 0 if it cannot be known. */
uint64_t nfs_identity(const struct nfs_client *client, enum identity_kind kind,
                      const struct proto_handle *handle, const struct proto_attrs *attrs);

#endif
