/*
 * The packed buffers that pass between Python and C: archipmigrate/frames.py has their layout.
 *
 *     struct buffer         bytes that grow
 *     struct group_reader   goes through the groups of a unit; holds the group that was read last
 *     struct name           one name of a group
 *     struct group_writer   writes groups: what a unit leaves over, chunks, what is to be tried again
 *     struct change         one change, without its place
 *     struct frame          one frame of changes
 *
 * What is read is not trusted: anything that is not the layout, and any name that could lead elsewhere
 * than to an entry of its directory, gives -EINVAL.
 */

#ifndef ARCHIPMIGRATE_CORE_FRAMES_H
#define ARCHIPMIGRATE_CORE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- bytes that grow */

struct buffer {
    uint8_t *bytes;
    size_t length;
    size_t room;
};

/* Make room for `more` bytes; -ENOMEM, also beyond 1 GiB. */
int buffer_reserve(struct buffer *buffer, size_t more);
int buffer_put(struct buffer *buffer, const void *bytes, size_t length);
void buffer_free(struct buffer *buffer);

/* ---- groups */

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
    size_t keep;        /* so much of it is the beginning of the path before */
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

/* Put a name's path, from the root, in the place of what is in *path*. */
int group_name_path(const struct group_reader *group, const struct name *name, struct buffer *path);

/* What failed, for people and for jobs, where a name could not be looked at. */
const char *hint_operation(enum hint hint);

struct group_writer {
    struct buffer body;
    struct buffer path;
    size_t names; /* written in all groups */
    size_t start; /* of the group that was begun */
};

/* Begin a group; the first `same` bytes of its path are known to be those of the path before. */
int group_begin(struct group_writer *writer, const void *path, size_t length, size_t same,
                uint64_t inode);
int group_name(struct group_writer *writer, enum hint hint, const void *name, size_t length);
int group_names(struct group_writer *writer, const uint8_t *names, size_t length, size_t count);
void group_end(struct group_writer *writer);
void group_writer_free(struct group_writer *writer);

/* ---- changes */

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
    FLAG_GRANTED = 8,
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

int changes_put_header(struct buffer *changes, uint32_t new_gid);
int changes_put_enter(struct buffer *changes, const void *name, size_t length, uint64_t inode);
int changes_put_change(struct buffer *changes, enum kind kind, const struct change *change,
                       const void *name, size_t length);
int changes_put_leave(struct buffer *changes);

/*
 * See that changes are well-formed to their end; give the new group, where the first frame is, and how
 * many changes there are.
 */
int changes_check(const uint8_t *changes, size_t length, uint32_t *new_gid, size_t *first,
                  size_t *count);

/* Read the frame at *at and go to the next one. */
int frame_read(const uint8_t *changes, size_t length, size_t *at, struct frame *frame);

#endif
