/*
 * Directories of a walk: opened, read, and entered. The names of a wide one are cut into chunks,
 * for other lanes; chunks end at a getdents boundary, so the descriptor can continue.
 *
 *     struct reading   the reading of one directory's names
 */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"

/*
 * Bytes that one call reads if `wide` is small (in tests): its names may all go into one chunk.
 */
#define MIN_LISTING_BYTES 1024

/* More than an NFS client's threshold, with room for `.` and `..`: see look_at_some(). */
#define LOOKED_AT 16

struct reading {
    int fd;
    struct walk_entry directory; /* its name; its path, if nothing is on the stack */
    uint64_t inode;
    size_t begin; /* of its directories' names */
    size_t names;
    size_t in_chunk;
    size_t cut; /* complete chunks */
    bool is_wide;
    bool has_more;
    int error;
};

/* ---- reading directories */

/* Move the names that were read last into a chunk of their own. */
static int cut_chunk(struct walk *walk, struct reading *reading)
{
    struct local_scan_result *found = walk->result;
    reading->in_chunk = 0;
    if (walk->entries.length == 0 && walk->directories.length == reading->begin)
        return 0;
    /* There are at most `chunks` of them: is_over() ends a walk that has some. */
    size_t size = (found->chunk_count + 1) * sizeof(*found->chunks);
    struct group_writer *chunks = realloc(found->chunks, size);
    if (!chunks)
        return -ENOMEM;
    found->chunks = chunks;
    struct group_writer *chunk = &chunks[found->chunk_count++];
    *chunk = (struct group_writer){0};
    int result = walk_build_path(walk, reading->directory);
    if (result == 0)
        result = group_begin(chunk, walk->path.bytes, walk->path.length, 0, reading->inode);
    if (result < 0)
        return result;
    int64_t names = walk_put_names(chunk, HINT_ENTRY, &walk->entries, 0, walk->entries.length);
    if (names >= 0)
        names = walk_put_names(chunk, HINT_DIRECTORY, &walk->directories, reading->begin,
                               walk->directories.length);
    if (names < 0)
        return (int)names;
    group_end(chunk);
    walk->entries.length = 0;
    walk->directories.length = reading->begin;
    return 0;
}

/* Linux's own filesystems have no such names, but others do; neither do units have them. */
static int put_too_long(struct walk *walk, const struct dirent64 *dirent, size_t length)
{
    int result = buffer_put(&walk->too_long, &dirent->d_type, 1);
    return result < 0 ? result : buffer_put(&walk->too_long, dirent->d_name, length + 1);
}

/*
 * Count the names that are too long, and fail those of directories and files. A name without a type
 * is taken for a file's.
 */
static int fail_too_long(struct walk *walk, struct walk_entry directory)
{
    struct tally *tally = &walk->found->tally;
    const char *at = (const char *)walk->too_long.bytes;
    const char *end = at + walk->too_long.length;
    while (at < end) {
        uint8_t type = (uint8_t)at[0];
        const char *name = at + 1;
        size_t length = strlen(name);
        at = name + length + 1;
        bool is_judged = type == DT_DIR || type == DT_REG || type == DT_UNKNOWN;
        walk_count(walk,
                   !is_judged       ? &tally->others
                   : type == DT_DIR ? &tally->directories
                                    : &tally->files,
                   true);
        if (!is_judged)
            continue;
        int result = walk_build_path(walk, directory);
        if (result == 0 && walk->path.length > 0)
            result = buffer_put(&walk->path, "/", 1);
        if (result == 0)
            result = buffer_put(&walk->path, name, length);
        if (result == 0)
            result = scan_put_failure(walk->found, &walk->path, "name", -ENAMETOOLONG);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Put a name where it belongs by its type; without a type it is looked at as an entry. */
static int sort_name(struct walk *walk, struct reading *reading, const struct dirent64 *dirent)
{
    const char *name = dirent->d_name;
    size_t length = strlen(name);
    if (name_is_dots(name, length))
        return 0;
    const struct local_scan_request *request = walk->request;
    if (reading->names == request->wide)
        reading->is_wide = true;
    if (reading->in_chunk == request->wide && reading->cut + 1 < request->chunks) {
        int result = cut_chunk(walk, reading);
        if (result < 0)
            return result;
        reading->cut++;
    }
    reading->names++;
    reading->in_chunk++;
    if (length > NAME_MAX)
        return put_too_long(walk, dirent, length);
    bool is_directory = dirent->d_type == DT_DIR;
    return walk_put_name(is_directory ? &walk->directories : &walk->entries, name, length);
}

/*
 * Look at some of the names that were read last. Linux's NFS client asks for attributes with the
 * names (READDIRPLUS) only while more than 8 entries of the directory are looked at between two
 * reads of it (NFS_READDIR_CACHE_USAGE_THRESHOLD, fs/nfs/dir.c); otherwise each look costs a LOOKUP
 * later. These looks cost no calls.
 */
static void look_at_some(const struct walk *walk, int fd, int size)
{
    struct stat unused;
    int looks = 0;
    for (int at = 0; at < size && looks < LOOKED_AT; looks++) {
        const struct dirent64 *dirent = (const void *)(walk->listing + at);
        sys_entry_status(fd, dirent->d_name, &unused);
        at += dirent->d_reclen;
    }
}

/*
 * Read names until the end of the directory or, if it is wide, until there are `chunks` full ones.
 * All names of a call are taken, so that the descriptor stands where the reading goes on.
 */
static int read_names(struct walk *walk, struct reading *reading)
{
    const struct local_scan_request *request = walk->request;
    size_t max = request->wide * 32; /* a dirent with a short name takes 24 or 32 bytes */
    max = max < MIN_LISTING_BYTES ? MIN_LISTING_BYTES : max > LISTING_BYTES ? LISTING_BYTES : max;
    walk->entries.length = walk->entry = walk->too_long.length = 0;
    reading->begin = walk->directories.length;
    do {
        int size = sys_read_directory(reading->fd, walk->listing, max);
        if (size <= 0) {
            reading->error = size;
            return 0;
        }
        for (int at = 0; at < size;) {
            const struct dirent64 *dirent = (const void *)(walk->listing + at);
            int result = sort_name(walk, reading, dirent);
            if (result < 0)
                return result;
            at += dirent->d_reclen;
        }
        if (request->remote && (size_t)size > max / 2)
            look_at_some(walk, reading->fd, size);
    } while (reading->names < request->wide * request->chunks || !reading->is_wide);
    reading->has_more = true;
    return 0;
}

/* Complete the last chunk of a wide directory, and leave the rest of it over; takes over `fd`. */
static int finish_wide(struct walk *walk, struct reading *reading)
{
    struct local_scan_result *found = walk->result;
    walk->looks++;
    int result = cut_chunk(walk, reading);
    if (result == 0 && reading->error < 0)
        result = walk_fail_directory(walk, reading->directory, reading->error, false);
    if (result == 0 && reading->has_more) {
        result = walk_build_path(walk, reading->directory);
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

static int open_directory(const struct walk *walk, int directory, struct walk_entry entry,
                          bool reads)
{
    const struct features *features = &walk->request->features;
    if (!reads)
        return sys_open_beneath(directory, entry.name, entry.length, PIN_DIRECTORY, features);
    int flags = READ_DIRECTORY | O_NOATIME;
    int fd = sys_open_beneath(directory, entry.name, entry.length, flags, features);
    if (fd == -EPERM) /* O_NOATIME is for the owner only */
        fd = sys_open_beneath(directory, entry.name, entry.length, READ_DIRECTORY, features);
    return fd;
}

/* Pin a directory that may not be read; -EACCES unless it is the caller's own. */
static int pin_closed_directory(const struct walk *walk, int directory, struct walk_entry entry,
                                struct status *status)
{
    int fd = walk_open_directory(walk, directory, entry, false, status);
    if (fd < 0)
        return fd;
    status->is_closed = true;
    if (status->uid == geteuid())
        return fd;
    close(fd);
    return -EACCES;
}

int walk_open_directory(const struct walk *walk, int directory, struct walk_entry entry, bool reads,
                        struct status *status)
{
    int fd = directory < 0 ? directory : open_directory(walk, directory, entry, reads);
    if (fd == -EACCES && reads)
        return pin_closed_directory(walk, directory, entry, status);
    if (fd < 0)
        return fd;
    const struct local_scan_request *request = walk->request;
    int result = sys_directory_status(fd, &request->features, status);
    if (result == 0 && request->never_inode != 0 && status->inode == request->never_inode &&
        status->device == request->never_device)
        result = -MET_NEVER;
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

/* Judge a directory that cannot be read, and enter it without names; takes over `fd`. */
static int enter_closed(struct walk *walk, struct walk_entry entry, int fd,
                        const struct status *status)
{
    struct walk_level level = {.is_named = true};
    level.begin = level.next = walk->directories.length;
    walk->entries.length = walk->entry = 0;
    int result = walk_fail_directory(walk, entry, -EACCES, false);
    if (result < 0) {
        close(fd);
        return result;
    }
    walk_judge_directory(walk, &level, status);
    walk->found->tally.compliant -= !level.must_change; /* it is counted as failed */
    return walk_enter(walk, &level, entry, status->inode, fd);
}

int walk_read_directory(struct walk *walk, struct walk_entry entry, int fd,
                        const struct status *status, bool is_counting)
{
    struct tally *tally = &walk->found->tally;
    walk->looks++;
    walk_count(walk, &tally->directories, is_counting);
    const char *reason = walk_reason_to_skip(walk, entry, fd, status);
    if (reason) {
        close(fd);
        return walk_skip(walk, entry, reason);
    }
    if (status->is_closed)
        return enter_closed(walk, entry, fd, status);
    struct reading reading = {.fd = fd, .directory = entry, .inode = status->inode};
    int result = read_names(walk, &reading);
    if (result < 0)
        goto out;
    struct walk_level level = {.begin = reading.begin, .next = reading.begin};
    if (reading.error < 0 && !reading.is_wide) {
        walk->entries.length = 0;
        walk->directories.length = reading.begin;
        result = walk_fail_directory(walk, entry, reading.error, true);
        goto out;
    }
    walk_judge_directory(walk, &level, status);
    result = fail_too_long(walk, entry);
    if (result == 0 && level.must_change && walk->request->xattrs)
        result = walk_look_at_xattrs(walk, fd, NULL, entry, status->mode);
    if (result < 0)
        goto out;
    if (reading.is_wide) {
        result = finish_wide(walk, &reading);
        fd = -1;
        if (result < 0)
            goto out;
    }
    return walk_enter(walk, &level, entry, status->inode, fd);
out:
    if (fd >= 0)
        close(fd);
    return result;
}

int walk_descend(struct walk *walk, struct walk_entry entry)
{
    struct tally *tally = &walk->found->tally;
    bool is_counting = walk->is_counting || !walk_deepest(walk)->is_named;
    walk->looks++;
    const char *reason = walk_reason_to_pass(walk, entry);
    if (reason) {
        walk_count(walk, &tally->directories, is_counting);
        return walk_skip(walk, entry, reason);
    }
    struct status status;
    int fd = walk_open_directory(walk, dirchain_fd(&walk->chain), entry, true, &status);
    if (walk_is_no_directory(fd))
        return walk_look_at(walk, entry, true);
    if (fd < 0) {
        walk_count(walk, &tally->directories, is_counting && fd != -ENOENT);
        return walk_fail_entry(walk, entry, HINT_DIRECTORY, fd);
    }
    return walk_read_directory(walk, entry, fd, &status, is_counting);
}

int walk_read_cursor(struct walk *walk)
{
    const struct local_scan_request *request = walk->request;
    struct reading reading = {
        .fd = request->cursor,
        .directory = {(const char *)request->cursor_path, request->cursor_path_length},
        .inode = request->cursor_inode,
        .is_wide = true,
    };
    int result = read_names(walk, &reading);
    if (result == 0)
        result = fail_too_long(walk, reading.directory);
    if (result < 0) {
        close(reading.fd);
        return result;
    }
    return finish_wide(walk, &reading);
}
