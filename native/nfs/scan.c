#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/names.h"
#include "core/system.h"

/* Bytes of changes, or of paths of failures, that end a walk. */
#define MOST_FOUND ((int64_t)16 << 20)
/* A unit whose place was n steps away looks at n / FAR entries at least (see walk.c). */
#define FAR  8
#define STEP 100 /* ms between two looks at the stop flag */
/*
 * So many directories are read at once at first, and one more with each reply: the children of the first
 * ones come next, not their neighbours, or what is left over would be half of the share.
 */
#define FIRST_WINDOW 16

bool is_over(const struct nfs_walk *walk)
{
    const struct nfs_scan_request *ask = walk->ask;
    if (*ask->stop || walk->result->is_wide ||
        (int64_t)(walk->records.length + walk->found->text.length) >= MOST_FOUND)
        return true;
    /* What is under way brings something each, so that small units stay small. */
    return walk->looks >= walk->fewest &&
           (walk->looks + walk->reading >= ask->entries ||
            walk->count + walk->reading >= ask->changes || sys_monotonic_time() >= walk->deadline);
}

/* ---- groups */

static struct step *deepest_step(struct nfs_walk *walk)
{
    size_t count = walk->steps.length / sizeof(struct step);
    return count ? (struct step *)(void *)walk->steps.bytes + count - 1 : NULL;
}

/* Go back to the deepest directory on the way that a path leads through; return where that ends. */
static size_t go_back(struct nfs_walk *walk, const uint8_t *path, size_t length)
{
    size_t same = 0;
    size_t shorter = length < walk->way.length ? length : walk->way.length;
    while (same < shorter && walk->way.bytes[same] == path[same])
        same++;
    for (;;) {
        const struct step *step = deepest_step(walk);
        size_t end = step ? step->end : 0;
        if (end <= same && (end == 0 || end == length || path[end] == '/')) {
            walk->way.length = end;
            return end;
        }
        walk->steps.length -= sizeof(*step);
    }
}

/* Find the directory at a path, name by name. */
static int find(struct nfs_walk *walk, const uint8_t *path, size_t length, struct step *there)
{
    struct attributes root = {.known = true, .mode = S_IFDIR};
    root.fileid = nfs_root_inode(walk->nfs);
    root.fsid = nfs_fsid(walk->nfs);
    size_t at = go_back(walk, path, length);
    const struct step *deepest = deepest_step(walk);
    *there = deepest ? *deepest : (struct step){0, *nfs_root(walk->nfs), root};
    while (at < length) {
        at += at > 0; /* the slash */
        const uint8_t *slash = memchr(path + at, '/', length - at);
        size_t end = slash ? (size_t)(slash - path) : length;
        struct step next = {.end = end};
        int error = nfs_lookup(walk->nfs, walk->rpc, &there->handle, path + at, end - at,
                               &next.handle, &next.attributes, walk->ask->stop);
        if (error == 0 && !S_ISDIR(next.attributes.mode))
            error = -ENOTDIR;
        walk->way.length = there->end;
        if (error == 0)
            error = buffer_put(&walk->way, path + there->end, end - there->end);
        if (error == 0)
            error = buffer_put(&walk->steps, &next, sizeof(next));
        if (error < 0)
            return error;
        *there = next;
        at = end;
        walk->fewest++;
    }
    return 0;
}

/* Find the directory of a group: by its inode, if it was left over lately, or by its path. */
static int find_group(struct nfs_walk *walk, const struct group_reader *group, struct step *there)
{
    int64_t fewest = walk->fewest;
    if (group->inode && nfs_recall(walk->nfs, group->inode, &there->handle)) {
        there->attributes.known = false;
        there->attributes.fileid = group->inode;
        return 0;
    }
    int error = find(walk, group->path.bytes, group->path.length, there);
    walk->fewest = fewest + (walk->fewest - fewest) / FAR;
    return error;
}

static int walk_group(struct nfs_walk *walk, const struct group_reader *group,
                      const struct step *there, bool counting)
{
    if (there->attributes.known && is_outside(walk, &there->attributes)) {
        count_directory(walk, counting);
        walk->found->tally.skipped++;
        return 0;
    }
    const char *path = group->path.length ? (const char *)group->path.bytes : "";
    struct node *node = make_node(walk, NULL, path, group->path.length);
    if (!node)
        return -ENOMEM;
    node->handle = there->handle;
    node->inode = there->attributes.fileid;
    node->counting = counting;
    node->is_cursor = walk->ask->goes_on;
    push(walk, node);
    return 0;
}

/* Look at single names in the group's directory, and perhaps at that itself. */
static int ask_names(struct nfs_walk *walk, const struct group_reader *group, struct step *there)
{
    struct name name;
    const uint8_t *at = group->names, *end = at + group->names_length;
    if (group->itself) {
        int error =
            nfs_getattr(walk->nfs, walk->rpc, &there->handle, &there->attributes, walk->ask->stop);
        if (error == 0 && !S_ISDIR(there->attributes.mode))
            error = -EBADMSG;
        if (error < 0)
            return error == -ECANCELED ? error : lost_group(walk, group, error);
    }
    const char *path = group->path.length ? (const char *)group->path.bytes : "";
    struct node *node = make_node(walk, NULL, path, group->path.length);
    if (!node)
        return -ENOMEM;
    node->handle = there->handle;
    node->inode = there->attributes.fileid;
    node->attributes = there->attributes;
    node->named = node->at_end = true;
    walk->looks += group->itself;
    if (group->itself)
        judge_node(walk, node);
    while (group_next_name(&at, end, &name))
        if (name.hint != HINT_SELF &&
            !ask_question(walk, node, ABOUT_NAME, name.hint, name.bytes, name.length))
            return -ENOMEM;
    return 0;
}

static int take_group(struct nfs_walk *walk, const struct group_reader *group)
{
    struct step there = {0};
    int error = find_group(walk, group, &there);
    if (error == -ENOMEM || error == -ECANCELED)
        return error;
    if (error < 0)
        return lost_group(walk, group, error);
    if (group->walks)
        return walk_group(walk, group, &there, walk->counting);
    if (group->inode && group->inode != there.attributes.fileid) {
        /* Another directory has its place: look at all of that one. */
        if (!walk->counting)
            walk->found->tally.vanished += (int64_t)group->count - group->itself;
        return walk_group(walk, group, &there, !group->itself);
    }
    return ask_names(walk, group, &there);
}

/* ---- what is left over */

/* Where other filesystems are entered, inodes do not tell directories apart. */
static void remember(const struct nfs_walk *walk, const struct node *node)
{
    if (!walk->ask->cross)
        nfs_remember(walk->nfs, node->inode, &node->handle);
}

static int leave_names(struct nfs_walk *walk)
{
    struct group_writer *rest = &walk->found->rest;
    struct question *question = walk->names.first;
    while (question) {
        struct node *node = question->node;
        int error = node_path(walk, node, "", 0);
        if (error == 0)
            error = group_begin(rest, walk->path.bytes, walk->path.length, 0, node->inode);
        for (; error == 0 && question && question->node == node; question = question->next) {
            error = group_name(rest, question->hint, question->name, question->length);
            node->questions--;
        }
        if (error < 0)
            return error;
        group_end(rest);
        remember(walk, node);
        complete(walk, node);
    }
    return 0;
}

static int leave_nodes(struct nfs_walk *walk)
{
    struct group_writer *rest = &walk->found->rest;
    for (struct node *node = walk->stack; node; node = node->below) {
        int error = node_path(walk, node, "", 0);
        if (error == 0)
            error = group_begin(rest, walk->path.bytes, walk->path.length, 0, node->inode);
        if (error == 0)
            error = group_name(rest, HINT_WALK, "", 0);
        if (error < 0)
            return error;
        group_end(rest);
        remember(walk, node);
        if (!walk->counting) /* the rest is a unit whose names are counted */
            count_directory(walk, node->counting);
    }
    return 0;
}

static int leave_groups(struct nfs_walk *walk, struct group_reader *group)
{
    struct group_writer *rest = &walk->found->rest;
    int more;
    while ((more = group_read(group)) > 0) {
        int error = group_put_copy(rest, group, 0);
        if (error < 0)
            return error;
    }
    return more;
}

/* ---- one scan */

/* Make as many calls as may be in flight; `more` says whether there are groups yet. */
static int make_calls(struct nfs_walk *walk, struct group_reader *group, int *more)
{
    while (walk->error == 0 && nfs_may_call(walk->nfs, walk->rpc)) {
        if (walk->questions.first) {
            send_question(walk, &walk->questions);
        } else if (walk->looks + walk->reading && is_over(walk)) {
            return 0;
        } else if (walk->reading >= walk->window) {
            return 0;
        } else if (walk->names.first) {
            send_question(walk, &walk->names);
        } else if (walk->stack) {
            struct node *node = walk->stack;
            walk->stack = node->below;
            walk->reading++;
            walk->looks++;
            read_on(walk, node);
        } else if (*more > 0 && (*more = group_read(group)) > 0) {
            int error = take_group(walk, group);
            if (error < 0)
                return error;
        } else {
            return *more < 0 ? *more : 0;
        }
    }
    return walk->error;
}

/* Say whether the stop flag was set some time ago. */
static bool was_stopped(struct nfs_walk *walk)
{
    int64_t now = sys_monotonic_time();
    if (*walk->ask->stop && walk->stopped == 0)
        walk->stopped = now;
    return walk->stopped && now - walk->stopped > SILENT;
}

static int walk_unit(struct nfs_walk *walk, struct group_reader *group)
{
    int more = walk->ask->cursor ? 0 : 1;
    for (;;) {
        int error = make_calls(walk, group, &more);
        walk->is_cancelled = error == -ECANCELED;
        if (error < 0)
            return walk->is_cancelled ? 0 : error;
        if (rpc_waiting(walk->rpc) == 0)
            break;
        rpc_step(walk->rpc, STEP);
        if (was_stopped(walk)) {
            walk->is_cancelled = true;
            return 0;
        }
    }
    int error = leave_names(walk);
    if (error == 0)
        error = leave_nodes(walk);
    if (error == 0 && more > 0)
        error = leave_groups(walk, group);
    return error < 0 ? error : write_frames(walk);
}

static int begin_cursor(struct nfs_walk *walk)
{
    const struct nfs_scan_request *ask = walk->ask;
    const struct nfs_place *place = ask->cursor;
    struct node *node = make_node(walk, NULL, ask->cursor_path, ask->cursor_path_length);
    if (!node)
        return -ENOMEM;
    node->handle = place->handle;
    node->inode = place->inode;
    node->cookie = place->cookie;
    memcpy(node->verifier, place->verifier, sizeof(node->verifier));
    node->is_cursor = true;
    push(walk, node);
    return 0;
}

/* Give all of the unit back, as if nothing had been looked at. */
static int put_back(const struct nfs_scan_request *ask, struct nfs_scan_result *result)
{
    nfs_scan_free(result);
    *result = (struct nfs_scan_result){0};
    if (ask->cursor) {
        result->is_wide = true;
        result->wide = *ask->cursor;
        result->wide_path.length = ask->cursor_path_length;
        return buffer_put(&result->found.text, ask->cursor_path, ask->cursor_path_length);
    }
    struct nfs_walk walk = {.found = &result->found, .result = result};
    struct group_reader group = {.body = ask->body, .length = ask->body_length};
    int error = leave_groups(&walk, &group);
    group_reader_free(&group);
    return error;
}

/* A place was in Python's hands. */
static bool is_handle(const struct handle *handle)
{
    return handle->length > 0 && handle->length <= MOST_HANDLE;
}

int nfs_scan(const struct nfs_scan_request *request, struct nfs_scan_result *result)
{
    struct nfs_walk walk = {
        .ask = request,
        .found = &result->found,
        .result = result,
        .nfs = request->nfs,
        .protocol = nfs_protocol(request->nfs),
        .counting = !request->counted,
        .deadline = sys_deadline(request->seconds),
        .window = FIRST_WINDOW,
    };
    *result = (struct nfs_scan_result){0};
    if (!excludes_are_valid(request->excludes, request->excludes_length) ||
        (request->cursor && !is_handle(&request->cursor->handle)))
        return -EINVAL;
    int error = nfs_take(walk.nfs, &walk.rpc);
    if (error < 0)
        return error;
    struct group_reader group = {.body = request->body, .length = request->body_length};
    if (request->cursor)
        error = begin_cursor(&walk);
    if (error == 0)
        error = walk_unit(&walk, &group);
    while (rpc_waiting(walk.rpc) > 0)
        rpc_cancel(walk.rpc, -ECANCELED);
    nfs_give(walk.nfs, walk.rpc);
    group_reader_free(&group);
    walk_free(&walk);
    if (error == 0 && names_were_met(nfs_names(walk.nfs)))
        error = -EPROTOTYPE;
    return error == 0 && walk.is_cancelled ? put_back(request, result) : error;
}

void nfs_scan_free(struct nfs_scan_result *result)
{
    scan_result_free(&result->found);
    buffer_free(&result->held);
    buffer_free(&result->names);
}
