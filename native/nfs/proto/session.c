/*
 * The four compounds of a session's short life, and their replies (session.h).
 */

#define _GNU_SOURCE
#include "nfs/proto/session.h"

#include <errno.h>
#include <sys/random.h>

#define NFS_PROGRAM  100003
#define NFS_VERSION  4
#define COMPOUND     1
#define MAX_TAG      1024
#define OWNER_LENGTH 24

static const uint32_t OPERATIONS[SESSION_STEPS] = {
    [SESSION_EXCHANGE] = 42,
    [SESSION_CREATE] = 43,
    [SESSION_DESTROY] = 44,
    [SESSION_FORGET] = 57,
};

/* Write channel_attrs4. The server answers with what it grants of it. */
static void put_channel(struct xdr_out *call, uint32_t operations)
{
    xdr_put32(call, 0); /* padding of headers */
    xdr_put32(call, 64 * 1024);
    xdr_put32(call, 64 * 1024);
    xdr_put32(call, 4096); /* of replies that are kept */
    xdr_put32(call, operations);
    xdr_put32(call, 1); /* slots */
    xdr_put32(call, 0); /* no RDMA */
}

static void put_exchange(struct xdr_out *call)
{
    /* Nobody else's: a client of the same name would be taken for a restart of this one. */
    uint8_t name[OWNER_LENGTH] = "archipmigrate", verifier[8];
    if (getrandom(name + 16, 8, 0) != 8 || getrandom(verifier, sizeof(verifier), 0) != 8)
        call->bad = true;
    xdr_put(call, verifier, sizeof(verifier));
    xdr_put_bytes(call, name, sizeof(name));
    xdr_put32(call, 0); /* flags */
    xdr_put32(call, 0); /* SP4_NONE */
    xdr_put32(call, 0); /* nothing about this implementation */
}

static void put_create(struct xdr_out *call, const struct session *session)
{
    xdr_put64(call, session->client);
    xdr_put32(call, session->sequence);
    xdr_put32(call, 0); /* flags */
    put_channel(call, session->operations);
    put_channel(call, 2);        /* of callbacks, which never come */
    xdr_put32(call, 0x40000000); /* their program */
    xdr_put32(call, 1);
    xdr_put32(call, 0); /* AUTH_NONE */
}

bool session_call(struct rpc *rpc, enum session_step step, const struct session *session)
{
    struct xdr_out *call = rpc_begin(rpc, NFS_PROGRAM, NFS_VERSION, COMPOUND);
    if (!call)
        return false;
    xdr_put32(call, 0); /* no tag */
    xdr_put32(call, 1); /* minor version */
    xdr_put32(call, 1); /* operation */
    xdr_put32(call, OPERATIONS[step]);
    switch (step) {
    case SESSION_EXCHANGE:
        put_exchange(call);
        break;
    case SESSION_CREATE:
        put_create(call, session);
        break;
    case SESSION_DESTROY:
        xdr_put(call, session->id, sizeof(session->id));
        break;
    default:
        xdr_put64(call, session->client);
    }
    return true;
}

int session_read(struct xdr_in *reply, enum session_step step, struct session *session)
{
    uint32_t length, status = xdr_get32(reply);
    xdr_get_bytes(reply, MAX_TAG, &length);
    if (reply->bad)
        return -EBADMSG;
    if (status)
        return -EPROTO;
    if (xdr_get32(reply) != 1 || xdr_get32(reply) != OPERATIONS[step] || xdr_get32(reply) != 0)
        return -EBADMSG;
    if (step == SESSION_EXCHANGE) {
        session->client = xdr_get64(reply);
        session->sequence = xdr_get32(reply);
    } else if (step == SESSION_CREATE) {
        const uint8_t *id = xdr_get(reply, SESSION_ID);
        if (id)
            memcpy(session->id, id, SESSION_ID);
        xdr_get(reply, 2 * sizeof(uint32_t)); /* sequence, flags */
        xdr_get(reply, 4 * sizeof(uint32_t)); /* padding, sizes */
        session->operations = xdr_get32(reply);
    }
    return xdr_error(reply);
}
