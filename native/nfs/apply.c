/*
 * The loop of an apply: reads the frames, begins changes in their order, and ends when all have an
 * outcome (apply_entry.h has the structures).
 */

#define _GNU_SOURCE
#include "nfs/apply_entry.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/system.h"
#include "nfs/identity.h"

#define STOP_CHECK_MS 200 /* ms between two looks at the stop flag */

/* ---- finished entries */

/* Count one entry of a directory as finished: its own change may be due now, or its parent's. */
static void finish_in(struct nfs_apply *apply, uint32_t number)
{
    while (number != NOTHING && --apply->directories[number].left == 0) {
        struct directory *directory = &apply->directories[number];
        if (directory->own != NOTHING) {
            apply->entries[directory->own].next = apply->due;
            apply->due = directory->own;
            return;
        }
        number = directory->parent;
    }
}

void nfs_apply_finish(struct nfs_apply *apply, struct nfs_entry_change *entry, int outcome)
{
    if (outcome == PENDING)
        return;
    apply->result->outcomes[entry - apply->entries] = (uint8_t)outcome;
    apply->finished++;
    apply->active -= entry->is_active;
    entry->is_active = false;
    nfs_apply_end_probe(apply, entry);
    if (outcome_is_success(outcome) || outcome == OUTCOME_FAILED)
        nfs_apply_note_identity(apply, entry);
    if (outcome_is_success(outcome))
        apply->succeeded = true;
    uint32_t directory = entry->directory;
    finish_in(apply, entry->is_own ? apply->directories[directory].parent : directory);
}

/* ---- the loop */

static void begin(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    if (entry->change.flags & FLAG_DROPPED) {
        nfs_apply_finish(apply, entry, OUTCOME_DROPPED);
    } else if (apply->ended) {
        nfs_apply_finish(apply, entry, OUTCOME_UNTRIED);
    } else {
        entry->is_active = true;
        apply->active++;
        bool has_handle = entry->handle.length > 0 && apply->request->verb == VERB_FORWARD;
        nfs_apply_finish(apply, entry,
                         has_handle ? nfs_apply_by_handle(apply, entry)
                                    : nfs_apply_find_entry(apply, entry));
    }
}

/* Return whether there is another entry to begin. */
static bool has_next(struct nfs_apply *apply)
{
    while (apply->next < apply->count && apply->entries[apply->next].is_own)
        apply->next++;
    return apply->due != NOTHING || apply->next < apply->count;
}

/* Return the next entry to begin, if there is one. */
static struct nfs_entry_change *next_entry(struct nfs_apply *apply)
{
    if (!has_next(apply))
        return NULL;
    if (apply->due != NOTHING) {
        struct nfs_entry_change *entry = &apply->entries[apply->due];
        apply->due = entry->next;
        return entry;
    }
    return &apply->entries[apply->next++];
}

/* Return how many entries may be active: enough for full batches in all calls that there may be. */
static size_t most_active(const struct nfs_apply *apply)
{
    return nfs_client_max_calls(apply->client) * apply->protocol->batch +
           nfs_client_batch(apply->client);
}

static bool may_begin(const struct nfs_apply *apply)
{
    if (apply->active == 0)
        return true;
    if (apply->request->verb == VERB_FORWARD && !apply->succeeded)
        return false;
    /* Entries that wait for one directory make all their calls at once when it is found. */
    return apply->active < most_active(apply) && apply->waits == NOTHING &&
           apply->full == NOTHING && nfs_client_may_call(apply->client, apply->rpc);
}

/* Once the stop flag is set, begin no more changes; wait NFS_STOP_PATIENCE for replies. */
static void check_stop(struct nfs_apply *apply)
{
    if (!*apply->request->stop)
        return;
    int64_t now = sys_monotonic_time();
    apply->ended = true;
    if (apply->stopped == 0)
        apply->stopped = now;
    if (apply->active > 0 && now - apply->stopped > NFS_STOP_PATIENCE)
        apply->error = -ECANCELED;
}

static int apply_all(struct nfs_apply *apply)
{
    check_stop(apply);
    while (apply->finished < apply->count && apply->error == 0) {
        nfs_apply_send_held(apply);
        nfs_apply_send_full(apply);
        nfs_apply_send_waiting(apply);
        for (struct nfs_entry_change *entry; may_begin(apply) && (entry = next_entry(apply));) {
            begin(apply, entry);
            nfs_apply_find_directories(apply);
        }
        /* A batch waits for more changes only while there will be some. */
        if ((!has_next(apply) && apply->held == NOTHING) || rpc_waiting(apply->rpc) == 0)
            nfs_apply_close_batch(apply);
        if (rpc_waiting(apply->rpc) > 0)
            rpc_step(apply->rpc, STOP_CHECK_MS);
        nfs_apply_find_directories(apply);
        check_stop(apply);
    }
    return apply->error;
}

/* ---- frames */

static int read_handles(struct nfs_apply *apply)
{
    const uint8_t *at = apply->request->handles, *end = at + apply->request->handles_length;
    for (size_t i = 0; i < apply->count && at < end; i++) {
        struct nfs_entry_change *entry = &apply->entries[i];
        uint64_t seen[3]; /* as put_handle of scan_tree.c writes it */
        size_t length = *at++;
        if (length > PROTO_MAX_HANDLE || length + sizeof(seen) > (size_t)(end - at))
            return -EINVAL;
        entry->handle.length = (uint8_t)length;
        memcpy(entry->handle.bytes, at, length);
        memcpy(seen, at + length, sizeof(seen));
        entry->found.guard = seen[0];
        entry->found.mtime = (int64_t)seen[1];
        entry->found.birth = (int64_t)seen[2];
        at += length + sizeof(seen);
    }
    return 0;
}

/* Read all frames into entries and directories, which are large enough. */
static int read_frames(struct nfs_apply *apply, size_t at)
{
    const struct nfs_apply_request *request = apply->request;
    uint32_t deepest = NOTHING;
    while (at < request->length) {
        struct frame frame;
        int error = frame_read(request->changes, request->length, &at, &frame);
        if (error < 0)
            return error;
        if (frame.kind == KIND_ENTER) {
            uint32_t number = (uint32_t)apply->directory_count++;
            if (deepest != NOTHING)
                apply->directories[deepest].left++;
            apply->directories[number] = (struct directory){
                .parent = deepest,
                .own = NOTHING,
                .entries = NOTHING,
                .directories = NOTHING,
                .name = frame.name,
                .length = frame.length,
                .inode = frame.inode,
            };
            deepest = number;
            continue;
        }
        if (frame.kind != KIND_LEAVE) {
            uint32_t number = (uint32_t)apply->count++;
            apply->entries[number] = (struct nfs_entry_change){
                .change = frame.change,
                .name = frame.name,
                .length = (uint16_t)frame.length,
                .is_own = frame.kind == KIND_OWN,
                .directory = deepest,
                .may_be_ours = request->is_retry,
            };
            if (frame.kind == KIND_OWN)
                apply->directories[deepest].own = number;
            else
                apply->directories[deepest].left++;
        }
        if (frame.kind != KIND_CHANGE)
            deepest = apply->directories[deepest].parent;
    }
    return 0;
}

/*
 * Make the own changes of directories due in which nothing else changes. In the order of the
 * frames, parents come first: one that is finished because its last child is must not be taken for
 * an empty one, too.
 */
static void begin_empty(struct nfs_apply *apply)
{
    for (size_t i = 0; i < apply->directory_count; i++) {
        struct directory *directory = &apply->directories[i];
        if (directory->left == 0) {
            directory->left = 1;
            finish_in(apply, (uint32_t)i);
        }
    }
}

static size_t count_enters(const uint8_t *changes, size_t length, size_t at)
{
    size_t count = 0;
    struct frame frame;
    while (at < length && frame_read(changes, length, &at, &frame) == 0)
        count += frame.kind == KIND_ENTER;
    return count;
}

int nfs_apply(const struct nfs_apply_request *request, struct apply_result *result)
{
    struct nfs_apply apply = {
        .request = request,
        .result = result,
        .client = request->client,
        .protocol = nfs_client_protocol(request->client),
        .open = NOTHING,
        .full = NOTHING,
        .waits = NOTHING,
        .held = NOTHING,
        .due = NOTHING,
        .to_find = NOTHING,
    };
    size_t first, count;
    int error = changes_check(request->changes, request->length, &apply.ids, &first, &count);
    if (error < 0)
        return error;
    if (apply.ids.uid != NO_ID)
        idmap_send_users(nfs_client_idmap(apply.client));
    size_t enters = count_enters(request->changes, request->length, first);
    if (count >= NOTHING || enters >= NOTHING)
        return -EINVAL;
    error = apply_result_reserve(result, count);
    result->count = count;
    result->identity_kind = nfs_identity_kind(apply.client);
    apply.entries = calloc(count + 1, sizeof(*apply.entries));
    apply.directories = calloc(enters + 1, sizeof(*apply.directories));
    /* A batch for each entry that may be active. */
    size_t most = most_active(&apply), batches = (most < count ? most : count) + 1;
    apply.batches = calloc(batches, sizeof(*apply.batches));
    for (size_t i = 0; apply.batches && i < batches; i++)
        apply.batches[i].next = (uint32_t)i + 1;
    if (error < 0 || !apply.entries || !apply.directories || !apply.batches) {
        error = -ENOMEM;
        goto out;
    }
    error = read_frames(&apply, first);
    if (error == 0)
        error = read_handles(&apply);
    if (error == 0)
        error = nfs_client_acquire(apply.client, &apply.rpc);
    if (error < 0)
        goto out;
    begin_empty(&apply);
    error = apply_all(&apply);
    while (rpc_waiting(apply.rpc) > 0)
        rpc_cancel(apply.rpc, -ECANCELED);
    nfs_client_release(apply.client, apply.rpc);
    if (error == 0 && apply.is_unnamed)
        error = -EPROTOTYPE;
out:
    free(apply.entries);
    free(apply.directories);
    free(apply.batches);
    return error;
}
