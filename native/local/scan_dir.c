/*
 * Directories.
 *
 *     struct reading   the reading of one directory's names
 */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"

/* Less than RECORDS where wide directories are declared narrow: a call's names all go into one chunk. */
#define FEW_RECORDS 1024

/* More than an NFS client's threshold, with room for `.` and `..`: see use_some(). */
#define USED 16

struct reading {
    int fd;
    struct entry directory; /* its name; its path, if nothing is on the stack */
    uint64_t inode;
    size_t begin; /* of its directories' names */
    size_t names;
    size_t in_chunk;
    size_t cut; /* chunks that are complete */
    bool is_wide;
    bool has_more;
    int error;
};

/* ---- reading directories */

/* Put the names that were read last into a chunk of their own. */
static int cut_chunk(struct walk *walk, struct reading *reading)
{
    struct local_scan_result *found = walk->result;
    reading->in_chunk = 0;
    if (walk->entries.length == 0 && walk->directories.length == reading->begin)
        return 0;
    /* At most as many as there are in one go: is_over() ends a walk that has some. */
    size_t size = (found->chunk_count + 1) * sizeof(*found->chunks);
    struct group_writer *chunks = realloc(found->chunks, size);
    if (!chunks)
        return -ENOMEM;
    found->chunks = chunks;
    struct group_writer *chunk = &chunks[found->chunk_count++];
    *chunk = (struct group_writer){0};
    int result = build_path(walk, reading->directory);
    if (result == 0)
        result = group_begin(chunk, walk->path.bytes, walk->path.length, 0, reading->inode);
    if (result < 0)
        return result;
    int64_t names = put_names(chunk, HINT_ENTRY, &walk->entries, 0, walk->entries.length);
    if (names >= 0)
        names = put_names(chunk, HINT_DIRECTORY, &walk->directories, reading->begin,
                          walk->directories.length);
    if (names < 0)
        return (int)names;
    group_end(chunk);
    walk->entries.length = 0;
    walk->directories.length = reading->begin;
    return 0;
}

/* Put a name where it belongs by its type; what is no directory, or has no type, is looked at. */
static int sort_name(struct walk *walk, struct reading *reading, const struct dirent64 *record)
{
    const char *name = record->d_name;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
        return 0;
    const struct local_scan_request *ask = walk->ask;
    if (reading->names == ask->wide)
        reading->is_wide = true;
    if (reading->in_chunk == ask->wide && reading->cut + 1 < ask->chunks) {
        int result = cut_chunk(walk, reading);
        if (result < 0)
            return result;
        reading->cut++;
    }
    reading->names++;
    reading->in_chunk++;
    bool is_directory = record->d_type == DT_DIR;
    return put_name(is_directory ? &walk->directories : &walk->entries, name, strlen(name));
}

/*
 * Look at some of the names that were read last. Linux's NFS client asks for attributes with the names
 * (READDIRPLUS) only as long as somebody looks at more than 8 entries of a directory between two reads of
 * it (NFS_READDIR_CACHE_USAGE_THRESHOLD, fs/nfs/dir.c); else each look costs a LOOKUP later. These
 * looks cost no calls.
 */
static void use_some(const struct walk *walk, int fd, int size)
{
    struct stat unused;
    int looks = 0;
    for (int at = 0; at < size && looks < USED; looks++) {
        const struct dirent64 *record = (const void *)(walk->records + at);
        sys_entry_status(fd, record->d_name, &unused);
        at += record->d_reclen;
    }
}

/*
 * Read names until the end of the directory or, if it is wide, as many as are read in one go; what one
 * call brings is never cut, so that the descriptor stands where the reading goes on.
 */
static int read_names(struct walk *walk, struct reading *reading)
{
    const struct local_scan_request *ask = walk->ask;
    size_t most = ask->wide * 32; /* a record with a short name takes 24 or 32 bytes */
    most = most < FEW_RECORDS ? FEW_RECORDS : most > RECORDS ? RECORDS : most;
    walk->entries.length = walk->entry = 0;
    reading->begin = walk->directories.length;
    do {
        int size = sys_read_directory(reading->fd, walk->records, most);
        if (size <= 0) {
            reading->error = size;
            return 0;
        }
        for (int at = 0; at < size;) {
            const struct dirent64 *record = (const void *)(walk->records + at);
            int result = sort_name(walk, reading, record);
            if (result < 0)
                return result;
            at += record->d_reclen;
        }
        if (ask->remote && (size_t)size > most / 2)
            use_some(walk, reading->fd, size);
    } while (reading->names < ask->wide * ask->chunks || !reading->is_wide);
    reading->has_more = true;
    return 0;
}

/* Give out the names of a wide directory that were read; take over its descriptor. */
static int finish_wide(struct walk *walk, struct reading *reading)
{
    struct local_scan_result *found = walk->result;
    walk->looks++;
    int result = cut_chunk(walk, reading);
    if (result == 0 && reading->error < 0)
        result = lost_directory(walk, reading->directory, reading->error, false);
    if (result == 0 && reading->has_more) {
        result = build_path(walk, reading->directory);
        if (result == 0)
            result = scan_put_text(walk->found, &walk->path, &found->wide_path);
    }
    if (result < 0 || !reading->has_more) {
        close(reading->fd);
        return result;
    }
    found->wide = reading->fd;
    found->wide_inode = reading->inode;
    return 0;
}

/* ---- directories */

static int open_directory(const struct walk *walk, int directory, struct entry entry, bool reads)
{
    const struct features *features = &walk->ask->features;
    if (!reads)
        return sys_open_beneath(directory, entry.name, entry.length, PIN_DIRECTORY, features);
    int flags = READ_DIRECTORY | O_NOATIME;
    int fd = sys_open_beneath(directory, entry.name, entry.length, flags, features);
    if (fd == -EPERM) /* O_NOATIME is for owners only */
        fd = sys_open_beneath(directory, entry.name, entry.length, READ_DIRECTORY, features);
    return fd;
}

int open_and_look(const struct walk *walk, int directory, struct entry entry, bool reads,
                  struct status *status)
{
    int fd = directory < 0 ? directory : open_directory(walk, directory, entry, reads);
    if (fd < 0)
        return fd;
    int result = sys_directory_status(fd, &walk->ask->features, status);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

static bool is_outside(const struct walk *walk, const struct status *status)
{
    if (walk->ask->cross)
        return false;
    return status->device != walk->device || (walk->is_bounded && status->mount != walk->mount);
}

int enter_whole(struct walk *walk, struct entry entry, int fd, const struct status *status,
                bool counting)
{
    struct tally *tally = &walk->found->tally;
    walk->looks++;
    count(walk, &tally->directories, counting);
    if (is_outside(walk, status)) {
        close(fd);
        tally->skipped++;
        return 0;
    }
    struct reading reading = {.fd = fd, .directory = entry, .inode = status->inode};
    int result = read_names(walk, &reading);
    if (result < 0)
        goto out;
    struct place place = {.begin = reading.begin, .next = reading.begin};
    if (reading.error < 0 && !reading.is_wide) {
        walk->entries.length = 0;
        walk->directories.length = reading.begin;
        result = lost_directory(walk, entry, reading.error, true);
        goto out;
    }
    judge_directory(walk, &place, status);
    if (place.must_change && walk->ask->xattrs)
        result = look_at_attributes(walk, fd, NULL, entry, status->mode);
    if (result < 0)
        goto out;
    if (reading.is_wide) {
        result = finish_wide(walk, &reading);
        fd = -1;
        if (result < 0)
            goto out;
    }
    return enter(walk, &place, entry, status->inode, fd);
out:
    if (fd >= 0)
        close(fd);
    return result;
}

int descend(struct walk *walk, struct entry entry)
{
    struct tally *tally = &walk->found->tally;
    bool counting = walk->counting || !deepest(walk)->named;
    walk->looks++;
    if (excludes_have(walk->ask->excludes, walk->ask->excludes_length, entry.name, entry.length)) {
        count(walk, &tally->directories, counting);
        tally->skipped++;
        return 0;
    }
    struct status status;
    int fd = open_and_look(walk, levels_fd(&walk->levels), entry, true, &status);
    if (is_no_directory(fd))
        return look(walk, entry, true);
    if (fd < 0) {
        count(walk, &tally->directories, counting && fd != -ENOENT);
        return lost_entry(walk, entry, HINT_DIRECTORY, fd);
    }
    return enter_whole(walk, entry, fd, &status, counting);
}

int walk_cursor(struct walk *walk)
{
    const struct local_scan_request *ask = walk->ask;
    struct reading reading = {
        .fd = ask->cursor,
        .directory = {(const char *)ask->cursor_path, ask->cursor_path_length},
        .inode = ask->cursor_inode,
        .is_wide = true,
    };
    int result = read_names(walk, &reading);
    if (result < 0) {
        close(reading.fd);
        return result;
    }
    return finish_wide(walk, &reading);
}
