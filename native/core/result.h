/*
 * What scan and apply find, for both backends in C, and the verbs.
 *
 *     struct tally           counts of entries
 *     struct scan_result     what a scan found; each backend adds what is its own
 *     struct text            a path within scan_result.text
 *     struct scan_failure    an entry that could not be looked at
 *     struct scan_link       a change of an inode that has several links
 *     struct scan_notice     an entry with something special: an ACL, file capabilities, or skipped
 *     struct apply_result    an outcome for each change, and what there is to say of some
 *     struct apply_failure   a change that could not be made
 *     struct apply_stamp     the ctime of a file that lost set-id bits
 *     struct apply_came      what a change left that read back differently
 *
 * Functions return 0 or -ENOMEM unless they say otherwise. A zeroed result is empty.
 */

#ifndef ARCHIPMIGRATE_CORE_RESULT_H
#define ARCHIPMIGRATE_CORE_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/groups.h"
#include "core/known.h"

/* ---- scan */

/* Bytes of changes and of the paths of failures that end a scan: paths may be long. */
#define SCAN_MAX_FOUND ((size_t)16 << 20)

/*
 * A unit that begins n levels down looks at n / SCAN_FAR entries at least, whatever its limits:
 * finding that directory, for scan and again for apply, costs as much.
 */
#define SCAN_FAR 8

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
    size_t offset; /* of the change in `changes` */
    uint64_t device;
    uint64_t inode;
};

struct scan_notice {
    struct text path;
    const char *kind;
};

/* Why an entry is skipped: the kinds of such notices (backend/base.py). */
#define SKIPPED_EXCLUDED   "excluded"
#define SKIPPED_FILESYSTEM "filesystem"
#define SKIPPED_LINKED     "linked"
#define SKIPPED_SNAPSHOT   "snapshot"

struct scan_result {
    struct tally tally;
    struct buffer changes;
    int64_t count;                /* of changes */
    struct group_writer rest;     /* no names: nothing is left over */
    struct group_writer again[2]; /* to be retried; by whether the names are counted already */
    struct group_writer deferred; /* directories whose own change waits until the rest is done */
    struct buffer text;
    struct buffer failures; /* of struct scan_failure */
    struct buffer links;    /* of struct scan_link */
    struct buffer notices;  /* of struct scan_notice */
};

void scan_result_free(struct scan_result *result);

void tally_add(struct tally *tally, const struct tally *more);

/*
 * Defer the own change of the directory at a path; its first `same` bytes are known to be those of
 * the path before.
 */
int scan_put_deferred(struct scan_result *result, const void *path, size_t length, size_t same,
                      uint64_t inode);

/* Store a path in the result. */
int scan_put_text(struct scan_result *result, const struct buffer *path, struct text *text);

/* Add a failure of the entry at `path`, and count it; `error` is -errno. */
int scan_put_failure(struct scan_result *result, const struct buffer *path, const char *operation,
                     int error);

int scan_put_notice(struct scan_result *result, const struct buffer *path, const char *kind);

/*
 * The directory of a group could not be opened, though it is there. Its names are to be retried, if
 * `retries`; else each is a failure. `is_counting`: they are not in the tally yet. `path` is for
 * building.
 */
int scan_put_lost_group(struct scan_result *result, const struct group_reader *group, int error,
                        bool retries, bool is_counting, struct buffer *path);

/* Say whether an error (-errno) may pass, so that the entry is worth another look. */
bool error_is_transient(int error);

/* ---- apply */

/* model.py, Verb. */
enum verb {
    VERB_FORWARD = 0,
    VERB_SETTLE = 1,
    VERB_BACK = 2,
};

/* model.py, Outcome. */
enum outcome {
    OUTCOME_CHANGED = 0,
    OUTCOME_GONE = 1,
    OUTCOME_DIFFERENT = 2,
    OUTCOME_DROPPED = 3,
    OUTCOME_UNTRIED = 4,
    OUTCOME_FAILED = 5,
    OUTCOME_UNCHANGED = 6,
    OUTCOME_SETID_OFF = 7,
};

struct apply_failure {
    size_t index; /* of the change */
    const char *operation;
    int error;
    char note[40];
};

struct apply_stamp {
    size_t index; /* of the change */
    int64_t ctime;
};

struct apply_came {
    size_t index; /* of the change */
    struct attrs came;
};

/*
 * What a filesystem or a server may accept and not keep: owner and group where ids are mapped,
 * set-gid of a directory for callers who are not in the group, any bit of the mode.
 */
enum aspect {
    ASPECT_GROUP = 1,
    ASPECT_SETGID = 2,
    ASPECT_MODE = 4,
    ASPECT_OWNER = 8,
};

struct apply_result {
    uint8_t *outcomes;
    uint8_t *identities; /* u64 a change, little-endian; 0: not known */
    enum identity_kind identity_kind;
    size_t count;
    struct buffer failures; /* of struct apply_failure */
    struct buffer stamps;   /* of struct apply_stamp */
    struct buffer came;     /* of struct apply_came */
    int64_t first_ctime;    /* of the first change, ns; 0: nothing was changed */
    uint8_t kept;           /* aspects that changes have shown to be kept, of earlier calls, too */
    bool is_mismatch; /* a change lost an aspect that was not shown to be kept: end the call */
};

/* Make room for the outcomes and identities of so many changes; `count` is left as it is. */
int apply_result_reserve(struct apply_result *result, size_t count);

void apply_result_free(struct apply_result *result);

/* Note the identity of a change's entry after it. */
void apply_set_identity(struct apply_result *result, size_t index, uint64_t identity);

/* Add a failure; `error` is -errno, or 0 where only the note says what is wrong. */
int apply_put_failure(struct apply_result *result, size_t index, const char *operation, int error,
                      const char *note);

/*
 * Judge what came of a change of `before` to `wanted`: OUTCOME_CHANGED, or OUTCOME_FAILED if it is
 * something else, which is noted.
 */
int apply_read_back(struct apply_result *result, size_t index, struct attrs before,
                    struct attrs wanted, struct attrs came);

int apply_put_stamp(struct apply_result *result, size_t index, int64_t ctime);

/* Note the ctime of a change that is found made, if none is earlier. */
void apply_note_ctime(struct apply_result *result, int64_t ctime);

/* Say whether an outcome shows that changes are permitted here. */
bool outcome_is_success(int outcome);

/* The note of an EROFS where only a part of the share is read-only: a mount, or a snapshot. */
#define READ_ONLY_PART "read-only at this place"

/*
 * Say whether a refused call with this note ends the whole apply: on a read-only share, and after
 * `limit` (0: none) calls that were denied, which *denied counts, before the first success. With
 * any other note than READ_ONLY_PART it is that entry which is protected, and others may not be.
 */
bool refusal_ends(int error, const char *note, bool succeeded, int64_t limit, int64_t *denied);

#endif
