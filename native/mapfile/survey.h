/*
 * Survey of the maps directory: which files there are. What is not plain (found.h) is left to
 * maps/survey/walk.py, which does the same. Nothing is changed.
 *
 *     struct maps_survey_request   the unit, the root and the limits
 *     struct maps_survey_result    what was found
 *
 * Invariant: all that is in the directories of the unit, and below, is among the files or in `rest`
 * or `left`.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_SURVEY_H
#define ARCHIPMIGRATE_MAPFILE_SURVEY_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/groups.h"
#include "core/system.h"
#include "mapfile/found.h"

struct maps_survey_request {
    struct features features;
    int root;
    const uint8_t *body; /* packed groups; each directory is walked whole */
    size_t length;
    double seconds;
    int64_t entries;
    size_t wide; /* a directory with more names is left */
    const volatile uint8_t *stop;
};

/* A file; the bytes of its volume's name follow it. */
struct maps_survey_file {
    struct found_name name; /* `volume` is not set */
    struct found_head head; /* of a map */
    uint64_t inode, length;
};

struct maps_survey_result {
    struct buffer files;
    int64_t file_count, directories;
    struct group_writer rest, left;
};

/*
 * Look at a unit until done or a limit is reached. 0, -ENOMEM, or -EINVAL if it is malformed; the
 * result has to be freed in any case.
 */
int maps_survey(const struct maps_survey_request *request, struct maps_survey_result *result);

/* Take the file at *at, whose volume is set now; false at their end. */
bool maps_survey_next(const struct maps_survey_result *result, size_t *at,
                      struct maps_survey_file *file);

void maps_survey_result_free(struct maps_survey_result *result);

#endif
