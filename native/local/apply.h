/*
 * Apply: makes, settles, checks or puts back packed changes.
 *
 * Invariant: an entry is changed only through a descriptor that pins it, and only if inode, type, mode,
 * uid and gid are those that its record allows. Group first, then mode; back the other way round.
 *
 *     struct local_apply_request   the changes, and what is to be done with them
 */

#ifndef ARCHIPMIGRATE_LOCAL_APPLY_H
#define ARCHIPMIGRATE_LOCAL_APPLY_H

#include <stddef.h>
#include <stdint.h>

#include "core/result.h"
#include "core/system.h"

struct local_apply_request {
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
    int *open_dirs;
    size_t open_dirs_count;
};

/*
 * Deal with all changes. -EINVAL if they are malformed: then nothing was touched. -ENOMEM: some were
 * made, and are to be settled. The result is to be freed (apply_result_free) in any case.
 */
int local_apply(const struct local_apply_request *request, struct apply_result *result);

#endif
