/*
 * The chain of directories from the root to where a worker is, on few descriptors.
 *
 * Invariant: every directory in the chain can be reached again without `..` and without following a
 * link, and is the one (by inode) that was entered, however deep and however few descriptors are held.
 *
 *     struct level    one directory of the chain
 *     struct levels   the chain, the path to its end, and which of its descriptors are open
 *
 * The deepest limit/2 directories stay open (the window); above them a ladder is kept, one every
 * `spacing` levels, with the spacing doubled whenever the ladder gets too long:
 *
 *     root . . . rung . . . rung . . . rung . . . . . . [ window ]
 *
 * A directory that was closed is found again from the nearest one above it that is open. Where openat2
 * is there, what lies between that one and the window is passed in one call: it is the inode at the end
 * of the way that must be right.
 */

#ifndef ARCHIPMIGRATE_LOCAL_DIRCHAIN_H
#define ARCHIPMIGRATE_LOCAL_DIRCHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/system.h"

struct level {
    size_t start; /* of its name in the path; the outermost name, and others, may be paths */
    size_t end;
    uint64_t inode;
    int fd;      /* -1: closed */
    bool is_pin; /* it is O_PATH */
};

struct levels {
    int root;
    const struct features *features;
    struct level *chain;
    size_t depth;
    size_t room;
    struct buffer path; /* of the deepest directory, from the root */
    size_t *held;       /* indices of open levels, ascending */
    size_t held_count;
    size_t window;
    size_t ladder;
    size_t spacing;
};

/* Hold at most about `limit` descriptors besides the root's, which stays the caller's. */
int levels_init(struct levels *levels, int root, size_t limit, const struct features *features);

/* Leave all directories and free what is held. */
void levels_free(struct levels *levels);

/* Go into a directory that is open as `fd`, which is taken over (closed on an error, too). */
int levels_push(struct levels *levels, const void *name, size_t length, uint64_t inode, int fd,
                bool is_pin);

/* Leave the deepest directory. */
void levels_pop(struct levels *levels);

/* Leave it; its descriptor is the caller's from now on. -1: it was closed, or is O_PATH. */
int levels_pop_open(struct levels *levels);

/* Say whether the descriptor that levels_fd gives is O_PATH. */
bool levels_is_pin(const struct levels *levels);

/*
 * Return a descriptor of the deepest directory, found again if it was closed; it stays ours. -ESTALE if
 * another directory has its place now.
 */
int levels_fd(struct levels *levels);

#endif
