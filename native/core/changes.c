/* Reading and writing of changes (changes.h). */

#include "core/changes.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>

#include "core/names.h"
#include "core/packing.h"

#define HEADER_SIZE 8
#define OWNER_SIZE  4 /* follows the header */
#define ENTER_SIZE  16
#define CHANGE_SIZE 24
#define SETID_SIZE  16

enum version {
    OF_GROUP = 1,
    OF_OWNER_AND_GROUP = 2,
};

/* ---- writing */

int changes_put_header(struct buffer *changes, bool is_bounded, struct ids ids)
{
    bool has_owner = ids.uid != NO_ID;
    uint8_t header[HEADER_SIZE + OWNER_SIZE] = {has_owner ? OF_OWNER_AND_GROUP : OF_GROUP, 0,
                                                is_bounded};
    set32(header + 4, ids.gid);
    set32(header + HEADER_SIZE, ids.uid);
    return buffer_put(changes, header, HEADER_SIZE + (has_owner ? OWNER_SIZE : 0));
}

int changes_put_enter(struct buffer *changes, const void *name, size_t length, uint64_t inode)
{
    uint8_t enter[ENTER_SIZE] = {KIND_ENTER};
    set32(enter + 4, (uint32_t)length);
    set64(enter + 8, inode);
    int result = buffer_put(changes, enter, sizeof(enter));
    return result < 0 ? result : buffer_put(changes, name, length);
}

int changes_put_change(struct buffer *changes, enum kind kind, const struct change *change,
                       const void *name, size_t length)
{
    uint8_t record[CHANGE_SIZE + SETID_SIZE] = {(uint8_t)kind, change->flags};
    size_t size = CHANGE_SIZE;
    set16(record + 2, (uint16_t)length);
    set16(record + 4, change->mode);
    set16(record + 6, change->new_mode);
    set32(record + 8, change->uid);
    set32(record + 12, change->gid);
    set64(record + 16, change->inode);
    if (change->flags & FLAG_SETID) {
        set64(record + CHANGE_SIZE, change->size);
        set64(record + CHANGE_SIZE + 8, (uint64_t)change->mtime);
        size += SETID_SIZE;
    }
    int result = buffer_put(changes, record, size);
    return result < 0 ? result : buffer_put(changes, name, length);
}

int changes_put_leave(struct buffer *changes)
{
    uint8_t leave = KIND_LEAVE;
    return buffer_put(changes, &leave, sizeof(leave));
}

/* ---- reading */

static int read_enter(const uint8_t *at, size_t left, struct frame *frame)
{
    if (left < ENTER_SIZE)
        return -EINVAL;
    frame->length = get32(at + 4);
    frame->inode = get64(at + 8);
    frame->name = at + ENTER_SIZE;
    return frame->length <= left - ENTER_SIZE ? ENTER_SIZE : -EINVAL;
}

static int read_change(const uint8_t *at, size_t left, struct frame *frame)
{
    if (left < CHANGE_SIZE)
        return -EINVAL;
    int size = CHANGE_SIZE;
    frame->length = get16(at + 2);
    frame->change = (struct change){
        .flags = at[1],
        .mode = get16(at + 4),
        .new_mode = get16(at + 6),
        .uid = get32(at + 8),
        .gid = get32(at + 12),
        .inode = get64(at + 16),
    };
    if (frame->change.flags & FLAG_SETID) {
        if (left < CHANGE_SIZE + SETID_SIZE)
            return -EINVAL;
        frame->change.size = get64(at + CHANGE_SIZE);
        frame->change.mtime = (int64_t)get64(at + CHANGE_SIZE + 8);
        size += SETID_SIZE;
    }
    frame->name = at + size;
    return frame->length <= left - (size_t)size ? size : -EINVAL;
}

int frame_read(const uint8_t *changes, size_t length, size_t *at, struct frame *frame)
{
    const uint8_t *start = changes + *at;
    size_t left = length - *at;
    if (left == 0)
        return -EINVAL;
    int size;
    switch (start[0]) {
    case KIND_ENTER:
        size = read_enter(start, left, frame);
        break;
    case KIND_CHANGE:
    case KIND_OWN:
        size = read_change(start, left, frame);
        break;
    case KIND_LEAVE:
        frame->length = 0;
        size = 1;
        break;
    default:
        return -EINVAL;
    }
    if (size < 0)
        return size;
    frame->kind = (enum kind)start[0];
    *at += (size_t)size + frame->length;
    return 0;
}

/* Check that a frame may come below *depth directories, and count them on. */
static int check_frame(const struct frame *frame, size_t *depth)
{
    if (frame->kind == KIND_ENTER) {
        bool empty = frame->length == 0;
        if (empty ? *depth > 0 : !path_is_plain(frame->name, frame->length, 0))
            return -EINVAL;
        ++*depth;
        return 0;
    }
    if (*depth == 0)
        return -EINVAL;
    if (frame->kind == KIND_CHANGE)
        return name_is_component(frame->name, frame->length) && frame->length <= NAME_MAX ? 0
                                                                                          : -EINVAL;
    --*depth;
    return frame->length == 0 ? 0 : -EINVAL;
}

/* Read the header; give the offset of what follows. */
static int read_header(const uint8_t *changes, size_t length, struct ids *ids, size_t *first)
{
    if (length < HEADER_SIZE)
        return -EINVAL;
    *ids = (struct ids){.uid = NO_ID, .gid = get32(changes + 4)};
    *first = HEADER_SIZE;
    if (changes[0] == OF_GROUP)
        return 0;
    if (changes[0] != OF_OWNER_AND_GROUP || length < HEADER_SIZE + OWNER_SIZE)
        return -EINVAL;
    ids->uid = get32(changes + HEADER_SIZE);
    *first += OWNER_SIZE;
    return ids->uid == NO_ID ? -EINVAL : 0;
}

int changes_check(const uint8_t *changes, size_t length, struct ids *ids, size_t *first,
                  size_t *count)
{
    int status = read_header(changes, length, ids, first);
    if (status < 0)
        return status;
    *count = 0;
    size_t depth = 0;
    for (size_t at = *first; at < length;) {
        struct frame frame;
        int result = frame_read(changes, length, &at, &frame);
        if (result == 0)
            result = check_frame(&frame, &depth);
        if (result < 0)
            return result;
        *count += frame.kind == KIND_CHANGE || frame.kind == KIND_OWN;
    }
    return depth == 0 ? 0 : -EINVAL;
}

bool changes_are_bounded(const uint8_t *changes)
{
    return changes[2] != 0;
}
