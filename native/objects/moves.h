/*
 * Packed moves: which object lies where, and the place that it goes to.
 * archipmigrate/packed/moves.py documents the layout.
 *
 *     struct move           one move that was read
 *     struct objects_root   the directory of a blocker, and whose new directories become
 *
 * What is read is not trusted: -EINVAL for anything that is not the layout, and for any name that
 * could lead anywhere but to an entry of its directory.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_MOVES_H
#define ARCHIPMIGRATE_OBJECTS_MOVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

#define PLACE_BYTES  3
#define PLACE_LENGTH 8 /* of its path: 70/36/e2 */
#define ROOTS        2

enum move_verb {
    MOVE_VERB_MOVE = 1,
    MOVE_VERB_MERGE = 3, /* others are left to Python, and so are other roots */
};

enum root {
    ROOT_BLOCKS = 0,
    ROOT_MAPS = 1,
};

struct move {
    enum move_verb verb;
    enum root root;
    const uint8_t *directory;
    const uint8_t *name;
    uint8_t directory_length;
    uint8_t name_length;
    uint8_t place[PLACE_BYTES];
    uint64_t inode;
};

/* Write the path of a place, with a NUL. */
void move_place_path(const uint8_t *place, char path[PLACE_LENGTH + 1]);

/* Read the move at *at and go to the next one. */
int move_read(const uint8_t *moves, size_t length, size_t *at, struct move *move);

/* Append a move of MOVE_VERB_MOVE. */
int move_put(struct buffer *moves, const struct move *move);

#endif
