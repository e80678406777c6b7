/*
 * Scan: one worker's depth-first walk over one unit.
 *
 * Invariant: when a walk ends, every name of the unit and every name found below it is either counted
 * in the tally, or in `rest`, `chunks` or `wide`: nothing is looked at twice or forgotten.
 *
 *     struct local_scan_request   what to look at, what is right, and how much the unit may take
 *     struct local_scan_result    what was found, with descriptors that go with it
 */

#ifndef ARCHIPMIGRATE_LOCAL_SCAN_H
#define ARCHIPMIGRATE_LOCAL_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/groups.h"
#include "core/result.h"
#include "core/system.h"

struct local_scan_request {
    int root;
    struct features features;
    /* The unit: packed groups, or the place in a wide directory where its reading goes on (else -1). */
    const uint8_t *body;
    size_t body_length;
    int cursor;
    const uint8_t *cursor_path;
    size_t cursor_path_length;
    uint64_t cursor_inode;
    bool counted;  /* the unit's names are in the tally already */
    bool last_try; /* what may pass is a failure now */
    /* The policy. */
    uint32_t gid;
    uint32_t directory_bits;
    uint32_t file_bits;
    /* The options. */
    const uint8_t *excludes; /* u8 length, name; as often as there are names */
    size_t excludes_length;
    bool skip_links;
    bool cross;
    bool xattrs;
    bool remote; /* the share is on NFS */
    /* The limits. */
    double seconds;
    int64_t entries;
    int64_t changes;
    const volatile uint8_t *stop;
    size_t descriptors;
    size_t hold;   /* so many directories at most stay open for apply */
    size_t wide;   /* a directory with more names is wide */
    size_t chunks; /* of `wide` names, that are read of it in one go */
};

struct local_scan_result {
    struct scan_result found;
    struct group_writer *chunks;
    size_t chunk_count;
    int wide; /* the descriptor of a wide directory's continuation, the receiver's to close; or -1 */
    struct text wide_path;
    uint64_t wide_inode;
    struct buffer
        open_dirs; /* of int: each directory frame's descriptor, or -1; ours to close, too */
    size_t open_dirs_count; /* that are no -1 */
};

/*
 * Look at the entries of a unit until done or a limit is reached. 0, -ENOMEM, or -EINVAL if the unit is
 * malformed; the result is to be freed in any case. The cursor is taken over.
 */
int local_scan(const struct local_scan_request *request, struct local_scan_result *result);

/* Free what a result holds, and close its `wide` and `open_dirs`. */
void local_scan_result_free(struct local_scan_result *result);

#endif
