/*
 * Move: the objects of a batch to their new places, or back, each in one step: renameat2 with
 * RENAME_NOREPLACE. What is not the plain case is left to relocate/mover.py, which does the same.
 *
 *     struct objects_move_request   the moves, and where
 *     struct objects_move_result    an outcome for each
 *
 * Plain: the object is the only name at the place that it leaves, there is nothing of its name
 * where it goes to, and no call fails. Nothing is synced here.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_MOVE_H
#define ARCHIPMIGRATE_OBJECTS_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/result.h"
#include "core/system.h"
#include "objects/directories.h"
#include "objects/moves.h"

#define OUTCOME_LEFT 255 /* not tried, or nothing came of it: for relocate/mover.py */

struct objects_move_request {
    struct features features;
    struct objects_root roots[ROOTS];
    const uint8_t *moves;
    size_t length;
    bool back;
    int64_t deny_limit; /* refusals without a success after which no other is tried; 0: none */
    const volatile uint8_t *stop;
};

struct objects_move_result {
    struct buffer outcomes; /* u8 a move */
    int64_t changed[ROOTS]; /* moves that are CHANGED */
    int error;              /* of the move that FAILED; after it, no other is tried */
};

/*
 * Move objects. 0, -ENOMEM, or -EINVAL if the moves are malformed: nothing was moved then. The
 * result has to be freed in any case.
 */
int objects_move(const struct objects_move_request *request, struct objects_move_result *result);

void objects_move_result_free(struct objects_move_result *result);

#endif
