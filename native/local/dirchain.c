/* The chain of directories on few descriptors (dirchain.h). */

#define _GNU_SOURCE
#include "local/dirchain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A process cannot have more open (fs.nr_open): a higher limit means nothing. */
#define MAX_DESCRIPTORS 1048576

int dirchain_init(struct dirchain *chain, int root, size_t limit, const struct features *features)
{
    if (limit > MAX_DESCRIPTORS)
        limit = MAX_DESCRIPTORS;
    size_t window = limit / 2 > 2 ? limit / 2 : 2;
    size_t ladder = limit > window + 2 ? limit - window - 1 : 1;
    *chain = (struct dirchain){
        .root = root,
        .features = features,
        .window = window,
        .ladder = ladder,
        .spacing = window,
    };
    /* Room for all that are open, one that is pushed, and a window that is opened again. */
    chain->open = malloc((2 * window + ladder + 1) * sizeof(*chain->open));
    return chain->open ? 0 : -ENOMEM;
}

void dirchain_free(struct dirchain *chain)
{
    while (chain->depth > 0)
        dirchain_pop(chain);
    free(chain->levels);
    free(chain->open);
    buffer_free(&chain->path);
    *chain = (struct dirchain){.root = -1};
}

static bool stays_open(const struct dirchain *chain, size_t index, size_t bottom)
{
    return index >= bottom || index % chain->spacing == 0;
}

/*
 * Close what is neither in the window nor a rung of the ladder, if too many are open. Half of the
 * ladder is left free, so that this is not done at each step.
 */
static void shed(struct dirchain *chain)
{
    if (chain->open_count <= chain->window + chain->ladder)
        return;
    size_t bottom = chain->depth > chain->window ? chain->depth - chain->window : 0;
    for (;;) {
        size_t staying = 0;
        for (size_t i = 0; i < chain->open_count; i++)
            staying += stays_open(chain, chain->open[i], bottom);
        if (staying <= chain->window + chain->ladder / 2 + 1)
            break;
        if (staying < chain->open_count && staying <= chain->window + chain->ladder)
            break;
        chain->spacing *= 2;
    }
    size_t still_open = 0;
    for (size_t i = 0; i < chain->open_count; i++) {
        size_t index = chain->open[i];
        if (stays_open(chain, index, bottom)) {
            chain->open[still_open++] = index;
        } else {
            close(chain->levels[index].fd);
            chain->levels[index].fd = -1;
        }
    }
    chain->open_count = still_open;
}

static int make_room(struct dirchain *chain)
{
    if (chain->depth < chain->room)
        return 0;
    size_t room = chain->room ? chain->room * 2 : 64;
    struct dirchain_level *levels = realloc(chain->levels, room * sizeof(*levels));
    if (!levels)
        return -ENOMEM;
    chain->levels = levels;
    chain->room = room;
    return 0;
}

int dirchain_push(struct dirchain *chain, const void *name, size_t length, uint64_t inode, int fd,
                  bool is_pin)
{
    struct buffer *path = &chain->path;
    size_t before = path->length;
    int result = make_room(chain);
    if (result == 0 && before > 0)
        result = buffer_put(path, "/", 1);
    size_t start = path->length;
    if (result == 0)
        result = buffer_put(path, name, length);
    if (result < 0) {
        path->length = before;
        if (fd >= 0)
            close(fd);
        return result;
    }
    chain->levels[chain->depth++] = (struct dirchain_level){start, path->length, inode, fd, is_pin};
    if (fd >= 0) {
        chain->open[chain->open_count++] = chain->depth - 1;
        shed(chain);
    }
    return 0;
}

void dirchain_pop(struct dirchain *chain)
{
    struct dirchain_level *level = &chain->levels[--chain->depth];
    if (level->fd >= 0) {
        close(level->fd);
        chain->open_count--;
    }
    chain->path.length = chain->depth ? chain->levels[chain->depth - 1].end : 0;
}

int dirchain_pop_open(struct dirchain *chain)
{
    struct dirchain_level *level = &chain->levels[chain->depth - 1];
    int fd = level->is_pin ? -1 : level->fd;
    if (fd >= 0) {
        level->fd = -1;
        chain->open_count--;
    }
    dirchain_pop(chain);
    return fd;
}

bool dirchain_is_pin(const struct dirchain *chain)
{
    return chain->depth == 0 || chain->levels[chain->depth - 1].is_pin;
}

/*
 * Open level `to` again, below the directory `at`: the names of levels `from` to `to` lead there.
 */
static int open_again(struct dirchain *chain, int at, size_t from, size_t to)
{
    const char *path = (const char *)chain->path.bytes;
    size_t start = chain->levels[from].start;
    const struct dirchain_level *level = &chain->levels[to];
    int fd = sys_open_beneath(at, path + start, level->end - start, PIN_DIRECTORY, chain->features);
    if (fd < 0)
        return fd;
    struct stat found;
    int result = sys_pinned_status(fd, &found);
    if (result == 0 && found.st_ino != level->inode)
        result = -ESTALE;
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

/* Open the window again, from the nearest open directory above it. */
static int reopen(struct dirchain *chain)
{
    size_t next = chain->open_count ? chain->open[chain->open_count - 1] + 1 : 0;
    int at = next ? chain->levels[next - 1].fd : chain->root;
    size_t bottom = chain->depth > chain->window ? chain->depth - chain->window : 0;
    int passing = -1; /* above the window: needed for the next step only */
    if (next < bottom) {
        passing = at = open_again(chain, at, next, bottom - 1);
        if (at < 0)
            return at;
        next = bottom;
    }
    for (; next < chain->depth; next++) {
        int fd = open_again(chain, at, next, next);
        if (passing >= 0)
            close(passing);
        passing = -1;
        if (fd < 0)
            return fd;
        chain->levels[next].fd = fd;
        chain->levels[next].is_pin = true;
        chain->open[chain->open_count++] = next;
        at = fd;
    }
    shed(chain);
    return 0;
}

int dirchain_fd(struct dirchain *chain)
{
    if (chain->depth == 0)
        return chain->root;
    struct dirchain_level *level = &chain->levels[chain->depth - 1];
    if (level->fd < 0) {
        int result = reopen(chain);
        if (result < 0)
            return result;
    }
    return level->fd;
}
