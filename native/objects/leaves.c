/* Directories of the third level (leaves.h). */

#define _GNU_SOURCE
#include "objects/leaves.h"

#include <errno.h>
#include <unistd.h>

#include "core/listing.h"
#include "objects/moves.h"

#define SECOND_LEVEL 65536
#define SECOND_PATH  5 /* aa/bb */
#define READ         255
#define ASKED        1 /* once, by a call for its leaf; then it is read */

struct reading {
    uint8_t *leaves;
    const char *directory;
};

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Return the number of two hex digits, or -1. */
static int byte_of(const char *digits)
{
    int high = digit(digits[0]);
    int low = high < 0 ? -1 : digit(digits[1]);
    return low < 0 ? -1 : high << 4 | low;
}

/* Return the index of a directory of the second level, or -1: no place is in it. */
static int index_of(const char *directory)
{
    int first = byte_of(directory);
    int second = byte_of(directory + 3);
    return first < 0 || second < 0 ? -1 : first << 8 | second;
}

static uint8_t *bits_of(uint8_t *leaves, int index, int leaf)
{
    return leaves + SECOND_LEVEL + (size_t)index * 32 + leaf / 8;
}

void leaves_note_name(uint8_t *leaves, const char *directory, const char *name)
{
    int index = index_of(directory);
    int leaf = byte_of(name);
    if (index >= 0 && leaf >= 0 && !name[2])
        __atomic_fetch_or(bits_of(leaves, index, leaf), 1 << leaf % 8, __ATOMIC_RELAXED);
}

void leaves_note_all(uint8_t *leaves, const char *directory)
{
    int index = index_of(directory);
    if (index >= 0)
        __atomic_store_n(leaves + index, READ, __ATOMIC_RELEASE);
}

static int note_entry(void *context, const struct dirent64 *entry)
{
    const struct reading *reading = context;
    leaves_note_name(reading->leaves, reading->directory, entry->d_name);
    return 0;
}

static void read_leaves(uint8_t *leaves, int root, const char *directory,
                        const struct features *features)
{
    struct reading reading = {leaves, directory};
    int fd = listing_open(root, directory, SECOND_PATH, features);
    int result = fd == -ENOENT ? 0 : fd < 0 ? fd : listing_read(fd, note_entry, &reading);
    if (fd >= 0)
        close(fd);
    if (result == 0)
        leaves_note_all(leaves, directory);
}

bool leaves_lack(uint8_t *leaves, int root, const uint8_t *place, const struct features *features)
{
    int index = place[0] << 8 | place[1];
    uint8_t known = __atomic_load_n(leaves + index, __ATOMIC_ACQUIRE);
    if (known == ASKED) {
        char path[PLACE_LENGTH + 1];
        move_place_path(place, path);
        path[SECOND_PATH] = '\0';
        read_leaves(leaves, root, path, features);
        known = __atomic_load_n(leaves + index, __ATOMIC_ACQUIRE);
    }
    if (known == READ) {
        uint8_t bits = __atomic_load_n(bits_of(leaves, index, place[2]), __ATOMIC_RELAXED);
        return !(bits >> place[2] % 8 & 1);
    }
    if (known < ASKED)
        __atomic_compare_exchange_n(leaves + index, &known, known + 1, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
    return false;
}
