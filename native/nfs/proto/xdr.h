/*
 * XDR (RFC 4506) as far as RPC and NFS need it: big-endian numbers, and bytes padded to 4.
 *
 *     struct xdr_in    bytes that are read; `bad` once something was not there, and then all is 0
 *     struct xdr_out   bytes that are written into room that is given; `bad` once they do not fit
 *     `context`        whatever those who read and write need, of the connection
 *
 * What is read is a server's and is not trusted: no length in it leads beyond its end, and nothing is
 * allocated for it.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_XDR_H
#define ARCHIPMIGRATE_NFS_PROTO_XDR_H

#include <endian.h>
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

/* Take so many bytes; NULL if there are fewer. */
static inline const uint8_t *xdr_take(struct xdr_in *in, size_t length)
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
    const uint8_t *bytes = xdr_take(in, sizeof(number));
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

/* Take bytes with their length before them; NULL if they are more than `most`. */
static inline const uint8_t *xdr_get_bytes(struct xdr_in *in, size_t most, uint32_t *length)
{
    *length = xdr_get32(in);
    if (*length > most)
        in->bad = true;
    return xdr_take(in, *length);
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
