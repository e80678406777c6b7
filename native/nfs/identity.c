/* Identities by version, birth and handle (identity.h). */

#include "nfs/identity.h"

/* Handles of version 4 may be others than those of version 3. */
static enum identity_kind handle_kind(const struct nfs_client *client)
{
    if (nfs_client_version(client) == 3)
        return IDENTITY_V3_HANDLE;
    return nfs_client_opened_attrs(client)->lasts ? IDENTITY_V4_HANDLE : IDENTITY_NONE;
}

enum identity_kind nfs_identity_kind(const struct nfs_client *client)
{
    return nfs_client_opened_attrs(client)->birth ? IDENTITY_BIRTH : handle_kind(client);
}

uint64_t nfs_identity(const struct nfs_client *client, enum identity_kind kind,
                      const struct proto_handle *handle, const struct proto_attrs *attrs)
{
    if (kind == IDENTITY_BIRTH)
        return (uint64_t)attrs->birth;
    bool is_known = kind != IDENTITY_NONE && kind == handle_kind(client) && handle->length > 0;
    return is_known ? identity_of_handle(handle->bytes, handle->length) : 0;
}
