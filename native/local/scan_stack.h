/*
 * What the files of the walk (scan.h) share.
 *
 *     scan.c          the loop, groups, limits; one scan from start to end
 *     scan_dir.c      directories: opened, read, entered
 *     scan_entry.c    directories and files against the policy
 *     scan_errors.c   what could not be looked at: gone, to be retried, or failed
 *     scan_skip.c     what is skipped: excluded, a snapshot, on another filesystem
 *     scan_stack.c    the stack of levels, names, and frames
 *
 *     struct walk         one scan
 *     struct walk_level   a directory on the stack: its own change, and its names that are left
 *     struct walk_entry   a name in the deepest level; a path, for a directory further down
 *
 * The levels of the walk are a stack beside that of the dirchain (dirchain.h), which has their
 * paths and descriptors. Their names lie in two buffers, each name as u8 length, bytes, NUL:
 *
 *     entries       of the deepest level only: all are looked at before a directory is entered
 *     directories   of all levels: [ level 0 | level 1 | ... | deepest ]; each level knows its part
 *
 * The levels of a unit's groups stay on the stack after their names are done, as long as the next
 * group lies below them: what a walk over a deep chain leaves over is one group a level, and each
 * is opened from the one before.
 *
 * Functions return 0 or -ENOMEM unless they say otherwise: what goes wrong with an entry goes into
 * the result.
 */

#ifndef ARCHIPMIGRATE_LOCAL_SCAN_STACK_H
#define ARCHIPMIGRATE_LOCAL_SCAN_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/changes.h"
#include "local/dirchain.h"
#include "local/scan.h"

/* Bytes of dirents that one call reads: more gains nothing, less costs calls. */
#define LISTING_BYTES ((size_t)64 * 1024)

struct walk_level {
    size_t begin;  /* of its part of `directories` */
    size_t next;   /* of these that is not entered yet */
    size_t frame;  /* the number of its frame among those of directories, once that is written */
    bool is_named; /* its names come from the unit, not from reading the directory */
    bool must_change;
    struct change own;
};

struct walk {
    const struct local_scan_request *request;
    struct scan_result *found; /* in `result` */
    struct local_scan_result *result;
    struct dirchain chain;
    struct walk_level *levels;
    size_t levels_room;
    struct buffer entries;
    size_t entry; /* that is looked at next */
    struct buffer directories;
    struct buffer too_long; /* names that no unit can hold, each u8 d_type, bytes, NUL */
    struct buffer path;     /* for building */
    size_t entered;         /* levels that have their frames in the changes */
    int64_t looks;
    int64_t min_looks; /* before a limit counts */
    int64_t deadline;
    bool is_counting;
    bool is_bounded; /* mounts are known: `mount` is compared, else `device` */
    uint64_t device;
    uint64_t mount;
    uint8_t *listing; /* dirents, or the names of extended attributes */
};

struct walk_entry {
    const char *name;
    size_t length;
};

/* ---- scan_stack.c */

struct walk_level *walk_deepest(struct walk *walk);

/* Enter a directory; takes over its descriptor (-1: nothing will be looked at in it). */
int walk_enter(struct walk *walk, const struct walk_level *level, struct walk_entry entry,
               uint64_t inode, int fd);

/* Leave the deepest level, with its own change, if it has one. */
int walk_leave(struct walk *walk);

/* Write the frames that enter the directories on the stack, those that are not written yet. */
int walk_write_enters(struct walk *walk);

/* Count an entry of a kind, unless it is counted already. */
void walk_count(struct walk *walk, int64_t *kind, bool is_counting);

/* Append a name to a buffer of names (-EINVAL: it is too long); take the name at *at. */
int walk_put_name(struct buffer *names, const void *name, size_t length);
struct walk_entry walk_take_name(const struct buffer *names, size_t *at);

/* Add the names between two offsets to a group; return how many, or -ENOMEM. */
int64_t walk_put_names(struct group_writer *writer, enum hint hint, const struct buffer *names,
                       size_t from, size_t to);

/* Set walk->path to the path of an entry of the deepest level (an empty name: of that itself). */
int walk_build_path(struct walk *walk, struct walk_entry entry);

/* ---- scan_errors.c */

bool walk_is_no_directory(int error);

/* The directory of a group could not be opened. */
int walk_fail_group(struct walk *walk, const struct group_reader *group, int error);

/* An entry of the deepest level could not be opened or looked at, as its hint says. */
int walk_fail_entry(struct walk *walk, struct walk_entry entry, enum hint hint, int error);

/* A directory could not be read. Transient errors are retried for all of it, if `retries`. */
int walk_fail_directory(struct walk *walk, struct walk_entry directory, int error, bool retries);

/* ---- scan_skip.c */

/* Return why a directory of the deepest level is not even opened, by its name; NULL: it is. */
const char *walk_reason_to_pass(const struct walk *walk, struct walk_entry entry);

/*
 * Return why an open directory is not entered, NULL: it is. `entry` is its name, or its path from
 * the deepest level.
 */
const char *walk_reason_to_skip(const struct walk *walk, struct walk_entry entry, int fd,
                                const struct status *status);

/* Say whether a file of a directory is itself a mount, which is not to be changed. */
bool walk_is_mounted_file(const struct walk *walk, int directory, struct walk_entry entry);

/* Skip an entry of the deepest level, for that reason. */
int walk_skip(struct walk *walk, struct walk_entry entry, const char *reason);

/* ---- scan_entry.c */

/* Look at one entry of the deepest level by name, and note what must change. */
int walk_look_at(struct walk *walk, struct walk_entry entry, bool was_directory);

/* Note a directory's own change, if it does not comply. */
void walk_judge_directory(struct walk *walk, struct walk_level *level, const struct status *status);

/* Note an ACL, or file capabilities, of what must change; name NULL: of the directory itself. */
int walk_look_at_xattrs(struct walk *walk, int directory, const char *name, struct walk_entry entry,
                        uint32_t mode);

/* ---- scan_dir.c */

/*
 * Open a directory (`reads`: for reading, else pinned) and get its status; the descriptor or
 * -errno. A directory of the caller's own that may not be read is pinned: it is_closed.
 */
int walk_open_directory(const struct walk *walk, int directory, struct walk_entry entry, bool reads,
                        struct status *status);

/*
 * Read the names of an open directory and enter it, unless it is outside. Takes over `fd`. That a
 * closed one cannot be read is a failure, and may be besides a change of its own.
 */
int walk_read_directory(struct walk *walk, struct walk_entry entry, int fd,
                        const struct status *status, bool is_counting);

/* Open, read and enter a directory of the deepest level. */
int walk_descend(struct walk *walk, struct walk_entry entry);

/* Read the next chunks of a wide directory; takes over the cursor. */
int walk_read_cursor(struct walk *walk);

#endif
