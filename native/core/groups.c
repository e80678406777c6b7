/* Reading and writing of groups (groups.h). */

#define _GNU_SOURCE
#include "core/groups.h"

#include <errno.h>
#include <string.h>

#include "core/names.h"
#include "core/packing.h"

#define GROUP_SIZE 20

/* ---- reading */

static bool is_name(const struct name *name)
{
    switch (name->hint) {
    case HINT_WALK:
    case HINT_SELF:
        return name->length == 0;
    case HINT_DIRECTORY:
    case HINT_ENTRY:
        return name_is_component(name->bytes, name->length);
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
    if (!path_is_plain(reader->path.bytes, reader->path.length, keep))
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

/* ---- writing */

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
    if (length > UINT8_MAX)
        return -EINVAL;
    uint8_t head[2] = {(uint8_t)hint, (uint8_t)length};
    int result = buffer_put(&writer->body, head, sizeof(head));
    if (result == 0)
        result = buffer_put(&writer->body, name, length);
    writer->names++;
    return result;
}

/* Add `count` names that are packed already to the open group. */
static int group_names(struct group_writer *writer, const uint8_t *names, size_t length,
                       size_t count)
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

int group_put_one(struct group_writer *writer, const struct buffer *path, uint64_t inode,
                  enum hint hint, const void *name, size_t length)
{
    int result = group_begin(writer, path->bytes, path->length, 0, inode);
    if (result == 0)
        result = group_name(writer, hint, name, length);
    if (result == 0)
        group_end(writer);
    return result;
}

int group_put_copy(struct group_writer *writer, const struct group_reader *group, size_t same)
{
    int result = group_begin(writer, group->path.bytes, group->path.length, same, group->inode);
    if (result == 0)
        result = group_names(writer, group->names, group->names_length, group->count);
    if (result == 0)
        group_end(writer);
    return result;
}
