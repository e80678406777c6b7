/* Checks of names and paths (names.h). */

#define _GNU_SOURCE
#include "core/names.h"

#include <string.h>

bool name_is_dots(const void *name, size_t length)
{
    return (length == 1 || length == 2) && memcmp(name, "..", length) == 0;
}

bool name_is_component(const uint8_t *name, size_t length)
{
    return length > 0 && !memchr(name, '\0', length) && !memchr(name, '/', length) &&
           !name_is_dots(name, length);
}

bool path_is_plain(const uint8_t *path, size_t length, size_t checked)
{
    if (length == 0)
        return true;
    const uint8_t *slash = memrchr(path, '/', checked < length ? checked : length);
    const uint8_t *at = slash ? slash + 1 : path;
    const uint8_t *end = path + length;
    for (;;) {
        slash = memchr(at, '/', (size_t)(end - at));
        if (!name_is_component(at, (size_t)((slash ? slash : end) - at)))
            return false;
        if (!slash)
            return true;
        at = slash + 1;
    }
}

bool excludes_are_valid(const uint8_t *excludes, size_t length)
{
    for (size_t at = 0; at < length; at += 1 + (size_t)excludes[at])
        if (excludes[at] >= length - at)
            return false;
    return true;
}

bool excludes_have(const uint8_t *excludes, size_t length, const void *name, size_t name_length)
{
    const uint8_t *end = excludes + length;
    for (const uint8_t *at = excludes; at < end; at += 1 + at[0])
        if (at[0] == name_length && memcmp(at + 1, name, name_length) == 0)
            return true;
    return false;
}
