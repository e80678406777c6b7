/* Choosing among changes, and reading of those that are chosen (chosen.h). */

#include "core/chosen.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "core/packing.h"

#define FLAGS      1 /* offset of the flags in a frame */
#define INODE_SIZE 8

/* A directory that a reader is in. */
struct level {
    uint64_t inode;
    size_t above; /* length of the path of the directory that it is in */
    size_t length;
};

int chosen_check(struct chosen *chosen)
{
    size_t count;
    int status =
        changes_check(chosen->changes, chosen->length, &chosen->ids, &chosen->first, &count);
    if (status < 0)
        return status;
    return count == chosen->count ? 0 : -EINVAL;
}

static bool is_change(const struct frame *frame)
{
    return frame->kind == KIND_CHANGE || frame->kind == KIND_OWN;
}

/* Read the next change of a buffer that was checked; false at the end. `at` is where it begins. */
static bool next_change(const struct chosen *chosen, size_t *at, size_t *end, struct frame *frame)
{
    for (*at = *end; *at < chosen->length; *at = *end)
        if (frame_read(chosen->changes, chosen->length, end, frame) < 0 || is_change(frame))
            return true;
    return false;
}

struct chosen_number chosen_drop_others(const struct chosen *chosen, uint8_t *to)
{
    struct chosen_number number = {0};
    struct frame frame;
    size_t at, end = chosen->first, index = 0;
    memcpy(to, chosen->changes, chosen->length);
    while (next_change(chosen, &at, &end, &frame)) {
        if (!chosen->is_chosen[index++]) {
            to[at + FLAGS] |= FLAG_DROPPED;
            continue;
        }
        number.changes++;
        number.directories += frame.kind == KIND_OWN;
    }
    return number;
}

static bool has_inode(const uint8_t *inodes, size_t count, uint64_t inode)
{
    size_t first = 0;
    while (first < count) {
        size_t middle = first + (count - first) / 2;
        uint64_t found = get64(inodes + middle * INODE_SIZE);
        if (found == inode)
            return true;
        if (found < inode)
            first = middle + 1;
        else
            count = middle;
    }
    return false;
}

void chosen_with_inodes(const struct chosen *chosen, const uint8_t *inodes, size_t inode_count,
                        uint8_t *to)
{
    struct frame frame;
    size_t at, end = chosen->first;
    for (size_t index = 0; next_change(chosen, &at, &end, &frame); index++)
        to[index] = chosen->is_chosen[index] && has_inode(inodes, inode_count, frame.change.inode);
}

/* ---- with their paths */

void chosen_begin(struct chosen_reader *reader, const struct chosen *chosen)
{
    *reader = (struct chosen_reader){.chosen = chosen, .at = chosen->first};
}

void chosen_reader_free(struct chosen_reader *reader)
{
    buffer_free(&reader->path);
    buffer_free(&reader->stack);
}

static struct level *deepest(const struct chosen_reader *reader)
{
    return (struct level *)(void *)(reader->stack.bytes + reader->stack.length) - 1;
}

/* Add a name to the path of the directory at hand. */
static int add_name(struct chosen_reader *reader, const struct frame *frame)
{
    int status = reader->path.length > 0 ? buffer_put(&reader->path, "/", 1) : 0;
    return status < 0 ? status : buffer_put(&reader->path, frame->name, frame->length);
}

static int enter(struct chosen_reader *reader, const struct frame *frame)
{
    struct level level = {.inode = frame->inode, .above = reader->path.length};
    int status = add_name(reader, frame);
    level.length = reader->path.length;
    return status < 0 ? status : buffer_put(&reader->stack, &level, sizeof(level));
}

static void leave(struct chosen_reader *reader)
{
    reader->path.length = deepest(reader)->above;
    reader->stack.length -= sizeof(struct level);
}

int chosen_next(struct chosen_reader *reader)
{
    const struct chosen *chosen = reader->chosen;
    struct frame *frame = &reader->frame;
    if (reader->is_own)
        leave(reader);
    else if (reader->stack.length > 0)
        reader->path.length = deepest(reader)->length;
    reader->is_own = false;
    while (reader->at < chosen->length) {
        reader->offset = reader->at;
        int status = frame_read(chosen->changes, chosen->length, &reader->at, frame);
        if (status == 0 && frame->kind == KIND_ENTER)
            status = enter(reader, frame);
        if (status < 0)
            return status;
        if (is_change(frame) && chosen->is_chosen[reader->index++]) {
            reader->is_own = frame->kind == KIND_OWN;
            reader->within = deepest(reader)->inode;
            status = reader->is_own ? 0 : add_name(reader, frame);
            return status < 0 ? status : 1;
        }
        if (frame->kind == KIND_LEAVE || frame->kind == KIND_OWN)
            leave(reader);
    }
    return 0;
}
