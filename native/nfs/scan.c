/*
 * The loop of a scan: decides which call to make next, ends at limits, and hands over what is left
 * (scan_tree.h has the structures).
 *
 *     groups of the unit -> [ stack, questions ] -> calls in flight -> scan_replies.c
 *              '-----------------'--- at a limit -----> rest
 */

#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/names.h"
#include "core/system.h"

#define STOP_CHECK_MS 100 /* ms between two looks at the stop flag */
/*
 * How many directories are read at once at first; each reply adds one. A unit is walked depth
 * first, so the rest stays small.
 */
#define FIRST_WINDOW 16

bool nfs_scan_is_over(const struct nfs_scan *scan)
{
    const struct nfs_scan_request *request = scan->request;
    if (*request->stop || scan->result->is_wide ||
        scan->changes.length + scan->found->text.length >= SCAN_MAX_FOUND)
        return true;
    /* Each call in flight will bring at least one entry: small units are to stay small. */
    return scan->looks >= scan->min_looks &&
           (scan->looks + scan->in_progress >= request->entries ||
            scan->gathered + scan->in_progress >= request->changes ||
            sys_monotonic_time() >= scan->deadline);
}

/* ---- groups */

static struct known_directory *deepest_known(struct nfs_scan *scan)
{
    size_t count = scan->known.length / sizeof(struct known_directory);
    return count ? (struct known_directory *)(void *)scan->known.bytes + count - 1 : NULL;
}

/* Go back to the deepest known directory that is on a path; return where its own path ends. */
static size_t go_back(struct nfs_scan *scan, const uint8_t *path, size_t length)
{
    size_t same = 0;
    size_t shorter = length < scan->way.length ? length : scan->way.length;
    while (same < shorter && scan->way.bytes[same] == path[same])
        same++;
    for (;;) {
        const struct known_directory *known = deepest_known(scan);
        size_t end = known ? known->end : 0;
        if (end <= same && (end == 0 || end == length || path[end] == '/')) {
            scan->way.length = end;
            return end;
        }
        scan->known.length -= sizeof(*known);
    }
}

/* Look up the directory at a path, name by name. */
static int find_path(struct nfs_scan *scan, const uint8_t *path, size_t length,
                     struct known_directory *there)
{
    struct proto_attrs root = {.known = true, .mode = S_IFDIR};
    root.fileid = nfs_client_root_inode(scan->client);
    root.fsid = nfs_client_fsid(scan->client);
    size_t at = go_back(scan, path, length);
    const struct known_directory *deepest = deepest_known(scan);
    *there = deepest ? *deepest : (struct known_directory){0, *nfs_client_root(scan->client), root};
    while (at < length) {
        at += at > 0; /* the slash */
        const uint8_t *slash = memchr(path + at, '/', length - at);
        size_t end = slash ? (size_t)(slash - path) : length;
        struct known_directory next = {.end = end};
        int error = nfs_client_lookup(scan->client, scan->rpc, &there->handle, path + at, end - at,
                                      &next.handle, &next.attrs, scan->request->stop);
        if (error == 0 && !S_ISDIR(next.attrs.mode))
            error = -ENOTDIR;
        scan->way.length = there->end;
        if (error == 0)
            error = buffer_put(&scan->way, path + there->end, end - there->end);
        if (error == 0)
            error = buffer_put(&scan->known, &next, sizeof(next));
        if (error < 0)
            return error;
        *there = next;
        at = end;
        scan->min_looks++;
    }
    return 0;
}

/* Find the directory of a group: in the cache of handles, or by its path. */
static int find_group(struct nfs_scan *scan, const struct group_reader *group,
                      struct known_directory *there)
{
    int64_t min_looks = scan->min_looks;
    if (group->inode && nfs_client_recall(scan->client, group->inode, &there->handle)) {
        there->attrs.known = false;
        there->attrs.fileid = group->inode;
        return 0;
    }
    int error = find_path(scan, group->path.bytes, group->path.length, there);
    scan->min_looks = min_looks + (scan->min_looks - min_looks) / SCAN_FAR;
    return error;
}

static bool is_below(const struct group_reader *group, const struct buffer *path)
{
    if (path->length == 0 || group->path.length <= path->length)
        return group->path.length > path->length;
    return group->path.bytes[path->length] == '/' &&
           memcmp(group->path.bytes, path->bytes, path->length) == 0;
}

/* Leave the named directories that a group is not below. 0 or -ENOMEM. */
static int leave_named(struct nfs_scan *scan, const struct group_reader *group)
{
    while (scan->last_named) {
        int error = nfs_scan_build_path(scan, scan->last_named, "", 0);
        if (error < 0)
            return error;
        if (is_below(group, &scan->path))
            break;
        scan->last_named = scan->last_named->parent;
    }
    return 0;
}

/* Add the node of a group, below that of the group before it that it is below of. */
static struct node *add_group_node(struct nfs_scan *scan, const struct group_reader *group,
                                   const struct known_directory *there)
{
    int error = leave_named(scan, group);
    if (error < 0) {
        scan->error = error;
        return NULL;
    }
    size_t above = scan->last_named ? scan->path.length + (scan->path.length > 0) : 0;
    const char *path = group->path.length ? (const char *)group->path.bytes : "";
    struct node *node =
        nfs_scan_add_node(scan, scan->last_named, path + above, group->path.length - above);
    if (!node)
        return NULL;
    node->handle = there->handle;
    node->inode = there->attrs.fileid;
    if (there->attrs.known)
        node->fsid = there->attrs.fsid;
    return node;
}

static int scan_whole_group(struct nfs_scan *scan, const struct group_reader *group,
                            const struct known_directory *there, bool is_counting)
{
    if (there->attrs.known && nfs_scan_is_outside(scan, &there->attrs)) {
        nfs_scan_count_directory(scan, is_counting);
        scan->found->tally.skipped++;
        return scan_put_notice(scan->found, &group->path, SKIPPED_FILESYSTEM);
    }
    struct node *node = add_group_node(scan, group, there);
    if (!node)
        return -ENOMEM;
    node->is_counting = is_counting;
    node->is_cursor = scan->request->continues;
    nfs_scan_push(scan, node);
    return 0;
}

/*
 * Look at single names of the group's directory, and at the directory itself if the group says so.
 */
static int scan_names(struct nfs_scan *scan, const struct group_reader *group,
                      struct known_directory *there)
{
    struct name name;
    const uint8_t *at = group->names, *end = at + group->names_length;
    if (group->itself) {
        int error = nfs_client_getattr(scan->client, scan->rpc, &there->handle, &there->attrs,
                                       scan->request->stop);
        if (error == 0 && !S_ISDIR(there->attrs.mode))
            error = -EBADMSG;
        if (error < 0)
            return error == -ECANCELED ? error : nfs_scan_fail_group(scan, group, error);
    }
    struct node *node = add_group_node(scan, group, there);
    if (!node)
        return -ENOMEM;
    scan->last_named = node;
    node->attrs = there->attrs;
    node->is_named = node->at_end = true;
    scan->looks += group->itself;
    if (group->itself)
        nfs_scan_judge_node(scan, node);
    while (group_next_name(&at, end, &name))
        if (name.hint != HINT_SELF &&
            !nfs_scan_ask(scan, node, ABOUT_NAME, name.hint, name.bytes, name.length))
            return -ENOMEM;
    return 0;
}

static int scan_group(struct nfs_scan *scan, const struct group_reader *group)
{
    struct known_directory there = {0};
    int error = find_group(scan, group, &there);
    if (error == -ENOMEM || error == -ECANCELED)
        return error;
    if (error < 0)
        return nfs_scan_fail_group(scan, group, error);
    if (group->walks)
        return scan_whole_group(scan, group, &there, scan->is_counting);
    if (group->inode && group->inode != there.attrs.fileid) {
        /* Another directory has taken its place: look at all of that one. */
        if (!scan->is_counting)
            scan->found->tally.vanished += (int64_t)group->count - group->itself;
        return scan_whole_group(scan, group, &there, !group->itself);
    }
    return scan_names(scan, group, &there);
}

/* ---- what is left over */

static int leave_names(struct nfs_scan *scan)
{
    struct group_writer *rest = &scan->found->rest;
    struct question *question = scan->unit_questions.first;
    while (question) {
        struct node *node = question->node;
        int error = nfs_scan_build_path(scan, node, "", 0);
        if (error == 0)
            error = group_begin(rest, scan->path.bytes, scan->path.length, 0, node->inode);
        for (; error == 0 && question && question->node == node; question = question->next) {
            error = group_name(rest, question->hint, question->name, question->length);
            node->questions--;
        }
        if (error < 0)
            return error;
        group_end(rest);
        nfs_scan_remember(scan, node);
        nfs_scan_cut(node);
        nfs_scan_complete(scan, node);
    }
    return 0;
}

static int leave_nodes(struct nfs_scan *scan)
{
    struct group_writer *rest = &scan->found->rest;
    for (struct node *node = scan->stack; node; node = node->below) {
        int error = nfs_scan_build_path(scan, node, "", 0);
        if (error == 0)
            error = group_begin(rest, scan->path.bytes, scan->path.length, 0, node->inode);
        if (error == 0)
            error = group_name(rest, HINT_WALK, "", 0);
        if (error < 0)
            return error;
        group_end(rest);
        nfs_scan_remember(scan, node);
        nfs_scan_cut(node);
        if (!scan->is_counting) /* then the rest is a unit whose names are counted, too */
            nfs_scan_count_directory(scan, node->is_counting);
    }
    return 0;
}

static int leave_groups(struct nfs_scan *scan, struct group_reader *group)
{
    struct group_writer *rest = &scan->found->rest;
    int more;
    while ((more = group_read(group)) > 0) {
        int error = leave_named(scan, group);
        nfs_scan_cut(scan->last_named);
        if (error == 0)
            error = group_put_copy(rest, group, 0);
        if (error < 0)
            return error;
    }
    return more;
}

/* ---- one scan */

/*
 * Make as many calls as may be in flight. `more`: whether there are groups left (> 0), or an error.
 */
static int make_calls(struct nfs_scan *scan, struct group_reader *group, int *more)
{
    while (scan->error == 0 && nfs_client_may_call(scan->client, scan->rpc)) {
        if (scan->questions.first) {
            nfs_scan_send_question(scan, &scan->questions);
        } else if (scan->looks + scan->in_progress && nfs_scan_is_over(scan)) {
            return 0;
        } else if (scan->in_progress >= scan->window) {
            return 0;
        } else if (scan->unit_questions.first) {
            nfs_scan_send_question(scan, &scan->unit_questions);
        } else if (scan->stack) {
            struct node *node = scan->stack;
            scan->stack = node->below;
            scan->in_progress++;
            scan->looks++;
            nfs_scan_send_listing(scan, node);
        } else if (*more > 0 && (*more = group_read(group)) > 0) {
            int error = scan_group(scan, group);
            if (error < 0)
                return error;
        } else {
            return *more < 0 ? *more : 0;
        }
    }
    return scan->error;
}

/* Return whether the stop flag was set NFS_STOP_PATIENCE ago. */
static bool is_stop_overdue(struct nfs_scan *scan)
{
    int64_t now = sys_monotonic_time();
    if (*scan->request->stop && scan->stopped == 0)
        scan->stopped = now;
    return scan->stopped && now - scan->stopped > NFS_STOP_PATIENCE;
}

static int scan_unit(struct nfs_scan *scan, struct group_reader *group)
{
    int more = scan->request->cursor ? 0 : 1;
    for (;;) {
        int error = make_calls(scan, group, &more);
        scan->is_cancelled = error == -ECANCELED;
        if (error < 0)
            return scan->is_cancelled ? 0 : error;
        if (rpc_waiting(scan->rpc) == 0)
            break;
        rpc_step(scan->rpc, STOP_CHECK_MS);
        if (is_stop_overdue(scan)) {
            scan->is_cancelled = true;
            return 0;
        }
    }
    int error = leave_names(scan);
    if (error == 0)
        error = leave_nodes(scan);
    if (error == 0 && more > 0)
        error = leave_groups(scan, group);
    if (error == 0)
        error = nfs_scan_sort_own(scan);
    return error < 0 ? error : nfs_scan_write_frames(scan);
}

static int begin_cursor(struct nfs_scan *scan)
{
    const struct nfs_scan_request *request = scan->request;
    const struct nfs_cursor *cursor = request->cursor;
    struct node *node =
        nfs_scan_add_node(scan, NULL, request->cursor_path, request->cursor_path_length);
    if (!node)
        return -ENOMEM;
    node->handle = cursor->handle;
    node->inode = cursor->inode;
    node->cookie = cursor->cookie;
    memcpy(node->verifier, cursor->verifier, sizeof(node->verifier));
    node->is_cursor = true;
    nfs_scan_push(scan, node);
    return 0;
}

/* Leave the whole unit over, as if nothing had been looked at. */
static int leave_unit(const struct nfs_scan_request *request, struct nfs_scan_result *result)
{
    nfs_scan_result_free(result);
    *result = (struct nfs_scan_result){0};
    if (request->cursor) {
        result->is_wide = true;
        result->wide = *request->cursor;
        result->wide_path.length = request->cursor_path_length;
        return buffer_put(&result->found.text, request->cursor_path, request->cursor_path_length);
    }
    struct nfs_scan scan = {.found = &result->found, .result = result};
    struct group_reader group = {.body = request->body, .length = request->body_length};
    int error = leave_groups(&scan, &group);
    group_reader_free(&group);
    return error;
}

/* A cursor comes from Python, and is not trusted. */
static bool is_handle(const struct proto_handle *handle)
{
    return handle->length > 0 && handle->length <= PROTO_MAX_HANDLE;
}

int nfs_scan(const struct nfs_scan_request *request, struct nfs_scan_result *result)
{
    struct nfs_scan scan = {
        .request = request,
        .found = &result->found,
        .result = result,
        .client = request->client,
        .protocol = nfs_client_protocol(request->client),
        .is_counting = !request->counted,
        .deadline = sys_deadline(request->seconds),
        .window = FIRST_WINDOW,
    };
    *result = (struct nfs_scan_result){0};
    if (!excludes_are_valid(request->excludes, request->excludes_length) ||
        !excludes_are_valid(request->snapshots, request->snapshots_length) ||
        (request->cursor && !is_handle(&request->cursor->handle)))
        return -EINVAL;
    if (request->policy.ids.uid != NO_ID)
        idmap_send_users(nfs_client_idmap(scan.client));
    int error = nfs_client_acquire(scan.client, &scan.rpc);
    if (error < 0)
        return error;
    struct group_reader group = {.body = request->body, .length = request->body_length};
    if (request->cursor)
        error = begin_cursor(&scan);
    if (error == 0)
        error = scan_unit(&scan, &group);
    while (rpc_waiting(scan.rpc) > 0)
        rpc_cancel(scan.rpc, -ECANCELED);
    nfs_client_release(scan.client, scan.rpc);
    group_reader_free(&group);
    nfs_scan_free(&scan);
    if (error == 0 && idmap_met_names(nfs_client_idmap(scan.client)))
        error = -EPROTOTYPE;
    return error == 0 && scan.is_cancelled ? leave_unit(request, result) : error;
}

void nfs_scan_result_free(struct nfs_scan_result *result)
{
    scan_result_free(&result->found);
    buffer_free(&result->handles);
    buffer_free(&result->keys);
}
