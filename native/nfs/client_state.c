/*
 * What is known of an open share, and what its server turned out to do (client.h).
 */

#define _GNU_SOURCE
#include "nfs/client_state.h"

const struct proto_handle *nfs_client_root(const struct nfs_client *client)
{
    return &client->root;
}

uint64_t nfs_client_root_inode(const struct nfs_client *client)
{
    return client->root_attrs.fileid;
}

const struct protocol *nfs_client_protocol(const struct nfs_client *client)
{
    return client->protocol;
}

int nfs_client_version(const struct nfs_client *client)
{
    return client->protocol->version;
}

const struct proto_attrs *nfs_client_opened_attrs(const struct nfs_client *client)
{
    return &client->root_attrs;
}

struct idmap *nfs_client_idmap(const struct nfs_client *client)
{
    return client->idmap;
}

size_t nfs_client_batch(const struct nfs_client *client)
{
    return atomic_load(&client->batch);
}

void nfs_client_reduce_batch(struct nfs_client *client, size_t than)
{
    size_t batch = atomic_load(&client->batch);
    size_t fewer = than > 1 ? than / 2 : 1;
    while (fewer < batch && !atomic_compare_exchange_weak(&client->batch, &batch, fewer))
        ;
}

bool nfs_client_lists_plainly(const struct nfs_client *client)
{
    return atomic_load(&client->is_plain);
}

bool nfs_client_list_plainly(struct nfs_client *client)
{
    bool can = client->protocol->version == 3;
    if (can)
        atomic_store(&client->is_plain, true);
    return can;
}

bool nfs_client_is_proven(const struct nfs_client *client, unsigned kind)
{
    return atomic_load(&client->proven) >> kind & 1;
}

uint8_t nfs_client_kept(const struct nfs_client *client)
{
    return (uint8_t)atomic_load(&client->kept);
}

void nfs_client_set_proven(struct nfs_client *client, unsigned kind, uint8_t kept)
{
    atomic_fetch_or(&client->proven, 1U << kind);
    atomic_fetch_or(&client->kept, kept);
}

uint32_t nfs_client_listing(const struct nfs_client *client)
{
    return atomic_load(&client->listing);
}

bool nfs_client_list_more(struct nfs_client *client, uint32_t than)
{
    unsigned expected = than;
    if (than >= PROTO_MAX_LISTING)
        return false;
    /* Another thread may have asked for more already. */
    (void)atomic_compare_exchange_strong(&client->listing, &expected, 2 * than);
    return true;
}

bool nfs_client_is_unguarded(const struct nfs_client *client)
{
    return atomic_load(&client->is_unguarded);
}

void nfs_client_set_unguarded(struct nfs_client *client)
{
    atomic_store(&client->is_unguarded, true);
}

uint64_t nfs_client_fsid(const struct nfs_client *client)
{
    return client->root_attrs.fsid;
}

void nfs_client_calls(const struct nfs_client *client, uint64_t *calls)
{
    for (size_t i = 0; i < PROTO_PROCEDURES; i++)
        calls[i] = atomic_load(&client->calls[i]);
}
