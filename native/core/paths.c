/* Paths that wait (paths.h). */

#include "core/paths.h"

#include <string.h>

#include "core/packing.h"

#define LENGTH_SIZE sizeof(uint32_t)

int paths_push(struct buffer *paths, const struct buffer *directory, const void *name,
               size_t name_length)
{
    size_t slash = directory->length > 0 && name_length > 0;
    size_t length = directory->length + slash + name_length;
    int result = buffer_reserve(paths, length + 2 * LENGTH_SIZE);
    if (result < 0)
        return result;
    uint8_t *at = paths->bytes + paths->length + LENGTH_SIZE;
    if (directory->length > 0)
        memcpy(at, directory->bytes, directory->length);
    if (slash)
        at[directory->length] = '/';
    if (name_length > 0)
        memcpy(at + directory->length + slash, name, name_length);
    set32(at - LENGTH_SIZE, (uint32_t)length);
    set32(at + length, (uint32_t)length);
    paths->length += length + 2 * LENGTH_SIZE;
    return 0;
}

const uint8_t *paths_pop(struct buffer *paths, size_t *length)
{
    *length = get32(paths->bytes + paths->length - LENGTH_SIZE);
    paths->length -= *length + 2 * LENGTH_SIZE;
    return paths->bytes + paths->length + LENGTH_SIZE;
}

bool paths_next(const struct buffer *paths, size_t *at, const uint8_t **path, size_t *length)
{
    if (*at >= paths->length)
        return false;
    *length = get32(paths->bytes + *at);
    *path = paths->bytes + *at + LENGTH_SIZE;
    *at += *length + 2 * LENGTH_SIZE;
    return true;
}
