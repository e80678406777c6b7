/*
 * Apply: makes, settles, checks or puts back packed changes.
 *
 *     struct local_apply_request   the changes, and what to do with them
 *
 * Invariant: an entry is changed only through a descriptor that pins it, and only if its inode,
 * type, mode, uid and gid are those that its change allows. Owner and group first, by one call,
 * then mode; on the way back mode first.
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
    int64_t deny_limit; /* 0: none */
    struct known known; /* VERB_BACK */
    size_t descriptors;
    const volatile uint8_t *stop; /* once it is set, the rest is UNTRIED */
    /*
     * For each directory frame, in their order, the descriptor that scan left open; -1, and beyond
     * the count: the directory has to be opened. An item is -1 once its descriptor is taken over.
     */
    int *open_dirs;
    size_t open_dirs_count;
};

/*
 * Apply all changes. -EINVAL if they are malformed: then nothing was touched. -ENOMEM: some were
 * made, and have to be settled. The result is zeroed before, but for `kept`, and has to be freed
 * (apply_result_free) in any case.
 */
int local_apply(const struct local_apply_request *request, struct apply_result *result);

#endif
