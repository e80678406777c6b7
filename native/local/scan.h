/*
 * Scan: one worker's depth-first walk over one unit.
 *
 *     struct local_scan_request   the unit, the policy, the options and the limits
 *     struct local_scan_result    what was found, and the descriptors that go with it
 *
 * The failure of a directory that must never be entered has errno MET_NEVER.
 *
 * Invariant: when a walk ends, every name of the unit, and every name found below it, is either
 * counted in the tally or in `rest`, `again`, `chunks` or `wide`: nothing is looked at twice,
 * nothing forgotten.
 */

#ifndef ARCHIPMIGRATE_LOCAL_SCAN_H
#define ARCHIPMIGRATE_LOCAL_SCAN_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attrs.h"
#include "core/buffer.h"
#include "core/groups.h"
#include "core/result.h"
#include "core/system.h"

#define MET_NEVER EDOTDOT /* no filesystem gives it */

struct local_scan_request {
    int root;
    struct features features;
    /* The unit: packed groups or, if `cursor` is not -1, the rest of a wide directory. */
    const uint8_t *body;
    size_t body_length;
    int cursor; /* the directory's descriptor; it stands where the reading goes on */
    const uint8_t *cursor_path;
    size_t cursor_path_length;
    uint64_t cursor_inode;
    bool counted;  /* the unit's names are in the tally already */
    bool last_try; /* transient errors are failures now */
    struct policy policy;
    /* The options. */
    const uint8_t *excludes; /* u8 length, name; for each */
    size_t excludes_length;
    const uint8_t *snapshots; /* likewise */
    size_t snapshots_length;
    bool cross;
    bool xattrs;
    bool remote; /* the share is on NFS */
    uint64_t never_device;
    uint64_t never_inode; /* of a directory that is not entered, but is a failure; 0: none */
    /* The limits. */
    double seconds;
    int64_t entries;
    int64_t changes;
    const volatile uint8_t *stop;
    size_t descriptors;    /* that are open during the walk */
    size_t most_open_dirs; /* that stay open for apply */
    size_t wide;           /* a directory with more names is wide */
    size_t chunks;         /* of `wide` names each, that are read of it in one call */
};

struct local_scan_result {
    struct scan_result found;
    struct group_writer *chunks;
    size_t chunk_count;
    int wide; /* the descriptor of a wide directory whose reading goes on; -1: there is none */
    struct text wide_path;
    uint64_t wide_inode;
    struct buffer open_dirs; /* of int: for each directory frame its descriptor, or -1 */
    size_t open_dirs_count;  /* without those that are -1 */
};

/*
 * Look at the entries of a unit until done or a limit is reached. 0, -ENOMEM, or -EINVAL if the
 * unit or the options are malformed; the result has to be freed in any case. Takes the cursor over.
 */
int local_scan(const struct local_scan_request *request, struct local_scan_result *result);

/* Free a result; close `wide` and `open_dirs`, unless the caller took them out of it. */
void local_scan_result_free(struct local_scan_result *result);

#endif
