/*
 * What the kernel's NFS client knows of an open directory on a mount.
 */

#ifndef ARCHIPMIGRATE_NFS_KERNEL_HANDLE_H
#define ARCHIPMIGRATE_NFS_KERNEL_HANDLE_H

#include "nfs/proto/protocol.h"

/* Get its attributes, fresh from the server. Returns 0 or -errno. */
int kernel_handle_attrs(int fd, struct proto_attrs *attrs);

/*
 * Get the server's handle of it; `attrs` are those of kernel_handle_attrs. Returns 0 or -errno:
 * -EOPNOTSUPP where handles are volatile, -EBADMSG if the kernel's answer is not as in Linux 4.13.
 */
int kernel_handle_read(int fd, const struct proto_attrs *attrs, struct proto_handle *handle);

#endif
