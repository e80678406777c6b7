/*
 * Groups: the body of a unit, directories and in each the names to look at.
 * archipmigrate/packed/groups.py documents the layout.
 *
 *     struct group_reader   iterates over the groups of a unit; holds the last group that was read
 *     struct name           one name of a group
 *     struct group_writer   writes groups: what a unit leaves over, chunks, what is to be retried
 *
 * What is read is not trusted: -EINVAL for anything that is not the layout, and for any name that
 * could lead anywhere but to an entry of its directory.
 */

#ifndef ARCHIPMIGRATE_CORE_GROUPS_H
#define ARCHIPMIGRATE_CORE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum hint {
    HINT_WALK = 'w',
    HINT_SELF = 's',
    HINT_DIRECTORY = 'd',
    HINT_ENTRY = 'e',
};

struct group_reader {
    const uint8_t *body;
    size_t length;
    size_t at;
    struct buffer path; /* of the group */
    size_t keep;        /* bytes that this path has in common with that of the group before */
    uint64_t inode;
    const uint8_t *names;
    size_t names_length;
    size_t count; /* of names */
    bool walks;   /* has a HINT_WALK */
    bool itself;  /* has a HINT_SELF */
};

struct name {
    uint8_t hint;
    uint8_t length;
    const uint8_t *bytes;
};

/* Read the next group: 1, or 0 at the end of the body. */
int group_read(struct group_reader *reader);
void group_reader_free(struct group_reader *reader);

/* Take the name at *at of names that were read; false at their end. */
bool group_next_name(const uint8_t **at, const uint8_t *end, struct name *name);

/* Set *path* to the path of a name, from the root. */
int group_name_path(const struct group_reader *group, const struct name *name, struct buffer *path);

/* Return the operation that a failure to look at a name is reported with. */
const char *hint_operation(enum hint hint);

struct group_writer {
    struct buffer body;
    struct buffer path; /* of the last group */
    size_t names;       /* written in all groups */
    size_t start;       /* of the open group */
};

/* Begin a group; its path is known to have the first `same` bytes of the path before. */
int group_begin(struct group_writer *writer, const void *path, size_t length, size_t same,
                uint64_t inode);

/* Add a name to the open group. -EINVAL: it has more than 255 bytes. */
int group_name(struct group_writer *writer, enum hint hint, const void *name, size_t length);

/* Complete the open group. */
void group_end(struct group_writer *writer);
void group_writer_free(struct group_writer *writer);

/* Write groups of one name, and of all names of a group that was read. */
int group_put_one(struct group_writer *writer, const struct buffer *path, uint64_t inode,
                  enum hint hint, const void *name, size_t length);
int group_put_copy(struct group_writer *writer, const struct group_reader *group, size_t same);

#endif
