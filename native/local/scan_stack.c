#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names and paths */

struct place *deepest(struct walk *walk)
{
    return &walk->places[walk->levels.depth - 1];
}

void count(struct walk *walk, int64_t *kind, bool counting)
{
    walk->found->tally.entries += counting;
    *kind += counting;
}

int put_name(struct buffer *names, const void *name, size_t length)
{
    int result = buffer_reserve(names, length + 2);
    if (result < 0)
        return result;
    uint8_t *at = names->bytes + names->length;
    at[0] = (uint8_t)length;
    memcpy(at + 1, name, length);
    at[1 + length] = '\0';
    names->length += length + 2;
    return 0;
}

struct entry take_name(const struct buffer *names, size_t *at)
{
    const uint8_t *name = names->bytes + *at;
    *at += (size_t)name[0] + 2;
    return (struct entry){(const char *)name + 1, name[0]};
}

int64_t put_names(struct group_writer *writer, enum hint hint, const struct buffer *names,
                  size_t from, size_t to)
{
    int64_t number = 0;
    while (from < to) {
        struct entry entry = take_name(names, &from);
        int result = group_name(writer, hint, entry.name, entry.length);
        if (result < 0)
            return result;
        number++;
    }
    return number;
}

int build_path(struct walk *walk, struct entry entry)
{
    const struct buffer *above = &walk->levels.path;
    walk->path.length = 0;
    int result = buffer_put(&walk->path, above->bytes, above->length);
    if (result == 0 && above->length > 0 && entry.length > 0)
        result = buffer_put(&walk->path, "/", 1);
    return result < 0 ? result : buffer_put(&walk->path, entry.name, entry.length);
}

/* ---- the stack and its frames */

int flush(struct walk *walk)
{
    const struct levels *levels = &walk->levels;
    struct buffer *changes = &walk->found->changes;
    int result = changes->length ? 0 : changes_put_header(changes, walk->ask->gid);
    struct buffer *held = &walk->result->open_dirs;
    const int closed = -1;
    while (result == 0 && walk->entered < levels->depth) {
        const struct level *level = &levels->chain[walk->entered];
        walk->places[walk->entered++].frame = held->length / sizeof(closed);
        result = buffer_put(held, &closed, sizeof(closed));
        if (result < 0)
            return result;
        const uint8_t *name = levels->path.bytes + level->start;
        result = changes_put_enter(changes, name, level->end - level->start, level->inode);
    }
    return result;
}

static int make_places(struct walk *walk)
{
    if (walk->levels.depth < walk->room)
        return 0;
    size_t room = walk->room ? walk->room * 2 : 64;
    struct place *places = realloc(walk->places, room * sizeof(*places));
    if (!places)
        return -ENOMEM;
    walk->places = places;
    walk->room = room;
    return 0;
}

int enter(struct walk *walk, const struct place *place, struct entry entry, uint64_t inode, int fd)
{
    int result = make_places(walk);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        return result;
    }
    result = levels_push(&walk->levels, entry.name, entry.length, inode, fd, place->named);
    if (result == 0)
        *deepest(walk) = *place;
    return result;
}

/* Leave the deepest directory of the chain, which has a frame; keep it open for apply. */
static void hold(struct walk *walk, size_t frame)
{
    struct local_scan_result *result = walk->result;
    int fd = levels_pop_open(&walk->levels);
    memcpy(result->open_dirs.bytes + frame * sizeof(fd), &fd, sizeof(fd));
    result->open_dirs_count += fd >= 0;
}

int leave(struct walk *walk)
{
    struct place *place = deepest(walk);
    size_t depth = walk->levels.depth;
    int result = place->must_change ? flush(walk) : 0;
    bool holds = walk->entered == depth && walk->result->open_dirs_count < walk->ask->hold;
    if (result == 0 && walk->entered == depth) {
        struct buffer *changes = &walk->found->changes;
        result = place->must_change ? changes_put_change(changes, KIND_OWN, &place->own, "", 0)
                                    : changes_put_leave(changes);
        walk->found->count += place->must_change;
        walk->entered--;
    }
    walk->directories.length = place->begin;
    if (result == 0 && holds)
        hold(walk, place->frame);
    else
        levels_pop(&walk->levels);
    return result;
}
