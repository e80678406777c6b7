/*
 * Files of many volumes, made, linked and removed together: each step is taken for all of them
 * before the next one, so that their syncs meet in few commits of the filesystem.
 * archipmigrate/maps/blocker/files.py does the same in Python and documents the steps.
 *
 *     struct files_root   a directory, and who owns what is made below it
 *     struct new_file     a file to make
 *     struct part_link    a part to link to its name
 *     struct old_file     a file to remove
 *
 * Each file has an `error` of its own, an errno or 0; an error of one leaves the others alone.
 * Directories are paths below the root; no link in them is followed. Names have been checked.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_FILES_H
#define ARCHIPMIGRATE_MAPFILE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/system.h"

struct files_root {
    int fd;
    int64_t uid, gid; /* -1: whoever makes it */
    struct features features;
};

struct new_file {
    const char *directory, *name;
    const uint8_t *content;
    size_t directory_length, length;
    uint64_t inode; /* once it is made */
    int error;
    int fd; /* while it is being made */
};

struct part_link {
    const char *directory, *part, *name;
    size_t directory_length;
    uint64_t inode; /* of the part */
    int error;
};

struct old_file {
    const char *directory, *name;
    const uint8_t *content; /* NULL: not compared */
    size_t directory_length, content_length;
    uint64_t inode; /* 0: not compared, nor are `length` and `mtime` */
    int64_t length, mtime;
    int error;
    bool removed;
};

/*
 * Make files, and the directories that are missing; what has their names is removed first. On
 * return their content is durable, and with `named` their names; they were read back and compared.
 * EIO: one reads back differently. A file with an error is removed again if it was made. -ENOMEM.
 */
int files_make(const struct files_root *root, struct new_file *files, size_t count, bool named);

/*
 * Link parts to their names, and remove the parts; with `durable`, the names are durable before
 * that. EEXIST: another file has the name. The part goes, whatever happens.
 */
void files_link(const struct files_root *root, struct part_link *links, size_t count, bool durable);

/*
 * Remove files, unless their names are other files' by now; with `durable`, that is durable on
 * return. ESTALE: a file was changed, or its content is another.
 */
void files_remove(const struct files_root *root, struct old_file *files, size_t count,
                  bool durable);

#endif
