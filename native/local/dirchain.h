/*
 * The chain of directories from the root to where a walk, or apply, is: on few descriptors.
 *
 *     struct dirchain_level   one directory of the chain
 *     struct dirchain         the chain, the path to its end, and which of its descriptors are open
 *
 * Invariant: every directory in the chain can be reached again without `..` and without following a
 * link, and is the one (by inode) that was entered, however deep the chain is and however few of
 * its descriptors are open.
 *
 * The deepest limit/2 directories stay open (the window). Above them every `spacing`-th stays open
 * (the ladder); `spacing` doubles whenever the ladder gets too long:
 *
 *     root . . . rung . . . rung . . . rung . . . . . . [ window ]
 *
 * A closed directory is opened again from the nearest open one above it. With openat2 one call
 * passes all levels between that one and the window: only the inode at the end of the way has to be
 * right.
 */

#ifndef ARCHIPMIGRATE_LOCAL_DIRCHAIN_H
#define ARCHIPMIGRATE_LOCAL_DIRCHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/system.h"

struct dirchain_level {
    size_t start; /* of its name in the path; the outermost name, and others, may be paths */
    size_t end;
    uint64_t inode;
    int fd;      /* -1: closed */
    bool is_pin; /* it is O_PATH */
};

struct dirchain {
    int root;
    const struct features *features;
    struct dirchain_level *levels;
    size_t depth;
    size_t room;
    struct buffer path; /* of the deepest directory, from the root */
    size_t *open;       /* indices of open levels, ascending */
    size_t open_count;
    size_t window;
    size_t ladder;
    size_t spacing;
};

/* Keep at most about `limit` descriptors open besides the root's, which stays the caller's. */
int dirchain_init(struct dirchain *chain, int root, size_t limit, const struct features *features);

/* Leave all directories and free the chain. */
void dirchain_free(struct dirchain *chain);

/* Enter a directory that is open as `fd` (-1: closed). Takes `fd` over, also on an error. */
int dirchain_push(struct dirchain *chain, const void *name, size_t length, uint64_t inode, int fd,
                  bool is_pin);

/* Leave the deepest directory. */
void dirchain_pop(struct dirchain *chain);

/*
 * Leave it and return its descriptor, which the caller has to close; -1 if it was closed, or is
 * O_PATH.
 */
int dirchain_pop_open(struct dirchain *chain);

/* Say whether the descriptor of the deepest directory is O_PATH. */
bool dirchain_is_pin(const struct dirchain *chain);

/*
 * Return a descriptor of the deepest directory, which stays the chain's; it is opened again if it
 * was closed. -ESTALE if another directory is in its place now.
 */
int dirchain_fd(struct dirchain *chain);

#endif
