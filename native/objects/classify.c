/* Classes of files (classify.h). */

#include "objects/classify.h"

#include <string.h>

#include "core/sha256.h"

#define PREFIX        "archip_"
#define PREFIX_LENGTH 7
#define DIGITS        64
#define SHORTEST_NAME 6
#define LONGEST_NAME  82

static bool is_digest(const uint8_t *name, size_t length)
{
    if (length != DIGITS)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!(name[i] >= '0' && name[i] <= '9') && !(name[i] >= 'a' && name[i] <= 'f'))
            return false;
    return true;
}

static bool has_prefix(const struct object *object)
{
    return object->name_length >= PREFIX_LENGTH && memcmp(object->name, PREFIX, PREFIX_LENGTH) == 0;
}

static bool is_lock(const struct object *object)
{
    return object->name_length >= 5 &&
           memcmp(object->name + object->name_length - 5, "_lock", 5) == 0;
}

static bool lies_in(const struct object *object, const void *path)
{
    return object->directory_length == PLACE_LENGTH &&
           memcmp(object->directory, path, PLACE_LENGTH) == 0;
}

/* Say whether a file lies in the directory that six bytes name, two for each level. */
static bool lies_by(const struct object *object, const uint8_t *six)
{
    uint8_t path[PLACE_LENGTH] = {six[0], six[1], '/', six[2], six[3], '/', six[4], six[5]};
    for (int i = 0; i < 6; i += 2)
        if (six[i] == '.' && six[i + 1] == '.') /* v0.3 took it literally */
            return false;
    return lies_in(object, path);
}

enum object_class object_classify(const struct object *object, uint8_t place[PLACE_BYTES])
{
    uint8_t head[4];
    char path[PLACE_LENGTH + 1];
    sha256_head(object->name, object->name_length, head);
    memcpy(place, head, PLACE_BYTES);
    move_place_path(place, path);
    if (lies_in(object, path))
        return CLASS_CURRENT;
    if (is_lock(object))
        return CLASS_OTHER;
    if (is_digest(object->name, object->name_length))
        return lies_by(object, object->name) ? CLASS_PITHOS : CLASS_OTHER;
    if (!has_prefix(object))
        return CLASS_OTHER;
    const uint8_t *rest = object->name + PREFIX_LENGTH;
    size_t length = object->name_length - PREFIX_LENGTH;
    bool is_movable = object->root == ROOT_MAPS
                          ? object->size > 0 && length >= SHORTEST_NAME && length <= LONGEST_NAME
                          : is_digest(rest, length);
    return is_movable && lies_by(object, rest) ? CLASS_MOVED : CLASS_OTHER;
}

bool object_is_map(const struct object *object)
{
    return object->root == ROOT_MAPS && has_prefix(object) && !is_lock(object);
}
