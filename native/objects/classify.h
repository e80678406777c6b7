/*
 * What a regular file is, by its name, place and size: the plain cases of relocate/classify.py.
 *
 *     enum object_class   what it is
 *     struct object       a file, where it was found
 */

#ifndef ARCHIPMIGRATE_OBJECTS_CLASSIFY_H
#define ARCHIPMIGRATE_OBJECTS_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objects/moves.h"

enum object_class {
    CLASS_OTHER, /* for relocate/classify.py */
    CLASS_CURRENT,
    CLASS_PITHOS,
    CLASS_MOVED,
};

struct object {
    enum root root;
    const uint8_t *directory; /* from its root */
    size_t directory_length;
    const uint8_t *name;
    size_t name_length; /* at most 255 */
    uint64_t size;
};

/* Return what a file is, and the place in which v0.4 looks for it. */
enum object_class object_classify(const struct object *object, uint8_t place[PLACE_BYTES]);

/* Say whether a file may be the map of a volume of v0.3, by its name. */
bool object_is_map(const struct object *object);

#endif
