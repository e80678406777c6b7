/*
 * Changes that are chosen from a whole buffer (changes.h), for an undo: which are put back, and
 * which have to be looked at one by one. archipmigrate/perms/chosen.py does the same in Python.
 *
 *     struct chosen          a buffer that was checked, and a byte a change: 0, or it is chosen
 *     struct chosen_number   how many are chosen
 *     struct chosen_reader   yields those that are chosen, each with its path
 *
 * What is read is not trusted: -EINVAL for all that is not well-formed, as in changes.h, and unless
 * there are as many bytes as changes.
 */

#ifndef ARCHIPMIGRATE_CORE_CHOSEN_H
#define ARCHIPMIGRATE_CORE_CHOSEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/changes.h"

struct chosen {
    const uint8_t *changes;
    size_t length;
    size_t first; /* offset of the first frame */
    struct ids ids;
    const uint8_t *is_chosen;
    size_t count; /* of changes */
};

/* Check the buffer and the bytes that `chosen` has; complete it. */
int chosen_check(struct chosen *chosen);

struct chosen_number {
    size_t changes;
    size_t directories; /* among them */
};

/*
 * Write all changes to `to`, which has room for them: those that are not chosen are dropped
 * (FLAG_DROPPED). Count the others.
 */
struct chosen_number chosen_drop_others(const struct chosen *chosen, uint8_t *to);

/*
 * Choose fewer: write to `to` a byte a change, 1 for those of some inodes, which are packed u64 in
 * ascending order.
 */
void chosen_with_inodes(const struct chosen *chosen, const uint8_t *inodes, size_t inode_count,
                        uint8_t *to);

struct chosen_reader {
    const struct chosen *chosen;
    size_t at;           /* of the next frame */
    size_t index;        /* of the next change */
    struct buffer stack; /* of the directories that it is in */
    struct frame frame;  /* of the change that was read */
    size_t offset;       /* where that begins */
    struct buffer path;
    uint64_t within; /* inode of its directory, or (a directory) its own */
    bool is_own;     /* it is a directory */
};

/* Begin to read; read the next change: 1, 0 at the end, or -ENOMEM. */
void chosen_begin(struct chosen_reader *reader, const struct chosen *chosen);
int chosen_next(struct chosen_reader *reader);
void chosen_reader_free(struct chosen_reader *reader);

#endif
