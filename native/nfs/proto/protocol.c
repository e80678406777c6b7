/*
 * Names, times, types and statuses, which versions 3 and 4 encode alike.
 */

#define _GNU_SOURCE
#include "nfs/proto/protocol.h"

#include <errno.h>
#include <sys/stat.h>

int proto_error(uint32_t status)
{
    switch (status) {
    case 0:
    case PROTO_DELAY:
        return (int)status;
    case 1:  /* PERM: these have the numbers of errno */
    case 2:  /* NOENT */
    case 5:  /* IO */
    case 6:  /* NXIO */
    case 13: /* ACCES */
    case 19: /* NODEV */
    case 20: /* NOTDIR */
    case 22: /* INVAL */
    case 28: /* NOSPC */
    case 30: /* ROFS */
        return -(int)status;
    case 63: /* NAMETOOLONG */
        return -ENAMETOOLONG;
    case 69: /* DQUOT */
        return -EDQUOT;
    case 70:    /* STALE */
    case 10001: /* BADHANDLE */
        return -ESTALE;
    case 10002: /* NOT_SYNC */
        return -EAGAIN;
    case 10003: /* BAD_COOKIE */
        return -EILSEQ;
    case 10004: /* NOTSUPP */
        return -EOPNOTSUPP;
    case 10005: /* TOOSMALL */
        return -EMSGSIZE;
    default: /* SERVERFAULT, BADTYPE and unknown ones */
        return -EIO;
    }
}

uint32_t proto_type(uint32_t number)
{
    static const uint32_t TYPES[] = {0,       S_IFREG, S_IFDIR,  S_IFBLK,
                                     S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO};
    return number < sizeof(TYPES) / sizeof(TYPES[0]) ? TYPES[number] : 0;
}

void proto_get_handle(struct xdr_in *reply, size_t max, struct proto_handle *handle)
{
    uint32_t length;
    const uint8_t *bytes = xdr_get_bytes(reply, max, &length);
    if (!bytes || length == 0) {
        reply->bad = true;
        return;
    }
    handle->length = (uint8_t)length;
    memcpy(handle->bytes, bytes, length);
}

int proto_check_name(const uint8_t *name, size_t length)
{
    bool is_good = length > 0 && length <= PROTO_LONGEST_NAME && !memchr(name, '/', length) &&
                   !memchr(name, '\0', length);
    return is_good ? 0 : -EBADMSG;
}

int64_t proto_time(uint64_t time)
{
    return (int64_t)((time >> 32) * 1000000000U + (time & UINT32_MAX));
}
