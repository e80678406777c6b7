/*
 * A scan (scan.h) from start to end: the groups of its unit, the loop over the stack, the limits.
 */

#define _GNU_SOURCE
#include "local/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"
#include "local/scan_stack.h"

/* ---- limits */

static bool is_over(const struct walk *walk)
{
    const struct scan_result *found = walk->found;
    if (*walk->request->stop || walk->result->wide >= 0 || walk->result->chunk_count > 0 ||
        found->changes.length >= SCAN_MAX_FOUND || found->text.length >= SCAN_MAX_FOUND)
        return true;
    return walk->looks >= walk->min_looks &&
           (walk->looks >= walk->request->entries || found->count >= walk->request->changes ||
            sys_monotonic_time() >= walk->deadline);
}

/* ---- the loop */

/*
 * Put the names that are not looked at yet, of all levels, into `rest`, and with them each level's
 * own change: a directory is changed after its content (NFSv4 clients look up all its names again
 * then).
 */
static int leave_over(struct walk *walk)
{
    struct tally *tally = &walk->found->tally;
    struct group_writer *rest = &walk->found->rest;
    const struct dirchain *chain = &walk->chain;
    size_t same = 0;
    for (size_t i = 0; i < chain->depth; i++) {
        struct walk_level *level = &walk->levels[i];
        bool is_last = i + 1 == chain->depth;
        size_t end = is_last ? walk->directories.length : level[1].begin;
        size_t entry = is_last ? walk->entry : walk->entries.length;
        if (level->next == end && entry == walk->entries.length)
            continue;
        const struct dirchain_level *directory = &chain->levels[i];
        int result = group_begin(rest, chain->path.bytes, directory->end, same, directory->inode);
        if (result < 0)
            return result;
        if (level->must_change && (result = group_name(rest, HINT_SELF, "", 0)) < 0)
            return result;
        level->must_change = false;
        int64_t files =
            walk_put_names(rest, HINT_ENTRY, &walk->entries, entry, walk->entries.length);
        int64_t directories =
            walk_put_names(rest, HINT_DIRECTORY, &walk->directories, level->next, end);
        if (files < 0 || directories < 0)
            return -ENOMEM;
        group_end(rest);
        same = directory->end;
        /* The rest is a unit whose names are counted. */
        if (!walk->is_counting && !level->is_named) {
            tally->entries += files + directories;
            tally->files += files;
            tally->directories += directories;
        }
    }
    return 0;
}

/* Walk depth first from the deepest level; 1 if a limit was reached before all was looked at. */
static int walk_down(struct walk *walk)
{
    char name[UINT8_MAX + 1]; /* the buffers move while a directory is read */
    size_t base = walk->chain.depth;
    for (;;) {
        struct walk_level *level = walk_deepest(walk);
        bool has_entries = walk->entry < walk->entries.length;
        bool has_directories = level->next < walk->directories.length;
        int result;
        if (!has_entries && !has_directories) {
            if (walk->chain.depth == base)
                return 0;
            result = walk_leave(walk);
        } else if (walk->looks && is_over(walk)) {
            result = leave_over(walk);
            return result < 0 ? result : 1;
        } else if (has_entries) {
            result = walk_look_at(walk, walk_take_name(&walk->entries, &walk->entry), false);
        } else {
            struct walk_entry entry = walk_take_name(&walk->directories, &level->next);
            memcpy(name, entry.name, entry.length + 1);
            entry.name = name;
            result = walk_descend(walk, entry);
        }
        if (result < 0)
            return result;
    }
}

/* ---- groups */

/* Give the names of a group to the deepest level. */
static int take_group(struct walk *walk, const struct group_reader *group)
{
    const uint8_t *at = group->names;
    const uint8_t *end = at + group->names_length;
    struct name name;
    int result = 0;
    walk->entries.length = walk->entry = 0;
    while (result == 0 && group_next_name(&at, end, &name)) {
        if (name.hint == HINT_ENTRY)
            result = walk_put_name(&walk->entries, name.bytes, name.length);
        else if (name.hint == HINT_DIRECTORY)
            result = walk_put_name(&walk->directories, name.bytes, name.length);
    }
    return result;
}

/*
 * Leave the levels that a group is not below; 1 if the deepest that remains is the group's own. The
 * path of the deepest level is the beginning of that of the group before, so `keep` bytes of it are
 * this group's.
 */
static int leave_others(struct walk *walk, const struct group_reader *group)
{
    const struct dirchain *chain = &walk->chain;
    const struct buffer *path = &group->path;
    while (chain->depth > 0) {
        size_t end = chain->path.length;
        if (end <= group->keep) {
            bool is_same = end == path->length;
            if (is_same && walk_deepest(walk)->is_named && !group->walks && !group->itself &&
                (group->inode == 0 || group->inode == chain->levels[chain->depth - 1].inode))
                return 1;
            if (!is_same && (end == 0 || path->bytes[end] == '/'))
                break;
        }
        int result = walk_leave(walk);
        if (result < 0)
            return result;
    }
    return 0;
}

static size_t count_bytes(struct walk_entry entry, char wanted)
{
    size_t number = 0;
    for (size_t i = 0; i < entry.length; i++)
        number += entry.name[i] == wanted;
    return number;
}

/* Return the rest of a group's path, from the deepest level. */
static struct walk_entry way_to(const struct walk *walk, const struct group_reader *group)
{
    size_t above = walk->chain.path.length;
    if (above > 0)
        above++; /* the slash */
    const char *path = group->path.length ? (const char *)group->path.bytes + above : "";
    return (struct walk_entry){path, group->path.length - above};
}

/* Open the directory of a group, from the deepest level. */
static int open_group(struct walk *walk, const struct group_reader *group, bool *reads,
                      struct status *status)
{
    struct walk_entry way = way_to(walk, group);
    int directory = dirchain_fd(&walk->chain);
    walk->min_looks += (int64_t)count_bytes(way, '/') / SCAN_FAR;
    *reads = group->walks;
    int fd = walk_open_directory(walk, directory, way, *reads, status);
    if (fd < 0 || *reads || group->inode == 0 || group->inode == status->inode)
        return fd;
    close(fd); /* another directory is in its place: look at all of that one */
    *reads = true;
    fd = walk_open_directory(walk, directory, way, true, status);
    if (fd >= 0 && !walk->is_counting)
        walk->found->tally.vanished += (int64_t)group->count - group->itself;
    return fd;
}

static int walk_group(struct walk *walk, const struct group_reader *group)
{
    int result = leave_others(walk, group);
    if (result < 0)
        return result;
    if (result == 1) {
        result = take_group(walk, group);
        return result < 0 ? result : walk_down(walk);
    }
    while (walk->chain.depth > 0 && dirchain_fd(&walk->chain) < 0)
        if ((result = walk_leave(walk)) < 0) /* it was moved away: the path from above decides */
            return result;
    bool reads;
    struct status status;
    size_t before = walk->chain.depth;
    int fd = open_group(walk, group, &reads, &status);
    if (fd < 0) {
        walk->looks++;
        return walk_fail_group(walk, group, fd);
    }
    if (reads) {
        /* With HINT_SELF the directory is in the tally; without, only its names are. */
        bool is_counting = group->walks ? walk->is_counting : !group->itself;
        result = walk_read_directory(walk, way_to(walk, group), fd, &status, is_counting);
    } else {
        struct walk_level level = {.is_named = true};
        level.begin = level.next = walk->directories.length;
        if (group->itself)
            walk_judge_directory(walk, &level, &status);
        result = walk_enter(walk, &level, way_to(walk, group), status.inode, fd);
        if (result == 0)
            result = take_group(walk, group);
    }
    if (result < 0 || walk->chain.depth == before)
        return result;
    return walk_down(walk);
}

static int walk_groups(struct walk *walk)
{
    struct group_reader group = {.body = walk->request->body, .length = walk->request->body_length};
    struct group_writer *rest = &walk->found->rest;
    int result = 0; /* of a group: 1 if a limit was reached in it */
    int more = 1;
    while (result == 0 && !(walk->looks && is_over(walk)) && (more = group_read(&group)) > 0)
        result = walk_group(walk, &group);
    size_t same = 0;
    while (result >= 0 && more > 0 && (more = group_read(&group)) > 0) {
        same = same < group.keep ? same : group.keep;
        result = group_put_copy(rest, &group, same);
        same = group.path.length;
    }
    group_reader_free(&group);
    return more < 0 ? more : result < 0 ? result : 0;
}

/* ---- one scan */

static int find_border(struct walk *walk)
{
    struct status root;
    int result = sys_directory_status(walk->request->root, &walk->request->features, &root);
    if (result < 0)
        return result;
    walk->device = root.device;
    walk->mount = root.mount;
    walk->is_bounded = root.has_mount;
    return 0;
}

static bool is_sane(const struct local_scan_request *request)
{
    return excludes_are_valid(request->excludes, request->excludes_length) &&
           excludes_are_valid(request->snapshots, request->snapshots_length) && request->wide > 0 &&
           request->chunks > 0 && request->chunks <= SIZE_MAX / 64 / request->wide;
}

int local_scan(const struct local_scan_request *request, struct local_scan_result *result)
{
    struct walk walk = {
        .request = request,
        .found = &result->found,
        .result = result,
        .is_counting = !request->counted,
        .deadline = sys_deadline(request->seconds),
    };
    *result = (struct local_scan_result){.wide = -1};
    int cursor = request->cursor;
    int status =
        dirchain_init(&walk.chain, request->root, request->descriptors, &request->features);
    walk.listing = malloc(LISTING_BYTES + 1);
    if (status == 0)
        status = !walk.listing ? -ENOMEM : is_sane(request) ? find_border(&walk) : -EINVAL;
    if (status == 0 && cursor >= 0) {
        cursor = -1;
        status = walk_read_cursor(&walk);
    } else if (status == 0) {
        status = walk_groups(&walk);
    }
    while (status == 0 && walk.chain.depth > 0)
        status = walk_leave(&walk);
    if (cursor >= 0)
        close(cursor);
    dirchain_free(&walk.chain);
    free(walk.levels);
    free(walk.listing);
    buffer_free(&walk.entries);
    buffer_free(&walk.directories);
    buffer_free(&walk.too_long);
    buffer_free(&walk.path);
    return status;
}

static void close_open_dirs(const struct buffer *open_dirs)
{
    const int *fds = (const void *)open_dirs->bytes;
    for (size_t i = 0; i < open_dirs->length / sizeof(*fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void local_scan_result_free(struct local_scan_result *result)
{
    for (size_t i = 0; i < result->chunk_count; i++)
        group_writer_free(&result->chunks[i]);
    free(result->chunks);
    scan_result_free(&result->found);
    if (result->wide >= 0)
        close(result->wide);
    close_open_dirs(&result->open_dirs);
    buffer_free(&result->open_dirs);
    result->wide = -1;
}
