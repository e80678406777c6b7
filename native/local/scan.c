#define _GNU_SOURCE
#include "local/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"
#include "local/scan_stack.h"

/* Bytes of changes, or of paths of failures, that end a walk: paths may be long. */
#define MOST_FOUND ((size_t)16 << 20)

/*
 * A unit whose place is n steps down looks at n / FAR entries at least, whatever its limits: to find
 * the place again, to look and to act, costs as much.
 */
#define FAR 8

/* ---- limits */

static bool is_over(const struct walk *walk)
{
    const struct scan_result *found = walk->found;
    if (*walk->ask->stop || walk->result->wide >= 0 || walk->result->chunk_count > 0 ||
        found->changes.length >= MOST_FOUND || found->text.length >= MOST_FOUND)
        return true;
    return walk->looks >= walk->fewest &&
           (walk->looks >= walk->ask->entries || found->count >= walk->ask->changes ||
            sys_monotonic_time() >= walk->deadline);
}

/* ---- the loop */

/*
 * Put what is not looked at yet of all places into `rest`, and with it each place's own change: that
 * comes after the content (NFSv4 clients look up all names of a directory again once it has changed).
 */
static int leave_over(struct walk *walk)
{
    struct tally *tally = &walk->found->tally;
    struct group_writer *rest = &walk->found->rest;
    const struct levels *levels = &walk->levels;
    size_t same = 0;
    for (size_t i = 0; i < levels->depth; i++) {
        struct place *place = &walk->places[i];
        bool is_last = i + 1 == levels->depth;
        size_t end = is_last ? walk->directories.length : place[1].begin;
        size_t entry = is_last ? walk->entry : walk->entries.length;
        if (place->next == end && entry == walk->entries.length)
            continue;
        const struct level *level = &levels->chain[i];
        int result = group_begin(rest, levels->path.bytes, level->end, same, level->inode);
        if (result < 0)
            return result;
        if (place->must_change && (result = group_name(rest, HINT_SELF, "", 0)) < 0)
            return result;
        place->must_change = false;
        int64_t files = put_names(rest, HINT_ENTRY, &walk->entries, entry, walk->entries.length);
        int64_t directories = put_names(rest, HINT_DIRECTORY, &walk->directories, place->next, end);
        if (files < 0 || directories < 0)
            return -ENOMEM;
        group_end(rest);
        same = level->end;
        if (!walk->counting && !place->named) { /* the rest is a unit whose names are counted */
            tally->entries += files + directories;
            tally->files += files;
            tally->directories += directories;
        }
    }
    return 0;
}

/* Walk depth first from the deepest place; 1 if a limit was reached before everything was seen. */
static int walk_down(struct walk *walk)
{
    char name[UINT8_MAX + 1]; /* the buffers move while a directory is read */
    size_t base = walk->levels.depth;
    for (;;) {
        struct place *place = deepest(walk);
        bool has_entries = walk->entry < walk->entries.length;
        bool has_directories = place->next < walk->directories.length;
        int result;
        if (!has_entries && !has_directories) {
            if (walk->levels.depth == base)
                return 0;
            result = leave(walk);
        } else if (walk->looks && is_over(walk)) {
            result = leave_over(walk);
            return result < 0 ? result : 1;
        } else if (has_entries) {
            result = look(walk, take_name(&walk->entries, &walk->entry), false);
        } else {
            struct entry entry = take_name(&walk->directories, &place->next);
            memcpy(name, entry.name, entry.length + 1);
            entry.name = name;
            result = descend(walk, entry);
        }
        if (result < 0)
            return result;
    }
}

/* ---- groups */

/* Give the names of a group to the deepest place. */
static int take_group(struct walk *walk, const struct group_reader *group)
{
    const uint8_t *at = group->names;
    const uint8_t *end = at + group->names_length;
    struct name name;
    int result = 0;
    walk->entries.length = walk->entry = 0;
    while (result == 0 && group_next_name(&at, end, &name)) {
        if (name.hint == HINT_ENTRY)
            result = put_name(&walk->entries, name.bytes, name.length);
        else if (name.hint == HINT_DIRECTORY)
            result = put_name(&walk->directories, name.bytes, name.length);
    }
    return result;
}

/*
 * Leave the places that a group is not below; 1 if the deepest of the others is the group's own. The
 * path to the deepest place is the beginning of that of the group before.
 */
static int go_near(struct walk *walk, const struct group_reader *group)
{
    const struct levels *levels = &walk->levels;
    const struct buffer *path = &group->path;
    while (levels->depth > 0) {
        size_t end = levels->path.length;
        if (end <= group->keep) {
            bool is_same = end == path->length;
            if (is_same && deepest(walk)->named && !group->walks && !group->itself &&
                (group->inode == 0 || group->inode == levels->chain[levels->depth - 1].inode))
                return 1;
            if (!is_same && (end == 0 || path->bytes[end] == '/'))
                break;
        }
        int result = leave(walk);
        if (result < 0)
            return result;
    }
    return 0;
}

static size_t count_bytes(struct entry entry, char wanted)
{
    size_t number = 0;
    for (size_t i = 0; i < entry.length; i++)
        number += entry.name[i] == wanted;
    return number;
}

/* Return the rest of a group's path, from the deepest place. */
static struct entry way_to(const struct walk *walk, const struct group_reader *group)
{
    size_t above = walk->levels.path.length;
    if (above > 0)
        above++; /* the slash */
    const char *path = group->path.length ? (const char *)group->path.bytes + above : "";
    return (struct entry){path, group->path.length - above};
}

/* Open the directory of a group, from the deepest place. */
static int open_group(struct walk *walk, const struct group_reader *group, bool *reads,
                      struct status *status)
{
    struct entry way = way_to(walk, group);
    int directory = levels_fd(&walk->levels);
    walk->fewest += (int64_t)count_bytes(way, '/') / FAR;
    *reads = group->walks;
    int fd = open_and_look(walk, directory, way, *reads, status);
    if (fd < 0 || *reads || group->inode == 0 || group->inode == status->inode)
        return fd;
    close(fd); /* another directory has its place: look at all of that one */
    *reads = true;
    fd = open_and_look(walk, directory, way, true, status);
    if (fd >= 0 && !walk->counting)
        walk->found->tally.vanished += (int64_t)group->count - group->itself;
    return fd;
}

static int walk_group(struct walk *walk, const struct group_reader *group)
{
    int result = go_near(walk, group);
    if (result < 0)
        return result;
    if (result == 1) {
        result = take_group(walk, group);
        return result < 0 ? result : walk_down(walk);
    }
    while (walk->levels.depth > 0 && levels_fd(&walk->levels) < 0)
        if ((result = leave(walk)) < 0) /* it was moved away: the path from the root decides */
            return result;
    bool reads;
    struct status status;
    size_t before = walk->levels.depth;
    int fd = open_group(walk, group, &reads, &status);
    if (fd < 0) {
        walk->looks++;
        return lost_group(walk, group, fd);
    }
    if (reads) {
        /* What is to be looked at itself is counted; else only its names were in the unit. */
        bool counting = group->walks ? walk->counting : !group->itself;
        result = enter_whole(walk, way_to(walk, group), fd, &status, counting);
    } else {
        struct place place = {.named = true};
        place.begin = place.next = walk->directories.length;
        if (group->itself)
            judge_directory(walk, &place, &status);
        result = enter(walk, &place, way_to(walk, group), status.inode, fd);
        if (result == 0)
            result = take_group(walk, group);
    }
    if (result < 0 || walk->levels.depth == before)
        return result;
    return walk_down(walk);
}

static int walk_groups(struct walk *walk)
{
    struct group_reader group = {.body = walk->ask->body, .length = walk->ask->body_length};
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
    int result = sys_directory_status(walk->ask->root, &walk->ask->features, &root);
    if (result < 0)
        return result;
    walk->device = root.device;
    walk->mount = root.mount;
    walk->is_bounded = root.has_mount;
    return 0;
}

static bool is_sane(const struct local_scan_request *request)
{
    return excludes_are_valid(request->excludes, request->excludes_length) && request->wide > 0 &&
           request->chunks > 0 && request->chunks <= SIZE_MAX / 64 / request->wide;
}

int local_scan(const struct local_scan_request *request, struct local_scan_result *result)
{
    struct walk walk = {
        .ask = request,
        .found = &result->found,
        .result = result,
        .counting = !request->counted,
        .deadline = sys_deadline(request->seconds),
    };
    *result = (struct local_scan_result){.wide = -1};
    int cursor = request->cursor;
    int status = levels_init(&walk.levels, request->root, request->descriptors, &request->features);
    walk.records = malloc(RECORDS + 1);
    if (status == 0)
        status = !walk.records ? -ENOMEM : is_sane(request) ? find_border(&walk) : -EINVAL;
    if (status == 0 && cursor >= 0) {
        cursor = -1;
        status = walk_cursor(&walk);
    } else if (status == 0) {
        status = walk_groups(&walk);
    }
    while (status == 0 && walk.levels.depth > 0)
        status = leave(&walk);
    if (cursor >= 0)
        close(cursor);
    levels_free(&walk.levels);
    free(walk.places);
    free(walk.records);
    buffer_free(&walk.entries);
    buffer_free(&walk.directories);
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
