/*
 * XDR (RFC 4506) as far as RPC and NFS need it: big-endian numbers, and bytes padded to 4.
 *
 *     struct xdr_in    bytes to read; `bad` once something was missing: then all reads give 0
 *     struct xdr_out   a fixed room to write to; `bad` once something did not fit
 *
 * Both carry the connection's `context` for the functions that read and write messages.
 *
 * The bytes come from a server and are not trusted: no length in them leads beyond their end, and
 * nothing is allocated for them.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_XDR_H
#define ARCHIPMIGRATE_NFS_PROTO_XDR_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct xdr_in {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
    void *context;
};

struct xdr_out {
    uint8_t *bytes;
    size_t length;
    size_t room;
    bool bad;
    void *context;
};

static inline size_t xdr_padded(size_t length)
{
    return (length + 3) & ~(size_t)3;
}

/* Return 0, or -EBADMSG if something that was read was not there. */
static inline int xdr_error(const struct xdr_in *in)
{
    return in->bad ? -EBADMSG : 0;
}

/* Read `length` bytes; NULL if there are fewer. */
static inline const uint8_t *xdr_get(struct xdr_in *in, size_t length)
{
    if (in->bad || xdr_padded(length) > (size_t)(in->end - in->at)) {
        in->bad = true;
        return NULL;
    }
    const uint8_t *bytes = in->at;
    in->at += xdr_padded(length);
    return bytes;
}

static inline uint32_t xdr_get32(struct xdr_in *in)
{
    uint32_t number;
    const uint8_t *bytes = xdr_get(in, sizeof(number));
    if (!bytes)
        return 0;
    memcpy(&number, bytes, sizeof(number));
    return be32toh(number);
}

static inline uint64_t xdr_get64(struct xdr_in *in)
{
    uint64_t high = xdr_get32(in);
    return high << 32 | xdr_get32(in);
}

/* Read bytes that follow their length; NULL if they are more than `max`. */
static inline const uint8_t *xdr_get_bytes(struct xdr_in *in, size_t max, uint32_t *length)
{
    *length = xdr_get32(in);
    if (*length > max)
        in->bad = true;
    return xdr_get(in, *length);
}

static inline void xdr_put(struct xdr_out *out, const void *bytes, size_t length)
{
    size_t padded = xdr_padded(length);
    if (out->bad || padded > out->room - out->length) {
        out->bad = true;
        return;
    }
    memcpy(out->bytes + out->length, bytes, length);
    memset(out->bytes + out->length + length, 0, padded - length);
    out->length += padded;
}

static inline void xdr_put32(struct xdr_out *out, uint32_t number)
{
    number = htobe32(number);
    xdr_put(out, &number, sizeof(number));
}

static inline void xdr_put64(struct xdr_out *out, uint64_t number)
{
    number = htobe64(number);
    xdr_put(out, &number, sizeof(number));
}

static inline void xdr_put_bytes(struct xdr_out *out, const void *bytes, size_t length)
{
    xdr_put32(out, (uint32_t)length);
    xdr_put(out, bytes, length);
}

#endif
