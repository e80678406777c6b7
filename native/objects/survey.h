/*
 * Survey: what lies in the directories of a unit, and which of it is to be moved. What is not a
 * plain case is left to relocate/survey.py, which does the same. Nothing is changed.
 *
 *     struct objects_survey_request   the unit, the roots and the limits
 *     struct objects_survey_result    what was found
 *
 * Plain: directories that can be read and are not wide, and in them the objects that lie where v0.4
 * looks, where Pithos keeps them, or where v0.3 put them and nothing lies at the new place.
 *
 * Invariant: every name of the unit, and every name found below it, is either counted or in `rest`
 * or `left`.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_SURVEY_H
#define ARCHIPMIGRATE_OBJECTS_SURVEY_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/groups.h"
#include "core/system.h"
#include "objects/moves.h"

struct objects_survey_request {
    struct features features;
    int roots[ROOTS];
    uint8_t *leaves[ROOTS]; /* see leaves.h */
    const uint8_t *body; /* packed groups; the first step of each path is the label of its root */
    size_t length;
    double seconds;
    int64_t entries;
    int64_t moves;
    size_t wide; /* a directory with more names is left */
    const volatile uint8_t *stop;
};

struct objects_survey_result {
    struct buffer moves;
    int64_t move_count;
    int64_t new_directories[ROOTS]; /* that the moves need */
    struct buffer maps;             /* u8 length, name, u8 length, directory; for each */
    int64_t current, pithos;        /* files; all that are counted are these and the moves */
    struct group_writer rest, left;
};

/*
 * Look at a unit until done or a limit is reached. 0, -ENOMEM, or -EINVAL if it is malformed; the
 * result has to be freed in any case.
 */
int objects_survey(const struct objects_survey_request *request,
                   struct objects_survey_result *result);

void objects_survey_result_free(struct objects_survey_result *result);

#endif
