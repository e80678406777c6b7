/*
 * Scan: one worker's depth-first walk over one unit.
 *
 * Invariant: when a walk ends, every name of the unit and every name found below it is either counted
 * in the tally, or in `rest`, `chunks` or `wide`: nothing is looked at twice or forgotten.
 *
 *     struct scan_request   what to look at, what is right, and how much the unit may take
 *     struct scan_result    what was found, for module.c to hand on
 *     struct tally          counts of entries
 *     struct text           a piece of scan_result.text
 */

#ifndef ARCHIPMIGRATE_LOCAL_SCAN_H
#define ARCHIPMIGRATE_LOCAL_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/frames.h"
#include "core/system.h"

struct scan_request {
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

struct tally {
    int64_t entries, directories, files, others;
    int64_t compliant, skipped, vanished, failed, hard_linked;
};

struct text {
    size_t at;
    size_t length;
};

struct scan_failure {
    struct text path;
    const char *operation;
    int error;
};

struct scan_link {
    size_t offset; /* of the record in the changes */
    uint64_t device;
    uint64_t inode;
};

struct scan_notice {
    struct text path;
    const char *kind;
};

struct scan_result {
    struct tally tally;
    struct buffer changes;
    int64_t count;
    struct group_writer rest;     /* no names: nothing is left over */
    struct group_writer again[2]; /* by whether the names are counted already */
    struct group_writer *chunks;
    size_t chunk_count;
    int wide; /* the descriptor of a wide directory's continuation, the receiver's to close; or -1 */
    struct text wide_path;
    uint64_t wide_inode;
    struct buffer held; /* of int: each directory frame's descriptor, or -1; ours to close, too */
    size_t held_count;  /* that are no -1 */
    struct buffer text;
    struct buffer failures; /* of struct scan_failure */
    struct buffer links;    /* of struct scan_link */
    struct buffer notices;  /* of struct scan_notice */
};

/*
 * Look at the entries of a unit until done or a limit is reached. 0, -ENOMEM, or -EINVAL if the unit is
 * malformed; the result is to be freed in any case. The cursor is taken over.
 */
int scan(const struct scan_request *request, struct scan_result *result);

/* Free what a result holds, and close its `wide` and `held`. */
void scan_result_free(struct scan_result *result);

#endif
