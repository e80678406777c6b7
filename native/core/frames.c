#define _GNU_SOURCE
#include "core/frames.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A unit has a few megabytes; whoever asks for this much has got into a loop. */
#define MOST_BYTES ((size_t)1 << 30)
#define LEAST_ROOM 4096

#define VERSION     1
#define GROUP_SIZE  20
#define HEADER_SIZE 8
#define ENTER_SIZE  16
#define CHANGE_SIZE 24
#define SETID_SIZE  16

/* ---- bytes that grow */

int buffer_reserve(struct buffer *buffer, size_t more)
{
    if (more <= buffer->room - buffer->length)
        return 0;
    if (more > MOST_BYTES - buffer->length)
        return -ENOMEM;
    size_t room = buffer->room ? buffer->room * 2 : LEAST_ROOM;
    if (room < buffer->length + more)
        room = buffer->length + more;
    uint8_t *bytes = realloc(buffer->bytes, room);
    if (!bytes)
        return -ENOMEM;
    buffer->bytes = bytes;
    buffer->room = room;
    return 0;
}

int buffer_put(struct buffer *buffer, const void *bytes, size_t length)
{
    int result = buffer_reserve(buffer, length);
    if (result < 0)
        return result;
    if (length > 0)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return 0;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

/* ---- numbers */

static uint16_t get16(const uint8_t *at)
{
    uint16_t number;
    memcpy(&number, at, sizeof(number));
    return le16toh(number);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof(number));
    return le32toh(number);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof(number));
    return le64toh(number);
}

static void set16(uint8_t *at, uint16_t number)
{
    number = htole16(number);
    memcpy(at, &number, sizeof(number));
}

static void set32(uint8_t *at, uint32_t number)
{
    number = htole32(number);
    memcpy(at, &number, sizeof(number));
}

static void set64(uint8_t *at, uint64_t number)
{
    number = htole64(number);
    memcpy(at, &number, sizeof(number));
}

/* ---- names */

static bool is_component(const uint8_t *name, size_t length)
{
    if (length == 0 || memchr(name, '\0', length) || memchr(name, '/', length))
        return false;
    return name[0] != '.' || length > 2 || (length == 2 && name[1] != '.');
}

/* Say whether a path, of which the first `good` bytes are known to be right, is one from the root. */
static bool is_path(const uint8_t *path, size_t length, size_t good)
{
    if (length == 0)
        return true;
    const uint8_t *slash = memrchr(path, '/', good < length ? good : length);
    const uint8_t *at = slash ? slash + 1 : path;
    const uint8_t *end = path + length;
    for (;;) {
        slash = memchr(at, '/', (size_t)(end - at));
        if (!is_component(at, (size_t)((slash ? slash : end) - at)))
            return false;
        if (!slash)
            return true;
        at = slash + 1;
    }
}

/* ---- groups */

static bool is_name(const struct name *name)
{
    switch (name->hint) {
    case HINT_WALK:
    case HINT_SELF:
        return name->length == 0;
    case HINT_DIRECTORY:
    case HINT_ENTRY:
        return is_component(name->bytes, name->length);
    default:
        return false;
    }
}

static int check_names(struct group_reader *reader)
{
    const uint8_t *at = reader->names;
    const uint8_t *end = at + reader->names_length;
    reader->count = 0;
    reader->walks = reader->itself = false;
    while (at < end) {
        if (end - at < 2 || end - at < 2 + at[1])
            return -EINVAL;
        struct name name = {at[0], at[1], at + 2};
        if (!is_name(&name))
            return -EINVAL;
        reader->walks |= name.hint == HINT_WALK;
        reader->itself |= name.hint == HINT_SELF;
        reader->count++;
        at += 2 + name.length;
    }
    return 0;
}

int group_read(struct group_reader *reader)
{
    size_t left = reader->length - reader->at;
    if (left == 0)
        return 0;
    if (left < GROUP_SIZE)
        return -EINVAL;
    const uint8_t *group = reader->body + reader->at;
    size_t keep = get32(group);
    size_t more = get32(group + 4);
    size_t length = get32(group + 16);
    left -= GROUP_SIZE;
    if (keep > reader->path.length || more > left || length > left - more)
        return -EINVAL;
    reader->keep = keep;
    reader->inode = get64(group + 8);
    reader->path.length = keep;
    int result = buffer_put(&reader->path, group + GROUP_SIZE, more);
    if (result < 0)
        return result;
    if (!is_path(reader->path.bytes, reader->path.length, keep))
        return -EINVAL;
    reader->names = group + GROUP_SIZE + more;
    reader->names_length = length;
    reader->at += GROUP_SIZE + more + length;
    result = check_names(reader);
    return result < 0 ? result : 1;
}

void group_reader_free(struct group_reader *reader)
{
    buffer_free(&reader->path);
}

bool group_next_name(const uint8_t **at, const uint8_t *end, struct name *name)
{
    if (*at >= end)
        return false;
    *name = (struct name){(*at)[0], (*at)[1], *at + 2};
    *at += 2 + name->length;
    return true;
}

int group_name_path(const struct group_reader *group, const struct name *name, struct buffer *path)
{
    path->length = 0;
    int result = buffer_put(path, group->path.bytes, group->path.length);
    if (result == 0 && name->length && group->path.length)
        result = buffer_put(path, "/", 1);
    return result < 0 ? result : buffer_put(path, name->bytes, name->length);
}

const char *hint_operation(enum hint hint)
{
    switch (hint) {
    case HINT_ENTRY:
        return "stat";
    case HINT_SELF:
        return "revisit";
    default:
        return "open";
    }
}

static size_t common(const uint8_t *a, const uint8_t *b, size_t from, size_t to)
{
    /* Blocks first: the paths of deep chains have much in common. */
    while (to - from >= 64 && memcmp(a + from, b + from, 64) == 0)
        from += 64;
    while (from < to && a[from] == b[from])
        from++;
    return from;
}

int group_begin(struct group_writer *writer, const void *path, size_t length, size_t same,
                uint64_t inode)
{
    struct buffer *before = &writer->path;
    size_t shorter = length < before->length ? length : before->length;
    size_t keep = common(before->bytes, path, same < shorter ? same : shorter, shorter);
    size_t more = length - keep;
    const uint8_t *suffix = length ? (const uint8_t *)path + keep : (const uint8_t *)"";
    before->length = keep;
    int result = buffer_put(before, suffix, more);
    if (result == 0)
        result = buffer_reserve(&writer->body, GROUP_SIZE + more);
    if (result < 0)
        return result;
    uint8_t *group = writer->body.bytes + writer->body.length;
    set32(group, (uint32_t)keep);
    set32(group + 4, (uint32_t)more);
    set64(group + 8, inode);
    set32(group + 16, 0);
    memcpy(group + GROUP_SIZE, suffix, more);
    writer->start = writer->body.length;
    writer->body.length += GROUP_SIZE + more;
    return 0;
}

int group_name(struct group_writer *writer, enum hint hint, const void *name, size_t length)
{
    uint8_t head[2] = {(uint8_t)hint, (uint8_t)length};
    int result = buffer_put(&writer->body, head, sizeof(head));
    if (result == 0)
        result = buffer_put(&writer->body, name, length);
    writer->names++;
    return result;
}

int group_names(struct group_writer *writer, const uint8_t *names, size_t length, size_t count)
{
    writer->names += count;
    return buffer_put(&writer->body, names, length);
}

void group_end(struct group_writer *writer)
{
    uint8_t *group = writer->body.bytes + writer->start;
    size_t names = writer->body.length - writer->start - GROUP_SIZE - get32(group + 4);
    set32(group + 16, (uint32_t)names);
}

void group_writer_free(struct group_writer *writer)
{
    buffer_free(&writer->body);
    buffer_free(&writer->path);
}

/* ---- changes */

int changes_put_header(struct buffer *changes, uint32_t new_gid)
{
    uint8_t header[HEADER_SIZE] = {VERSION};
    set32(header + 4, new_gid);
    return buffer_put(changes, header, sizeof(header));
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

/* See that a frame may come below `depth` directories; return how many there are after it. */
static int check_frame(const struct frame *frame, size_t *depth)
{
    if (frame->kind == KIND_ENTER) {
        bool empty = frame->length == 0;
        if (empty ? *depth > 0 : !is_path(frame->name, frame->length, 0))
            return -EINVAL;
        ++*depth;
        return 0;
    }
    if (*depth == 0)
        return -EINVAL;
    if (frame->kind == KIND_CHANGE)
        return is_component(frame->name, frame->length) && frame->length <= NAME_MAX ? 0 : -EINVAL;
    --*depth;
    return frame->length == 0 ? 0 : -EINVAL;
}

int changes_check(const uint8_t *changes, size_t length, uint32_t *new_gid, size_t *first,
                  size_t *count)
{
    if (length < HEADER_SIZE || changes[0] != VERSION)
        return -EINVAL;
    *new_gid = get32(changes + 4);
    *first = HEADER_SIZE;
    *count = 0;
    size_t depth = 0;
    for (size_t at = HEADER_SIZE; at < length;) {
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
