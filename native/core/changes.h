/*
 * Changes: pre-images in frames of directories, what an entry was and what it is to become.
 * archipmigrate/packed/changes.py documents the layout.
 *
 *     struct ids      the owner and group that entries get
 *     struct change   one change, without its path
 *     struct frame    one frame that was read: enter a directory, change an entry, leave
 *
 * What is read is not trusted: -EINVAL for anything that is not the layout, and for any name that
 * could lead anywhere but to an entry of its directory.
 */

#ifndef ARCHIPMIGRATE_CORE_CHANGES_H
#define ARCHIPMIGRATE_CORE_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum kind {
    KIND_ENTER = 1,
    KIND_CHANGE = 2,
    KIND_LEAVE = 3,
    KIND_OWN = 4,
};

enum flag {
    FLAG_SETID = 1,
    FLAG_LINKED = 2,
    FLAG_DROPPED = 4,
};

#define NO_ID UINT32_MAX /* chown(2) takes it for "no change" */

struct ids {
    uint32_t uid; /* NO_ID: each entry keeps its owner */
    uint32_t gid;
};

struct change {
    uint8_t flags;
    uint16_t mode;
    uint16_t new_mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t inode;
    uint64_t size; /* with FLAG_SETID */
    int64_t mtime;
};

struct frame {
    enum kind kind;
    uint32_t length; /* of the name */
    const uint8_t *name;
    uint64_t inode;       /* KIND_ENTER */
    struct change change; /* KIND_CHANGE, KIND_OWN */
};

int changes_put_header(struct buffer *changes, bool is_bounded, struct ids ids);
int changes_put_enter(struct buffer *changes, const void *name, size_t length, uint64_t inode);
int changes_put_change(struct buffer *changes, enum kind kind, const struct change *change,
                       const void *name, size_t length);
int changes_put_leave(struct buffer *changes);

/*
 * Check that changes are well-formed to their end; give the new owner and group, the offset of the
 * first frame, and the number of changes.
 */
int changes_check(const uint8_t *changes, size_t length, struct ids *ids, size_t *first,
                  size_t *count);

/* Say whether changes that were checked are only for entries on the mount of the root. */
bool changes_are_bounded(const uint8_t *changes);

/* Read the frame at *at and go to the next one. */
int frame_read(const uint8_t *changes, size_t length, size_t *at, struct frame *frame);

#endif
