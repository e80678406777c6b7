/*
 * Apply: makes, settles, checks or puts back packed changes.
 *
 * Invariant: an entry is changed only through a descriptor that pins it, and only if inode, type, mode,
 * uid and gid are those that its record allows. Group first, then mode; back the other way round.
 *
 *     struct apply_request   the changes, and what is to be done with them
 *     struct apply_result    one outcome a change, and what there is to say of some
 */

#ifndef ARCHIPMIGRATE_LOCAL_APPLY_H
#define ARCHIPMIGRATE_LOCAL_APPLY_H

#include <stddef.h>
#include <stdint.h>

#include "core/frames.h"
#include "core/system.h"

/* model.py, Verb. */
enum verb {
    VERB_FORWARD = 0,
    VERB_SETTLE = 1,
    VERB_CHECK = 2,
    VERB_BACK = 3,
};

/* model.py, Outcome. */
enum outcome {
    CHANGED = 0,
    GONE = 1,
    DIFFERENT = 2,
    DROPPED = 3,
    UNTRIED = 4,
    FAILED = 5,
    UNCHANGED = 6,
    SETID_OFF = 7,
};

struct apply_request {
    int root;
    struct features features;
    const uint8_t *changes;
    size_t length;
    enum verb verb;
    int64_t deny_limit;  /* 0: none */
    int64_t born_before; /* ns; 0: any time */
    size_t descriptors;
    const volatile uint8_t *stop; /* once it is set, the rest is UNTRIED */
    /*
     * Of each directory frame, in their order, the descriptor that scan kept open; -1, and beyond the
     * count: to be opened. What is taken over is -1 afterwards.
     */
    int *held;
    size_t held_count;
};

struct apply_failure {
    size_t index;
    const char *operation;
    int error;
    char note[40];
};

struct apply_stamp {
    size_t index;
    int64_t ctime;
};

struct apply_result {
    uint8_t *outcomes;
    size_t count;
    struct buffer failures; /* of struct apply_failure */
    struct buffer stamps;   /* of struct apply_stamp */
    int64_t first_ctime;
};

/*
 * Deal with all changes. -EINVAL if they are malformed: then nothing was touched. -ENOMEM: some were
 * made, and are to be settled. The result is to be freed in any case.
 */
int apply(const struct apply_request *request, struct apply_result *result);

void apply_result_free(struct apply_result *result);

#endif
