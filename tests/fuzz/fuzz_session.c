/*
 * The server's part of sessions of version 4.1 (nfs/proto/session.h).
 */

#define _GNU_SOURCE
#include "fuzz_server.h"

bool session_answer(struct xdr_in *call, uint8_t how)
{
    uint32_t length;
    bool has_it = how & 1;
    xdr_get_bytes(call, 1024, &length);
    uint32_t minor = xdr_get32(call);
    check(minor <= 1, "a minor version");
    if (minor == 0)
        return false;
    check(xdr_get32(call) == 1, "one operation");
    uint32_t operation = xdr_get32(call);
    xdr_put32(&out, has_it ? 0 : 10021); /* MINOR_VERS_MISMATCH */
    xdr_put32(&out, 0);
    xdr_put32(&out, has_it);
    if (!has_it)
        return true;
    xdr_put32(&out, operation);
    xdr_put32(&out, 0);
    if (operation == 42) { /* EXCHANGE_ID */
        xdr_put64(&out, 7);
        xdr_put32(&out, 1);
    } else if (operation == 43) { /* CREATE_SESSION */
        xdr_put(&out, (uint8_t[40]){0}, 40);
        xdr_put32(&out, how); /* operations */
    }
    return true;
}
