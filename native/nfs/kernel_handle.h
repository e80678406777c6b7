/*
 * What the kernel's client knows of an open directory on an NFS mount.
 */

#ifndef ARCHIPMIGRATE_NFS_KERNEL_HANDLE_H
#define ARCHIPMIGRATE_NFS_KERNEL_HANDLE_H

#include "nfs/proto/nfs3.h"

/* Its attributes, as the server has them now: 0 or -errno. */
int mounted_attributes(int fd, struct attributes *found);

/*
 * The server's handle of it, that has these attributes: 0 or -errno (-EOPNOTSUPP where handles do not last,
 * -EBADMSG if this is not what Linux is known to give).
 */
int mounted_handle(int fd, const struct attributes *found, struct handle *handle);

#endif
