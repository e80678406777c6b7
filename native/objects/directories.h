/*
 * The directories that objects go to, made where they are missing.
 *
 *     struct objects_root   the directory of a blocker, and whose new directories become
 *     enum parent           what is known of a directory that new ones are made in
 *
 * A new directory has mode 01700 until its owner and mode are set (relocate/roots.py), unless it
 * gets both at once. One that a kill left half made is not completed here: -EAGAIN.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_DIRECTORIES_H
#define ARCHIPMIGRATE_OBJECTS_DIRECTORIES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/system.h"
#include "objects/moves.h"

enum parent {
    PARENT_UNKNOWN = 0,
    PARENT_GIVES = 1, /* what is made in it has the right owner, and its set-group-id bit */
    PARENT_GIVES_NOT = 2,
};

#define PARENTS (256 + 65536)

struct objects_root {
    int fd;
    uint32_t umask;
    int64_t uid, gid; /* -1: the parent's */
    bool renames;     /* renameat2 works there */
    uint8_t *parents; /* enum parent, of the 256 directories of the first level and those below */
};

/* Pin the directory of a place, made if it is missing: a descriptor, or -errno. */
int objects_pin_made(const struct objects_root *root, const uint8_t *place,
                     const struct features *features);

/* Pin a directory that is there, and not half made. */
int objects_pin_whole(const struct objects_root *root, const uint8_t *path, size_t length,
                      const struct features *features);

#endif
