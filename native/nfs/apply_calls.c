/*
 * The calls for entries: LOOKUP and GETATTR one by one, SETATTR in batches (apply_entry.h has the
 * structures).
 *
 *     a change -> open batch -> full batches -> call in flight -> outcome
 *         |           '-- an entry whose attributes are needed has a batch of its own
 *         '-- held while the first one of its kind is in flight
 */

#define _GNU_SOURCE
#include "nfs/apply_entry.h"

#include <errno.h>

/* ---- LOOKUP and GETATTR */

/* Take the result of LOOKUP or GETATTR. */
static int was_found(struct nfs_apply *apply, struct nfs_entry_change *entry, int error)
{
    if (error == -ESTALE && !entry->is_stale)
        return nfs_apply_find_again(apply, entry);
    if (nfs_error_is_gone(error))
        return OUTCOME_GONE;
    if (error < 0)
        return nfs_apply_fail(apply, entry, "stat", error, "");
    return nfs_apply_entry(apply, entry);
}

static int answer_entry(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    (void)resent;
    struct nfs_apply *apply = owner;
    struct nfs_entry_change *entry = &apply->entries[tag];
    struct proto_attrs after = {0};
    if (error == 0)
        error = apply->protocol->read_status(reply);
    if (error == PROTO_DELAY)
        return NFS_DELAY;
    int outcome;
    switch (entry->awaits) {
    case AWAITS_HANDLE:
        if (error == 0)
            error = apply->protocol->read_lookup(reply, &entry->handle, &entry->found);
        if (error == 0 && !entry->found.known)
            outcome = nfs_apply_send_getattr(apply, entry, AWAITS_LOOK);
        else if (error < 0 && !nfs_error_is_gone(error))
            outcome = nfs_apply_fail(apply, entry, "open", error, "");
        else
            outcome = was_found(apply, entry, error);
        break;
    case AWAITS_RESULT:
        if (error == 0)
            error = apply->protocol->read_getattr(reply, &after);
        outcome = error < 0 ? nfs_apply_fail(apply, entry, "stat", error, "")
                            : nfs_apply_was_set(apply, entry, 0, &after);
        break;
    default:
        if (error == 0)
            error = apply->protocol->read_getattr(reply, &entry->found);
        outcome = was_found(apply, entry, error);
    }
    nfs_apply_finish(apply, entry, outcome);
    return 0;
}

/* Make an entry's next LOOKUP or GETATTR; it waits if no call may be made. */
static void send_call(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct protocol *protocol = apply->protocol;
    const struct directory *directory = &apply->directories[entry->directory];
    bool looks_up = entry->awaits == AWAITS_HANDLE;
    uint32_t number = (uint32_t)(entry - apply->entries);
    if (!nfs_client_may_call(apply->client, apply->rpc)) {
        entry->next = apply->waits;
        apply->waits = number;
        return;
    }
    if (looks_up)
        protocol->call_lookup(apply->rpc, &directory->handle, entry->name, entry->length);
    else
        protocol->call_getattr(apply->rpc, &entry->handle);
    nfs_client_send(apply->client, apply->rpc, looks_up ? PROTO_LOOKUP : PROTO_GETATTR,
                    answer_entry, apply, number);
}

static int await(struct nfs_apply *apply, struct nfs_entry_change *entry, enum awaits awaits)
{
    entry->awaits = awaits;
    send_call(apply, entry);
    return PENDING;
}

int nfs_apply_send_lookup(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    return await(apply, entry, AWAITS_HANDLE);
}

int nfs_apply_send_getattr(struct nfs_apply *apply, struct nfs_entry_change *entry,
                           enum awaits awaits)
{
    return await(apply, entry, awaits);
}

void nfs_apply_send_waiting(struct nfs_apply *apply)
{
    uint32_t number = apply->waits;
    apply->waits = NOTHING;
    while (number != NOTHING) {
        struct nfs_entry_change *entry = &apply->entries[number];
        number = entry->next;
        send_call(apply, entry);
    }
}

/* ---- SETATTR */

static int answer_batch(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    struct nfs_apply *apply = owner;
    const struct batch batch = apply->batches[tag];
    struct proto_attrs after = {0};
    struct proto_setattr sets[PROTO_MAX_BATCH];
    int errors[PROTO_MAX_BATCH];
    size_t tried = batch.count;
    for (size_t i = 0; i < PROTO_MAX_BATCH; i++)
        errors[i] = error;
    for (size_t i = 0; i < batch.count; i++)
        sets[i] = apply->entries[batch.entries[i]].set;
    if (error == 0)
        tried = apply->protocol->read_setattr(reply, sets, batch.count, errors, &after);
    if (errors[0] == PROTO_DELAY || (errors[0] == PROTO_RESOURCE && batch.count == 1))
        return NFS_DELAY;
    if (errors[tried - 1] == PROTO_RESOURCE)
        nfs_client_reduce_batch(apply->client, batch.count);
    apply->batches[tag].next = apply->unused;
    apply->unused = (uint32_t)tag;
    for (size_t i = 0; i < batch.count; i++) {
        struct nfs_entry_change *entry = &apply->entries[batch.entries[i]];
        /* A reply that does not decode leaves open what was done. */
        entry->may_be_ours |= resent || (i >= tried && errors[tried - 1] == -EBADMSG);
        bool is_deferred = i >= tried || errors[i] > 0; /* another one failed first, or DELAY */
        int outcome = is_deferred ? nfs_apply_queue_setattr(apply, entry)
                                  : nfs_apply_was_set(apply, entry, errors[i], &after);
        nfs_apply_finish(apply, entry, outcome);
    }
    return 0;
}

static void send_batch(struct nfs_apply *apply, uint32_t number)
{
    struct batch *batch = &apply->batches[number];
    const struct proto_handle *handles[PROTO_MAX_BATCH];
    struct proto_setattr sets[PROTO_MAX_BATCH];
    for (size_t i = 0; i < batch->count; i++) {
        handles[i] = &apply->entries[batch->entries[i]].handle;
        sets[i] = apply->entries[batch->entries[i]].set;
    }
    apply->protocol->call_setattr(apply->rpc, handles, sets, batch->count);
    nfs_client_send(apply->client, apply->rpc, PROTO_SETATTR, answer_batch, apply, number);
}

void nfs_apply_send_full(struct nfs_apply *apply)
{
    while (apply->full != NOTHING && nfs_client_may_call(apply->client, apply->rpc)) {
        uint32_t number = apply->full;
        apply->full = apply->batches[number].next;
        send_batch(apply, number);
    }
}

static uint32_t take_batch(struct nfs_apply *apply)
{
    uint32_t number = apply->unused;
    apply->unused = apply->batches[number].next;
    apply->batches[number].count = 0;
    return number;
}

/* Add an entry to a batch; return how many it has now. */
static uint32_t add_to(struct nfs_apply *apply, uint32_t number,
                       const struct nfs_entry_change *entry)
{
    struct batch *batch = &apply->batches[number];
    batch->entries[batch->count++] = (uint32_t)(entry - apply->entries);
    return batch->count;
}

static void close_batch(struct nfs_apply *apply, uint32_t number)
{
    apply->batches[number].next = apply->full;
    apply->full = number;
    nfs_apply_send_full(apply);
}

void nfs_apply_close_batch(struct nfs_apply *apply)
{
    uint32_t number = apply->open;
    apply->open = NOTHING;
    if (number != NOTHING)
        close_batch(apply, number);
}

/*
 * Return whether a change must wait, because another one is finding out what becomes of its kind;
 * or let it be the one that does.
 *
 *     first   SETATTR -------> as wanted     the kind is proven
 *     others            held -------------> in batches, not read back
 */
static bool hold(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    uint32_t bit = (uint32_t)1 << entry->kind;
    if (entry->is_probe || apply->doubted & bit || nfs_client_is_proven(apply->client, entry->kind))
        return false;
    if (apply->probed & bit) {
        entry->next = apply->held;
        apply->held = (uint32_t)(entry - apply->entries);
        return true;
    }
    apply->probed |= bit;
    entry->is_probe = true;
    return false;
}

void nfs_apply_end_probe(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    if (entry->is_probe)
        apply->probed &= ~((uint32_t)1 << entry->kind);
    entry->is_probe = false;
}

void nfs_apply_send_held(struct nfs_apply *apply)
{
    uint32_t number = apply->held;
    apply->held = NOTHING;
    while (number != NOTHING) {
        struct nfs_entry_change *entry = &apply->entries[number];
        bool is_unchanged = !entry->may_be_ours && !entry->is_bare;
        number = entry->next;
        nfs_apply_finish(apply, entry,
                         apply->ended && is_unchanged ? OUTCOME_UNTRIED
                                                      : nfs_apply_queue_setattr(apply, entry));
    }
}

/*
 * A change whose resulting attributes are needed gets a call of its own: only then the reply has
 * them.
 */
int nfs_apply_queue_setattr(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    if (hold(apply, entry))
        return PENDING;
    entry->awaits = AWAITS_SET;
    if (nfs_apply_needs_attrs(apply, entry)) {
        uint32_t alone = take_batch(apply);
        add_to(apply, alone, entry);
        close_batch(apply, alone);
        return PENDING;
    }
    if (apply->open == NOTHING)
        apply->open = take_batch(apply);
    if (add_to(apply, apply->open, entry) >= nfs_client_batch(apply->client))
        nfs_apply_close_batch(apply);
    return PENDING;
}
