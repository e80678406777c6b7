#define _GNU_SOURCE
#include "nfs/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/system.h"

#define STEP 200 /* ms to wait for replies at once; they end it earlier */

/* ---- finished records */

/* One thing less is to be done in a directory: its own change may be due, or that of those above. */
static void finish_in(struct nfs_applying *applying, uint32_t number)
{
    while (number != NOTHING && --applying->directories[number].left == 0) {
        struct directory *directory = &applying->directories[number];
        if (directory->own != NOTHING) {
            applying->records[directory->own].next = applying->due;
            applying->due = directory->own;
            return;
        }
        number = directory->parent;
    }
}

static void finish(struct nfs_applying *applying, struct record *record, int outcome)
{
    if (outcome == PENDING)
        return;
    applying->result->outcomes[record - applying->records] = (uint8_t)outcome;
    applying->finished++;
    applying->active -= record->is_active;
    record->is_active = false;
    if (outcome_is_success(outcome))
        applying->succeeded = true;
    uint32_t directory = record->directory;
    finish_in(applying, record->is_own ? applying->directories[directory].parent : directory);
}

/* ---- calls for records */

static bool is_gone(int error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

static int looked(struct nfs_applying *applying, struct record *record, int error)
{
    if (error == -ESTALE && !record->is_stale)
        return find_again(applying, record);
    if (is_gone(error))
        return OUTCOME_GONE;
    if (error < 0)
        return refuse(applying, record, "stat", error, "");
    return act(applying, record);
}

static int answer_record(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    (void)again;
    struct nfs_applying *applying = owner;
    struct record *record = &applying->records[tag];
    struct attributes after = {0};
    if (error == 0)
        error = applying->protocol->read_status(reply);
    if (error == JUKEBOX_ERROR)
        return LATER;
    int outcome;
    switch (record->awaits) {
    case AWAITS_HANDLE:
        if (error == 0)
            error = applying->protocol->read_lookup(reply, &record->handle, &record->found);
        if (error == 0 && !record->found.known)
            outcome = ask_look(applying, record, AWAITS_LOOK);
        else if (error < 0 && !is_gone(error))
            outcome = refuse(applying, record, "open", error, "");
        else
            outcome = looked(applying, record, error);
        break;
    case AWAITS_BACK:
        if (error == 0)
            error = applying->protocol->read_getattr(reply, &after);
        outcome = error < 0 ? refuse(applying, record, "stat", error, "")
                            : was_set(applying, record, 0, &after);
        break;
    default:
        if (error == 0)
            error = applying->protocol->read_getattr(reply, &record->found);
        outcome = looked(applying, record, error);
    }
    finish(applying, record, outcome);
    return 0;
}

/* Make a record's next call, which is no change; if there is no room for it, it waits. */
static void send_record(struct nfs_applying *applying, struct record *record)
{
    const struct protocol *protocol = applying->protocol;
    const struct directory *directory = &applying->directories[record->directory];
    bool looks_up = record->awaits == AWAITS_HANDLE;
    uint32_t number = (uint32_t)(record - applying->records);
    if (!nfs_may_call(applying->nfs, applying->rpc)) {
        record->next = applying->waits;
        applying->waits = number;
        return;
    }
    if (looks_up)
        protocol->call_lookup(applying->rpc, &directory->handle, record->name, record->length);
    else
        protocol->call_getattr(applying->rpc, &record->handle);
    nfs_send(applying->nfs, applying->rpc, looks_up ? LOOKUP3 : GETATTR3, answer_record, applying,
             number);
}

static int ask(struct nfs_applying *applying, struct record *record, enum awaits awaits)
{
    record->awaits = awaits;
    send_record(applying, record);
    return PENDING;
}

int ask_look(struct nfs_applying *applying, struct record *record, enum awaits awaits)
{
    return ask(applying, record, awaits);
}

static void send_waiting(struct nfs_applying *applying)
{
    uint32_t number = applying->waits;
    applying->waits = NOTHING;
    while (number != NOTHING) {
        struct record *record = &applying->records[number];
        number = record->next;
        send_record(applying, record);
    }
}

/* ---- changes */

static int answer_batch(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    struct nfs_applying *applying = owner;
    const struct batch batch = applying->batches[tag];
    struct attributes after = {0};
    struct setattr sets[MOST_TOGETHER];
    int errors[MOST_TOGETHER] = {error, error, error, error, error};
    size_t tried = batch.count;
    for (size_t i = 0; i < batch.count; i++)
        sets[i] = applying->records[batch.records[i]].set;
    if (error == 0)
        tried = applying->protocol->read_setattr(reply, sets, batch.count, errors, &after);
    if (errors[0] == JUKEBOX_ERROR || (errors[0] == SMALLER_ERROR && batch.count == 1))
        return LATER;
    if (errors[tried - 1] == SMALLER_ERROR)
        nfs_take_fewer(applying->nfs, batch.count);
    applying->batches[tag].next = applying->unused;
    applying->unused = (uint32_t)tag;
    for (size_t i = 0; i < batch.count; i++) {
        struct record *record = &applying->records[batch.records[i]];
        /* After what does not decode nobody knows what was done. */
        record->is_again |= again || (i >= tried && errors[tried - 1] == -EBADMSG);
        bool is_put_off = i >= tried || errors[i] > 0; /* one before it failed, or it is busy */
        int outcome =
            is_put_off ? ask_set(applying, record) : was_set(applying, record, errors[i], &after);
        finish(applying, record, outcome);
    }
    return 0;
}

static void send_batch(struct nfs_applying *applying, uint32_t number)
{
    struct batch *batch = &applying->batches[number];
    const struct handle *handles[MOST_TOGETHER];
    struct setattr sets[MOST_TOGETHER];
    for (size_t i = 0; i < batch->count; i++) {
        handles[i] = &applying->records[batch->records[i]].handle;
        sets[i] = applying->records[batch->records[i]].set;
    }
    applying->protocol->call_setattr(applying->rpc, handles, sets, batch->count);
    nfs_send(applying->nfs, applying->rpc, SETATTR3, answer_batch, applying, number);
}

/* Send the batches that are full, as many as may be. */
static void send_full(struct nfs_applying *applying)
{
    while (applying->full != NOTHING && nfs_may_call(applying->nfs, applying->rpc)) {
        uint32_t number = applying->full;
        applying->full = applying->batches[number].next;
        send_batch(applying, number);
    }
}

/* The open batch is full, or there is nothing to fill it with. */
static void close_batch(struct nfs_applying *applying)
{
    if (applying->open == NOTHING)
        return;
    applying->batches[applying->open].next = applying->full;
    applying->full = applying->open;
    applying->open = NOTHING;
    send_full(applying);
}

/* Put a change beside others; one whose attributes are needed after it comes alone, to have them. */
int ask_set(struct nfs_applying *applying, struct record *record)
{
    bool is_alone = needs_attributes(applying, record);
    record->awaits = AWAITS_SET;
    if (is_alone)
        close_batch(applying);
    if (applying->open == NOTHING) {
        applying->open = applying->unused;
        applying->unused = applying->batches[applying->open].next;
        applying->batches[applying->open].count = 0;
    }
    struct batch *batch = &applying->batches[applying->open];
    batch->records[batch->count++] = (uint32_t)(record - applying->records);
    if (is_alone || batch->count >= nfs_together(applying->nfs))
        close_batch(applying);
    return PENDING;
}

/* ---- directories */

static void find_directory(struct nfs_applying *applying, uint32_t number)
{
    struct directory *directory = &applying->directories[number];
    directory->next = applying->to_find;
    applying->to_find = number;
    directory->where = SOUGHT;
}

/* Look for an entry by its name, in its directory; or wait until that is found. */
static int find_record(struct nfs_applying *applying, struct record *record)
{
    struct directory *directory = &applying->directories[record->directory];
    switch (directory->where) {
    case FOUND:
        if (record->is_own) {
            record->handle = directory->handle;
            return ask_look(applying, record, AWAITS_LOOK);
        }
        return ask(applying, record, AWAITS_HANDLE);
    case LOST:
        return directory->outcome == OUTCOME_FAILED
                   ? refuse(applying, record, "open", directory->error, "")
                   : directory->outcome;
    case NOT_SOUGHT:
        find_directory(applying, record->directory);
        break;
    case SOUGHT:
        break;
    }
    record->next = directory->records;
    directory->records = (uint32_t)(record - applying->records);
    return PENDING;
}

int find_again(struct nfs_applying *applying, struct record *record)
{
    record->is_stale = true;
    record->handle.length = 0;
    return find_record(applying, record);
}

/* A directory was found, or lost: go on with all that waits for it. */
static void found(struct nfs_applying *applying, struct directory *directory, int error)
{
    directory->where = error < 0 || directory->outcome == OUTCOME_DIFFERENT ? LOST : FOUND;
    if (error < 0) {
        directory->outcome = is_gone(error) ? OUTCOME_GONE : OUTCOME_FAILED;
        directory->error = error;
    }
    while (directory->records != NOTHING) {
        struct record *record = &applying->records[directory->records];
        directory->records = record->next;
        finish(applying, record, find_record(applying, record));
    }
    while (directory->directories != NOTHING) {
        uint32_t number = directory->directories;
        directory->directories = applying->directories[number].next;
        find_directory(applying, number);
    }
}

static int answer_directory(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again);

/* Look for the next part of a directory's name; below `above` if it is the first. */
static void step_down(struct nfs_applying *applying, struct directory *directory,
                      const struct handle *above)
{
    const uint8_t *name = directory->name + directory->at;
    size_t left = directory->length - directory->at;
    const uint8_t *slash = memchr(name, '/', left);
    size_t length = slash ? (size_t)(slash - name) : left;
    directory->at += (uint32_t)(length + (slash != NULL));
    if (length > MOST_NAME)
        found(applying, directory, -ENAMETOOLONG);
    else if (applying->protocol->call_lookup(applying->rpc, above, name, length))
        nfs_send(applying->nfs, applying->rpc, LOOKUP3, answer_directory, applying,
                 (uint64_t)(directory - applying->directories));
    else
        found(applying, directory, -EBUSY);
}

static int answer_directory(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    (void)again;
    struct nfs_applying *applying = owner;
    struct directory *directory = &applying->directories[tag];
    struct attributes attributes = {0};
    if (error == 0)
        error = applying->protocol->read_status(reply);
    if (error == JUKEBOX_ERROR)
        return LATER;
    if (error == 0)
        error = applying->protocol->read_lookup(reply, &directory->handle, &attributes);
    if (error == 0 && attributes.known && !S_ISDIR(attributes.mode))
        error = -ENOTDIR;
    if (error == 0 && directory->at < directory->length) {
        step_down(applying, directory, &directory->handle);
        return 0;
    }
    if (error == 0 && attributes.known && attributes.fileid != directory->inode)
        directory->outcome = OUTCOME_DIFFERENT;
    found(applying, directory, error);
    return 0;
}

/* Go on with the directories that are sought. */
static void find_directories(struct nfs_applying *applying)
{
    while (applying->to_find != NOTHING) {
        uint32_t number = applying->to_find;
        struct directory *directory = &applying->directories[number];
        applying->to_find = directory->next;
        struct directory *above =
            directory->parent == NOTHING ? NULL : &applying->directories[directory->parent];
        if (above && above->where == LOST) {
            directory->outcome = above->outcome;
            found(applying, directory, above->outcome == OUTCOME_DIFFERENT ? 0 : above->error);
        } else if (above && above->where != FOUND) {
            directory->next = above->directories;
            above->directories = number;
            if (above->where == NOT_SOUGHT)
                find_directory(applying, directory->parent);
        } else if (directory->length == 0) {
            directory->handle = *nfs_root(applying->nfs);
            directory->outcome = directory->inode == nfs_root_inode(applying->nfs)
                                     ? OUTCOME_CHANGED
                                     : OUTCOME_DIFFERENT;
            found(applying, directory, 0);
        } else {
            step_down(applying, directory, above ? &above->handle : nfs_root(applying->nfs));
        }
    }
}

/* ---- the loop */

static void begin(struct nfs_applying *applying, struct record *record)
{
    if (record->change.flags & FLAG_DROPPED) {
        finish(applying, record, OUTCOME_DROPPED);
    } else if (applying->ended) {
        finish(applying, record, OUTCOME_UNTRIED);
    } else {
        record->is_active = true;
        applying->active++;
        bool is_held = record->handle.length > 0 && applying->ask->verb == VERB_FORWARD;
        finish(applying, record,
               is_held ? act_held(applying, record) : find_record(applying, record));
    }
}

/* Take the next record that may be begun, if there is one. */
static struct record *take_record(struct nfs_applying *applying)
{
    while (applying->next < applying->count && applying->records[applying->next].is_own)
        applying->next++;
    if (applying->due != NOTHING) {
        struct record *record = &applying->records[applying->due];
        applying->due = record->next;
        return record;
    }
    return applying->next < applying->count ? &applying->records[applying->next++] : NULL;
}

static bool may_begin(const struct nfs_applying *applying)
{
    if (applying->active == 0)
        return true;
    if (applying->ask->verb == VERB_FORWARD && !applying->succeeded)
        return false;
    /* Those that wait for one directory make their calls all at once when it is found. */
    return applying->active < nfs_limit(applying->nfs) * applying->protocol->together &&
           applying->waits == NOTHING && applying->full == NOTHING &&
           nfs_may_call(applying->nfs, applying->rpc);
}

/* Begin nothing more once the stop flag is set; wait a while for the replies of what is under way. */
static void hear_stop(struct nfs_applying *applying)
{
    if (!*applying->ask->stop)
        return;
    int64_t now = sys_monotonic_time();
    applying->ended = true;
    if (applying->stopped == 0)
        applying->stopped = now;
    if (applying->active > 0 && now - applying->stopped > SILENT)
        applying->error = -ECANCELED;
}

static int apply_all(struct nfs_applying *applying)
{
    hear_stop(applying);
    while (applying->finished < applying->count && applying->error == 0) {
        struct record *record = NULL;
        send_full(applying);
        send_waiting(applying);
        while (may_begin(applying) && (record = take_record(applying))) {
            begin(applying, record);
            find_directories(applying);
        }
        /* A batch waits for more changes only if there will be some. */
        if (!record || rpc_waiting(applying->rpc) == 0)
            close_batch(applying);
        if (rpc_waiting(applying->rpc) > 0)
            rpc_step(applying->rpc, STEP);
        find_directories(applying);
        hear_stop(applying);
    }
    return applying->error;
}

/* ---- frames */

static int read_held(struct nfs_applying *applying)
{
    const uint8_t *at = applying->ask->held, *end = at + applying->ask->held_length;
    for (size_t i = 0; i < applying->count && at < end; i++) {
        struct record *record = &applying->records[i];
        uint64_t guard;
        int64_t mtime;
        size_t length = *at++;
        if (length > MOST_HANDLE || length + sizeof(guard) + sizeof(mtime) > (size_t)(end - at))
            return -EINVAL;
        record->handle.length = (uint8_t)length;
        memcpy(record->handle.bytes, at, length);
        memcpy(&guard, at + length, sizeof(guard));
        memcpy(&mtime, at + length + sizeof(guard), sizeof(mtime));
        record->found.guard = guard;
        record->found.mtime = mtime;
        at += length + sizeof(guard) + sizeof(mtime);
    }
    return 0;
}

/* Read all frames into records and directories, for which there is room. */
static int read_frames(struct nfs_applying *applying, size_t at)
{
    const struct nfs_apply_request *ask = applying->ask;
    uint32_t deepest = NOTHING;
    while (at < ask->length) {
        struct frame frame;
        int error = frame_read(ask->changes, ask->length, &at, &frame);
        if (error < 0)
            return error;
        if (frame.kind == KIND_ENTER) {
            uint32_t number = (uint32_t)applying->directory_count++;
            if (deepest != NOTHING)
                applying->directories[deepest].left++;
            applying->directories[number] = (struct directory){
                .parent = deepest,
                .own = NOTHING,
                .records = NOTHING,
                .directories = NOTHING,
                .name = frame.name,
                .length = frame.length,
                .inode = frame.inode,
            };
            deepest = number;
            continue;
        }
        if (frame.kind != KIND_LEAVE) {
            uint32_t number = (uint32_t)applying->count++;
            applying->records[number] = (struct record){
                .change = frame.change,
                .name = frame.name,
                .length = (uint16_t)frame.length,
                .is_own = frame.kind == KIND_OWN,
                .directory = deepest,
                .is_again = ask->again,
            };
            if (frame.kind == KIND_OWN)
                applying->directories[deepest].own = number;
            else
                applying->directories[deepest].left++;
        }
        if (frame.kind != KIND_CHANGE)
            deepest = applying->directories[deepest].parent;
    }
    return 0;
}

/*
 * A directory in which nothing else changes has its own change due at once. Those above come first: what
 * the end of an empty one brings to its end must not be taken for empty, too.
 */
static void begin_empty(struct nfs_applying *applying)
{
    for (size_t i = 0; i < applying->directory_count; i++) {
        struct directory *directory = &applying->directories[i];
        if (directory->left == 0) {
            directory->left = 1;
            finish_in(applying, (uint32_t)i);
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
    struct nfs_applying applying = {
        .ask = request,
        .result = result,
        .nfs = request->nfs,
        .protocol = nfs_protocol(request->nfs),
        .open = NOTHING,
        .full = NOTHING,
        .waits = NOTHING,
        .due = NOTHING,
        .to_find = NOTHING,
    };
    *result = (struct apply_result){0};
    size_t first, count;
    int error = changes_check(request->changes, request->length, &applying.new_gid, &first, &count);
    if (error < 0)
        return error;
    size_t enters = count_enters(request->changes, request->length, first);
    if (count >= NOTHING || enters >= NOTHING)
        return -EINVAL;
    result->outcomes = malloc(count + 1);
    result->count = count;
    applying.records = calloc(count + 1, sizeof(*applying.records));
    applying.directories = calloc(enters + 1, sizeof(*applying.directories));
    /* One for each record that may be active. */
    size_t batches = nfs_limit(applying.nfs) * applying.protocol->together + 1;
    applying.batches = calloc(batches, sizeof(*applying.batches));
    for (size_t i = 0; applying.batches && i < batches; i++)
        applying.batches[i].next = (uint32_t)i + 1;
    if (!result->outcomes || !applying.records || !applying.directories || !applying.batches) {
        error = -ENOMEM;
        goto out;
    }
    error = read_frames(&applying, first);
    if (error == 0)
        error = read_held(&applying);
    if (error == 0)
        error = nfs_take(applying.nfs, &applying.rpc);
    if (error < 0)
        goto out;
    begin_empty(&applying);
    error = apply_all(&applying);
    while (rpc_waiting(applying.rpc) > 0)
        rpc_cancel(applying.rpc, -ECANCELED);
    nfs_give(applying.nfs, applying.rpc);
    if (error == 0 && applying.is_unnamed)
        error = -EPROTOTYPE;
out:
    free(applying.records);
    free(applying.directories);
    free(applying.batches);
    return error;
}
