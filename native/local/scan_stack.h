/*
 * What the parts of the walk (walk.h) share.
 *
 *     walk.c    the loop, groups, limits; one scan from its beginning to its end
 *     read.c    directories: opened, read, entered
 *     look.c    directories and files against the policy
 *     lost.c    what could not be looked at
 *     place.c   the stack of places, names, and frames
 *
 *     struct walk    one scan
 *     struct place   a directory on the way: its own change, and its names still to be looked at
 *     struct entry   a name in the deepest place; a path, where that is not its parent
 *
 * Places are a stack beside that of the levels (levels.h), which has their paths. The names lie in two
 * buffers, each name as u8 length, bytes, NUL:
 *
 *     entries       of the deepest place only: all are looked at before a directory is entered
 *     directories   of all places: [ place 0 | place 1 | ... | deepest ]; each knows how far it is
 *
 * The places of a unit's groups stay on the stack after their names are done, as long as the next
 * group lies below them: what one walk over a deep chain leaves over is as many groups as there are
 * levels, and each is opened from the one before.
 *
 * Functions return 0 or -ENOMEM, if nothing else is said: what goes wrong with an entry goes into the
 * result.
 */

#ifndef ARCHIPMIGRATE_LOCAL_SCAN_STACK_H
#define ARCHIPMIGRATE_LOCAL_SCAN_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/changes.h"
#include "local/dirchain.h"
#include "local/scan.h"

/* Bytes of directory records for one call: more makes no difference, less costs calls. */
#define RECORDS ((size_t)64 * 1024)

struct place {
    size_t begin; /* of its directories */
    size_t next;  /* of them that is not entered yet */
    size_t frame; /* the number of its frame among those of directories, if that is written */
    bool named;   /* the names come from the unit, not from reading the directory */
    bool must_change;
    struct change own;
};

struct walk {
    const struct local_scan_request *ask;
    struct scan_result *found; /* in `result` */
    struct local_scan_result *result;
    struct levels levels;
    struct place *places;
    size_t room;
    struct buffer entries;
    size_t entry; /* that is looked at next */
    struct buffer directories;
    struct buffer path; /* built when one is needed */
    size_t entered;     /* so many levels have their frames in the changes */
    int64_t looks;
    int64_t fewest; /* looks before a limit counts */
    int64_t deadline;
    bool counting;
    bool is_bounded; /* `mount` is to be compared */
    uint64_t device;
    uint64_t mount;
    uint8_t *records;
};

struct entry {
    const char *name;
    size_t length;
};

/* ---- place.c */

struct place *deepest(struct walk *walk);

/* Go into a directory; takes over its descriptor (-1: nothing will be looked at in it). */
int enter(struct walk *walk, const struct place *place, struct entry entry, uint64_t inode, int fd);

/* Leave the deepest place, with its own change, if it has one. */
int leave(struct walk *walk);

/* Write the frames of the directories that lead to where the walk is. */
int flush(struct walk *walk);

/* Count an entry, if it is not counted already. */
void count(struct walk *walk, int64_t *kind, bool counting);

int put_name(struct buffer *names, const void *name, size_t length);

struct entry take_name(const struct buffer *names, size_t *at);

/* Add names to a group and return how many, or -ENOMEM. */
int64_t put_names(struct group_writer *writer, enum hint hint, const struct buffer *names,
                  size_t from, size_t to);

/* Build the path of an entry of the deepest directory (an empty name: of that itself). */
int build_path(struct walk *walk, struct entry entry);

/* ---- lost.c: it is counted as gone, put into `again`, or a failure */

bool is_no_directory(int error);

/* The directory of a group, at "open". */
int lost_group(struct walk *walk, const struct group_reader *group, int error);

/* An entry of the deepest place, at "open" or "stat". */
int lost_entry(struct walk *walk, struct entry entry, enum hint hint, int error);

/* A directory that could not be read; with `again`, what may pass is another look at it, whole. */
int lost_directory(struct walk *walk, struct entry directory, int error, bool again);

/* ---- look.c */

/* Look at one entry of the deepest place by name, and note what must change. */
int look(struct walk *walk, struct entry entry, bool was_directory);

/* Note a directory's own change, if it must. */
void judge_directory(struct walk *walk, struct place *place, const struct status *status);

/* Note an ACL, or file capabilities, of what must change; no name: of the directory itself. */
int look_at_attributes(struct walk *walk, int directory, const char *name, struct entry entry,
                       uint32_t mode);

/* ---- read.c */

/* Open a directory and look at it. */
int open_and_look(const struct walk *walk, int directory, struct entry entry, bool reads,
                  struct status *status);

/* Go into an open directory and take its names, or see that it is a border. Takes over `fd`. */
int enter_whole(struct walk *walk, struct entry entry, int fd, const struct status *status,
                bool counting);

/* Go into a directory of the deepest place. */
int descend(struct walk *walk, struct entry entry);

/* Go on with the reading of a wide directory; takes over the cursor. */
int walk_cursor(struct walk *walk);

#endif
