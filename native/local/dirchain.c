#define _GNU_SOURCE
#include "local/dirchain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a process may have open at most (fs.nr_open is 1048576): above that a limit means nothing. */
#define MOST_DESCRIPTORS 1048576

int levels_init(struct levels *levels, int root, size_t limit, const struct features *features)
{
    if (limit > MOST_DESCRIPTORS)
        limit = MOST_DESCRIPTORS;
    size_t window = limit / 2 > 2 ? limit / 2 : 2;
    size_t ladder = limit > window + 2 ? limit - window - 1 : 1;
    *levels = (struct levels){
        .root = root,
        .features = features,
        .window = window,
        .ladder = ladder,
        .spacing = window,
    };
    /* What was held, what is pushed, and a window that was found again. */
    levels->held = malloc((2 * window + ladder + 1) * sizeof(*levels->held));
    return levels->held ? 0 : -ENOMEM;
}

void levels_free(struct levels *levels)
{
    while (levels->depth > 0)
        levels_pop(levels);
    free(levels->chain);
    free(levels->held);
    buffer_free(&levels->path);
    *levels = (struct levels){.root = -1};
}

static bool stays_open(const struct levels *levels, size_t index, size_t bottom)
{
    return index >= bottom || index % levels->spacing == 0;
}

/* Close what is neither near the end of the chain nor a rung of the ladder. */
static void shed(struct levels *levels)
{
    if (levels->held_count <= levels->window + levels->ladder)
        return;
    size_t bottom = levels->depth > levels->window ? levels->depth - levels->window : 0;
    for (;;) {
        size_t keep = 0;
        for (size_t i = 0; i < levels->held_count; i++)
            keep += stays_open(levels, levels->held[i], bottom);
        if (keep <= levels->window + levels->ladder / 2 + 1)
            break;
        if (keep < levels->held_count && keep <= levels->window + levels->ladder)
            break;
        levels->spacing *= 2;
    }
    size_t kept = 0;
    for (size_t i = 0; i < levels->held_count; i++) {
        size_t index = levels->held[i];
        if (stays_open(levels, index, bottom)) {
            levels->held[kept++] = index;
        } else {
            close(levels->chain[index].fd);
            levels->chain[index].fd = -1;
        }
    }
    levels->held_count = kept;
}

static int make_room(struct levels *levels)
{
    if (levels->depth < levels->room)
        return 0;
    size_t room = levels->room ? levels->room * 2 : 64;
    struct level *chain = realloc(levels->chain, room * sizeof(*chain));
    if (!chain)
        return -ENOMEM;
    levels->chain = chain;
    levels->room = room;
    return 0;
}

int levels_push(struct levels *levels, const void *name, size_t length, uint64_t inode, int fd,
                bool is_pin)
{
    struct buffer *path = &levels->path;
    size_t before = path->length;
    int result = make_room(levels);
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
    levels->chain[levels->depth++] = (struct level){start, path->length, inode, fd, is_pin};
    if (fd >= 0) {
        levels->held[levels->held_count++] = levels->depth - 1;
        shed(levels);
    }
    return 0;
}

void levels_pop(struct levels *levels)
{
    struct level *level = &levels->chain[--levels->depth];
    if (level->fd >= 0) {
        close(level->fd);
        levels->held_count--;
    }
    levels->path.length = levels->depth ? levels->chain[levels->depth - 1].end : 0;
}

int levels_pop_open(struct levels *levels)
{
    struct level *level = &levels->chain[levels->depth - 1];
    int fd = level->is_pin ? -1 : level->fd;
    if (fd >= 0) {
        level->fd = -1;
        levels->held_count--;
    }
    levels_pop(levels);
    return fd;
}

bool levels_is_pin(const struct levels *levels)
{
    return levels->depth == 0 || levels->chain[levels->depth - 1].is_pin;
}

/* Open the directory `to` from the one `from` (open as `at`) above it; -ESTALE if it is another. */
static int find_again(struct levels *levels, int at, size_t from, size_t to)
{
    const char *path = (const char *)levels->path.bytes;
    size_t start = levels->chain[from].start;
    const struct level *level = &levels->chain[to];
    int fd =
        sys_open_beneath(at, path + start, level->end - start, PIN_DIRECTORY, levels->features);
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

static int reopen(struct levels *levels)
{
    size_t next = levels->held_count ? levels->held[levels->held_count - 1] + 1 : 0;
    int at = next ? levels->chain[next - 1].fd : levels->root;
    size_t keep = levels->depth > levels->window ? levels->depth - levels->window : 0;
    int passing = -1; /* a descriptor that is needed for the next step only */
    if (next < keep) {
        passing = at = find_again(levels, at, next, keep - 1);
        if (at < 0)
            return at;
        next = keep;
    }
    for (; next < levels->depth; next++) {
        int fd = find_again(levels, at, next, next);
        if (passing >= 0)
            close(passing);
        passing = -1;
        if (fd < 0)
            return fd;
        levels->chain[next].fd = fd;
        levels->chain[next].is_pin = true;
        levels->held[levels->held_count++] = next;
        at = fd;
    }
    shed(levels);
    return 0;
}

int levels_fd(struct levels *levels)
{
    if (levels->depth == 0)
        return levels->root;
    struct level *level = &levels->chain[levels->depth - 1];
    if (level->fd < 0) {
        int result = reopen(levels);
        if (result < 0)
            return result;
    }
    return level->fd;
}
