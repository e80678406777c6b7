/*
 * The stack of levels of a walk (scan_stack.h), the names that wait in them, and the frames of
 * directories in the changes. A directory's frame is written once something in it must change.
 */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names and paths */

struct walk_level *walk_deepest(struct walk *walk)
{
    return &walk->levels[walk->chain.depth - 1];
}

void walk_count(struct walk *walk, int64_t *kind, bool is_counting)
{
    walk->found->tally.entries += is_counting;
    *kind += is_counting;
}

int walk_put_name(struct buffer *names, const void *name, size_t length)
{
    int result = length <= UINT8_MAX ? buffer_reserve(names, length + 2) : -EINVAL;
    if (result < 0)
        return result;
    uint8_t *at = names->bytes + names->length;
    at[0] = (uint8_t)length;
    memcpy(at + 1, name, length);
    at[1 + length] = '\0';
    names->length += length + 2;
    return 0;
}

struct walk_entry walk_take_name(const struct buffer *names, size_t *at)
{
    const uint8_t *name = names->bytes + *at;
    *at += (size_t)name[0] + 2;
    return (struct walk_entry){(const char *)name + 1, name[0]};
}

int64_t walk_put_names(struct group_writer *writer, enum hint hint, const struct buffer *names,
                       size_t from, size_t to)
{
    int64_t number = 0;
    while (from < to) {
        struct walk_entry entry = walk_take_name(names, &from);
        int result = group_name(writer, hint, entry.name, entry.length);
        if (result < 0)
            return result;
        number++;
    }
    return number;
}

int walk_build_path(struct walk *walk, struct walk_entry entry)
{
    const struct buffer *above = &walk->chain.path;
    walk->path.length = 0;
    int result = buffer_put(&walk->path, above->bytes, above->length);
    if (result == 0 && above->length > 0 && entry.length > 0)
        result = buffer_put(&walk->path, "/", 1);
    return result < 0 ? result : buffer_put(&walk->path, entry.name, entry.length);
}

/* ---- the stack and its frames */

int walk_write_enters(struct walk *walk)
{
    const struct dirchain *chain = &walk->chain;
    struct buffer *changes = &walk->found->changes;
    const struct local_scan_request *request = walk->request;
    int result =
        changes->length ? 0 : changes_put_header(changes, !request->cross, request->policy.ids);
    struct buffer *open_dirs = &walk->result->open_dirs;
    const int closed = -1;
    while (result == 0 && walk->entered < chain->depth) {
        const struct dirchain_level *level = &chain->levels[walk->entered];
        walk->levels[walk->entered++].frame = open_dirs->length / sizeof(closed);
        result = buffer_put(open_dirs, &closed, sizeof(closed));
        if (result < 0)
            return result;
        const uint8_t *name = chain->path.bytes + level->start;
        result = changes_put_enter(changes, name, level->end - level->start, level->inode);
    }
    return result;
}

static int make_room(struct walk *walk)
{
    if (walk->chain.depth < walk->levels_room)
        return 0;
    size_t room = walk->levels_room ? walk->levels_room * 2 : 64;
    struct walk_level *levels = realloc(walk->levels, room * sizeof(*levels));
    if (!levels)
        return -ENOMEM;
    walk->levels = levels;
    walk->levels_room = room;
    return 0;
}

int walk_enter(struct walk *walk, const struct walk_level *level, struct walk_entry entry,
               uint64_t inode, int fd)
{
    int result = make_room(walk);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        return result;
    }
    result = dirchain_push(&walk->chain, entry.name, entry.length, inode, fd, level->is_named);
    if (result == 0)
        *walk_deepest(walk) = *level;
    return result;
}

/* Leave the deepest directory of the chain, which has a frame; it stays open for apply. */
static void retain(struct walk *walk, size_t frame)
{
    struct local_scan_result *result = walk->result;
    int fd = dirchain_pop_open(&walk->chain);
    memcpy(result->open_dirs.bytes + frame * sizeof(fd), &fd, sizeof(fd));
    result->open_dirs_count += fd >= 0;
}

static int defer(struct walk *walk, struct walk_level *level)
{
    const struct dirchain *chain = &walk->chain;
    const struct dirchain_level *directory = &chain->levels[chain->depth - 1];
    if (chain->depth > 1)
        level[-1].is_cut = true;
    if (!level->must_change)
        return 0;
    level->must_change = false;
    struct deferred deferred = {directory->end, directory->inode};
    int result = 0;
    if (walk->deferred.length == 0)
        result = buffer_put(&walk->deferred_path, chain->path.bytes, directory->end);
    return result < 0 ? result : buffer_put(&walk->deferred, &deferred, sizeof(deferred));
}

int walk_put_deferred(struct walk *walk)
{
    const struct deferred *first = (const void *)walk->deferred.bytes;
    size_t same = 0;
    int result = 0;
    for (size_t i = walk->deferred.length / sizeof(*first); result == 0 && i-- > 0;) {
        result = scan_put_deferred(walk->found, walk->deferred_path.bytes, first[i].end, same,
                                   first[i].inode);
        same = first[i].end;
    }
    return result;
}

int walk_leave(struct walk *walk)
{
    struct walk_level *level = walk_deepest(walk);
    size_t depth = walk->chain.depth;
    int result = level->is_cut ? defer(walk, level) : 0;
    if (result == 0 && level->must_change)
        result = walk_write_enters(walk);
    bool retains =
        walk->entered == depth && walk->result->open_dirs_count < walk->request->most_open_dirs;
    if (result == 0 && walk->entered == depth) {
        struct buffer *changes = &walk->found->changes;
        result = level->must_change ? changes_put_change(changes, KIND_OWN, &level->own, "", 0)
                                    : changes_put_leave(changes);
        walk->found->count += level->must_change;
        walk->entered--;
    }
    walk->directories.length = level->begin;
    if (result == 0 && retains)
        retain(walk, level->frame);
    else
        dirchain_pop(&walk->chain);
    return result;
}
