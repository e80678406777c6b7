/*
 * statx and name_to_handle_at on a mount (kernel_handle.h).
 *
 *     struct encoded   how the kernel's client packs the server's handle into one of its own
 */

#define _GNU_SOURCE
#include "nfs/kernel_handle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* As fs/nfs/export.c has it (nfs_encode_fh, since Linux 4.13). */
struct encoded {
    uint32_t fileid_high;
    uint32_t fileid_low;
    uint32_t type; /* as in st_mode */
    uint16_t length;
    uint8_t bytes[PROTO_MAX_HANDLE];
};
#define HEAD offsetof(struct encoded, bytes)

int kernel_handle_attrs(int fd, struct proto_attrs *attrs)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) < 0)
        return -errno;
    *attrs = (struct proto_attrs){
        .known = true,
        .mode = status.stx_mode,
        .links = status.stx_nlink,
        .uid = status.stx_uid,
        .gid = status.stx_gid,
        .size = status.stx_size,
        .fileid = status.stx_ino,
        .ctime = (uint64_t)status.stx_ctime.tv_sec << 32 | status.stx_ctime.tv_nsec,
    };
    return 0;
}

int kernel_handle_read(int fd, const struct proto_attrs *attrs, struct proto_handle *handle)
{
    union {
        struct file_handle head;
        uint8_t room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } file;
    struct encoded encoded;
    int mount;
    file.head.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(fd, "", &file.head, &mount, AT_EMPTY_PATH) < 0)
        return -errno;
    size_t length = file.head.handle_bytes;
    if (length < HEAD || length > MAX_HANDLE_SZ)
        return -EBADMSG;
    memcpy(&encoded, file.head.f_handle, length);
    uint64_t fileid = (uint64_t)encoded.fileid_high << 32 | encoded.fileid_low;
    bool is_it = fileid == attrs->fileid && encoded.type == (attrs->mode & S_IFMT) &&
                 encoded.length > 0 && length == xdr_padded(HEAD + encoded.length);
    if (!is_it)
        return -EBADMSG;
    handle->length = (uint8_t)encoded.length;
    memcpy(handle->bytes, encoded.bytes, encoded.length);
    return 0;
}
