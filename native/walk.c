/*
 * The walk itself. Its structures, beside those of walk.h:
 *
 *     struct walk      one scan
 *     struct place     a directory on the way: its own change, and its names that are still to be looked at
 *     struct reading   the reading of one directory's names
 *     struct entry     a directory or file as it was looked at
 *
 * Places are a stack beside that of the levels (levels.h), which has their paths. The names lie in two
 * buffers, each name as u8 length, bytes, NUL:
 *
 *     entries       of the deepest place only: all of them are looked at before a directory is entered
 *     directories   of all places: [ place 0 | place 1 | ... | deepest ], and each place knows how far it is
 *
 * The places of a unit's groups stay on the stack after their names are done, as long as the next group
 * lies below them: what one walk over a deep chain leaves over is as many groups as there are levels,
 * and each is opened from the one before.
 */

#define _GNU_SOURCE
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "levels.h"

#define SET_ID      (S_ISUID | S_ISGID)
#define ANY_EXECUTE 0111

/* Bytes of directory records for one call: more makes no difference, less costs calls. */
#define RECORDS ((size_t)64 * 1024)
/* ... and less where wide directories are declared narrow, as a call's names all go into one chunk. */
#define FEW_RECORDS 1024
/* Bytes of changes, or of paths of failures, that end a walk: paths may be long. */
#define MOST_FOUND ((size_t)16 << 20)

/* XATTR_LIST_MAX: what names of extended attributes can take; the records' buffer serves for both. */
_Static_assert(RECORDS >= 65536, "a list of extended attributes must fit");

struct place {
    size_t begin; /* of its directories */
    size_t next;  /* of them that is not entered yet */
    bool named;   /* the names come from the unit, not from reading the directory */
    bool must_change;
    struct change own;
};

struct walk {
    const struct scan_request *ask;
    struct scan_result *found;
    struct levels levels;
    struct place *places;
    size_t room;
    struct buffer entries;
    size_t entry; /* that is looked at next */
    struct buffer directories;
    struct buffer path; /* built when one is needed */
    size_t entered;     /* so many levels have their frames in the changes */
    int64_t looks;
    int64_t deadline;
    bool counting;
    bool is_bounded; /* `mount` is to be compared */
    uint64_t device;
    uint64_t mount;
    uint8_t *records;
};

struct entry {
    const char *name;
    size_t length;
};

struct reading {
    int fd;
    struct entry directory; /* its name; its path, if nothing is on the stack */
    uint64_t inode;
    size_t begin; /* of its directories' names */
    size_t names;
    size_t in_chunk;
    size_t cut; /* chunks that are complete */
    int64_t others;
    bool is_wide;
    bool has_more;
    int error;
};

/* ---- small things */

static struct place *deepest(struct walk *walk)
{
    return &walk->places[walk->levels.depth - 1];
}

static void count(struct walk *walk, int64_t *kind, bool counting)
{
    walk->found->tally.entries += counting;
    *kind += counting;
}

static bool is_over(const struct walk *walk)
{
    const struct scan_result *found = walk->found;
    return *walk->ask->stop || walk->looks >= walk->ask->entries ||
           found->count >= walk->ask->changes || found->wide >= 0 || found->chunk_count > 0 ||
           found->changes.length >= MOST_FOUND || found->text.length >= MOST_FOUND ||
           monotonic_time() >= walk->deadline;
}

static int put_name(struct buffer *names, const void *name, size_t length)
{
    int result = buffer_reserve(names, length + 2);
    if (result < 0)
        return result;
    uint8_t *at = names->bytes + names->length;
    at[0] = (uint8_t)length;
    memcpy(at + 1, name, length);
    at[1 + length] = '\0';
    names->length += length + 2;
    return 0;
}

static struct entry take_name(const struct buffer *names, size_t *at)
{
    const uint8_t *name = names->bytes + *at;
    *at += (size_t)name[0] + 2;
    return (struct entry){(const char *)name + 1, name[0]};
}

/* Add names to a group and return how many, or -ENOMEM. */
static int64_t put_names(struct group_writer *writer, enum hint hint, const struct buffer *names,
                         size_t from, size_t to)
{
    int64_t number = 0;
    while (from < to) {
        struct entry entry = take_name(names, &from);
        int result = group_name(writer, hint, entry.name, entry.length);
        if (result < 0)
            return result;
        number++;
    }
    return number;
}

/* Build the path of an entry of the deepest directory (an empty name: of that itself). */
static int build_path(struct walk *walk, struct entry entry)
{
    const struct buffer *above = &walk->levels.path;
    walk->path.length = 0;
    int result = buffer_put(&walk->path, above->bytes, above->length);
    if (result == 0 && above->length > 0 && entry.length > 0)
        result = buffer_put(&walk->path, "/", 1);
    return result < 0 ? result : buffer_put(&walk->path, entry.name, entry.length);
}

static int put_text(struct walk *walk, struct text *text)
{
    *text = (struct text){walk->found->text.length, walk->path.length};
    return buffer_put(&walk->found->text, walk->path.bytes, walk->path.length);
}

/* ---- what could not be looked at */

static bool is_transient(int error)
{
    switch (error) {
    case -EIO:
    case -ETIMEDOUT:
    case -ENOSPC:
    case -EDQUOT:
    case -ESTALE:
        return true;
    default:
        return false;
    }
}

static bool is_no_directory(int error)
{
    return error == -ENOTDIR || error == -ELOOP;
}

/* Say whether what went wrong may pass, so that it is worth another look. */
static bool passes(const struct walk *walk, int error)
{
    return is_transient(error) && !walk->ask->last_try;
}

static int fail(struct walk *walk, const char *operation, int error)
{
    struct scan_failure failure = {.operation = operation, .error = -error};
    int result = put_text(walk, &failure.path);
    walk->found->tally.failed++;
    return result < 0 ? result : buffer_put(&walk->found->failures, &failure, sizeof(failure));
}

static int lost_group(struct walk *walk, const struct group_reader *group, int error)
{
    if (error == -ENOENT || is_no_directory(error)) {
        walk->found->tally.vanished += (int64_t)group->count;
        return 0;
    }
    if (!passes(walk, error)) {
        walk->path.length = 0;
        int result = buffer_put(&walk->path, group->path.bytes, group->path.length);
        return result < 0 ? result : fail(walk, "open", error);
    }
    struct group_writer *again = &walk->found->again[!walk->counting];
    int result = group_begin(again, group->path.bytes, group->path.length, 0, group->inode);
    if (result == 0)
        result = group_names(again, group->names, group->names_length, group->count);
    if (result == 0)
        group_end(again);
    return result;
}

/* An entry of the deepest place, at "open" or "stat". */
static int lost_entry(struct walk *walk, struct entry entry, enum hint hint, int error)
{
    const char *operation = hint == HINT_DIRECTORY ? "open" : "stat";
    if (error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    if (!passes(walk, error)) {
        int result = build_path(walk, entry);
        return result < 0 ? result : fail(walk, operation, error);
    }
    struct group_writer *again = &walk->found->again[true];
    const struct levels *levels = &walk->levels;
    int result = group_begin(again, levels->path.bytes, levels->path.length, 0,
                             levels->chain[levels->depth - 1].inode);
    if (result == 0)
        result = group_name(again, hint, entry.name, entry.length);
    if (result == 0)
        group_end(again);
    return result;
}

/* A directory that could not be read; *again* whole, unless some of its names are given out already. */
static int lost_reading(struct walk *walk, const struct reading *reading)
{
    if (reading->error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    int result = build_path(walk, reading->directory);
    if (result < 0)
        return result;
    if (reading->is_wide || !passes(walk, reading->error))
        return fail(walk, "readdir", reading->error);
    struct group_writer *again = &walk->found->again[true];
    result = group_begin(again, walk->path.bytes, walk->path.length, 0, 0);
    if (result == 0)
        result = group_name(again, HINT_WALK, "", 0);
    if (result == 0)
        group_end(again);
    return result;
}

/* ---- frames */

/* Write the frames of the directories that lead to where the walk is. */
static int flush(struct walk *walk)
{
    const struct levels *levels = &walk->levels;
    struct buffer *changes = &walk->found->changes;
    int result = changes->length ? 0 : put_header(changes, walk->ask->gid);
    while (result == 0 && walk->entered < levels->depth) {
        const struct level *level = &levels->chain[walk->entered++];
        const uint8_t *name = levels->path.bytes + level->start;
        result = put_enter(changes, name, level->end - level->start, level->inode);
    }
    return result;
}

static int make_places(struct walk *walk)
{
    if (walk->levels.depth < walk->room)
        return 0;
    size_t room = walk->room ? walk->room * 2 : 64;
    struct place *places = realloc(walk->places, room * sizeof(*places));
    if (!places)
        return -ENOMEM;
    walk->places = places;
    walk->room = room;
    return 0;
}

/* Go into a directory; takes over its descriptor (-1: nothing will be looked at in it). */
static int enter(struct walk *walk, const struct place *place, struct entry entry, uint64_t inode,
                 int fd)
{
    int result = make_places(walk);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        return result;
    }
    result = levels_push(&walk->levels, entry.name, entry.length, inode, fd);
    if (result == 0)
        *deepest(walk) = *place;
    return result;
}

static int leave(struct walk *walk)
{
    struct place *place = deepest(walk);
    size_t depth = walk->levels.depth;
    int result = place->must_change ? flush(walk) : 0;
    if (result == 0 && walk->entered == depth) {
        struct buffer *changes = &walk->found->changes;
        result = place->must_change ? put_change(changes, KIND_OWN, &place->own, "", 0)
                                    : put_leave(changes);
        walk->found->count += place->must_change;
        walk->entered--;
    }
    walk->directories.length = place->begin;
    levels_pop(&walk->levels);
    return result;
}

/* ---- the policy */

/* What the kernel leaves of a regular file's mode when its owner or group changes. */
static uint32_t stripped(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

static bool complies(const struct scan_request *ask, uint32_t bits, uint32_t mode, uint32_t gid)
{
    return gid == ask->gid && (mode & bits) == bits;
}

/* Note a directory's own change, if it must. */
static void judge_directory(struct walk *walk, struct place *place, const struct status *status)
{
    uint32_t bits = walk->ask->directory_bits;
    if (complies(walk->ask, bits, status->mode, status->gid)) {
        walk->found->tally.compliant++;
        return;
    }
    place->must_change = true;
    place->own = (struct change){
        .mode = (uint16_t)status->mode,
        .new_mode = (uint16_t)(status->mode | bits),
        .uid = status->uid,
        .gid = status->gid,
        .inode = status->inode,
    };
}

static int put_notice(struct walk *walk, struct entry entry, const char *kind)
{
    struct scan_notice notice = {.kind = kind};
    int result = build_path(walk, entry);
    if (result == 0)
        result = put_text(walk, &notice.path);
    return result < 0 ? result : buffer_put(&walk->found->notices, &notice, sizeof(notice));
}

static bool has_attribute(const char *list, int length, const char *attribute)
{
    for (const char *at = list; at < list + length; at += strlen(at) + 1)
        if (strcmp(at, attribute) == 0)
            return true;
    return false;
}

/* Note an ACL, or file capabilities, of what must change. */
static int look_at_attributes(struct walk *walk, int directory, struct entry entry, uint32_t mode)
{
    char *list = (char *)walk->records;
    int length = list_attributes(directory, entry.name, list, RECORDS);
    if (length <= 0)
        return 0; /* none, none here, or the entry went: apply will see */
    list[length] = '\0';
    int result = 0;
    if (has_attribute(list, length, "system.posix_acl_access"))
        result = put_notice(walk, entry, "acl");
    if (result == 0 && mode & ANY_EXECUTE && has_attribute(list, length, "security.capability"))
        result = put_notice(walk, entry, "capability");
    return result;
}

static int change_file(struct walk *walk, int directory, struct entry entry,
                       const struct stat *status)
{
    const struct scan_request *ask = walk->ask;
    struct scan_result *found = walk->found;
    struct change change = {
        .flags = status->st_nlink > 1 ? FLAG_LINKED : 0,
        .mode = (uint16_t)status->st_mode,
        .new_mode = (uint16_t)(stripped(status->st_mode) | ask->file_bits),
        .uid = status->st_uid,
        .gid = status->st_gid,
        .inode = status->st_ino,
    };
    if (change.mode & ~change.new_mode & SET_ID) {
        change.flags |= FLAG_SETID;
        change.size = (uint64_t)status->st_size;
        change.mtime = nanoseconds(status->st_mtim);
    }
    int result = flush(walk);
    if (result < 0)
        return result;
    struct scan_link link = {found->changes.length, status->st_dev, status->st_ino};
    result = put_change(&found->changes, KIND_CHANGE, &change, entry.name, entry.length);
    found->count++;
    if (result == 0 && status->st_nlink > 1)
        result = buffer_put(&found->links, &link, sizeof(link));
    if (result == 0 && ask->xattrs)
        result = look_at_attributes(walk, directory, entry, status->st_mode);
    return result;
}

static int judge_file(struct walk *walk, int directory, struct entry entry,
                      const struct stat *status, bool counting)
{
    const struct scan_request *ask = walk->ask;
    struct tally *tally = &walk->found->tally;
    bool is_linked = status->st_nlink > 1;
    bool outside = status->st_dev != walk->device && !ask->cross;
    tally->hard_linked += is_linked && counting;
    if (outside || (is_linked && ask->skip_links))
        tally->skipped++;
    else if (complies(ask, ask->file_bits, status->st_mode, status->st_gid))
        tally->compliant++;
    else
        return change_file(walk, directory, entry, status);
    return 0;
}

/* ---- entries */

/* Look at one entry of the deepest place by name, and note what must change. */
static int look(struct walk *walk, struct entry entry, bool was_directory)
{
    struct tally *tally = &walk->found->tally;
    bool counting = walk->counting || !deepest(walk)->named;
    walk->looks++;
    int directory = levels_fd(&walk->levels);
    struct stat status;
    int error = directory < 0 ? directory : entry_status(directory, entry.name, &status);
    if (error < 0) {
        count(walk, &tally->files, counting && error != -ENOENT);
        return lost_entry(walk, entry, HINT_ENTRY, error);
    }
    if (S_ISDIR(status.st_mode)) {
        if (!was_directory)
            return put_name(&walk->directories, entry.name, entry.length);
        tally->vanished++; /* it is being exchanged as we look */
        return 0;
    }
    if (!S_ISREG(status.st_mode)) {
        count(walk, &tally->others, counting);
        return 0;
    }
    count(walk, &tally->files, counting);
    return judge_file(walk, directory, entry, &status, counting);
}

/* ---- reading directories */

/* Put the names that were read last into a chunk of their own. */
static int cut_chunk(struct walk *walk, struct reading *reading)
{
    struct scan_result *found = walk->found;
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

/* Put a name where it belongs by its type; what has none is looked at. */
static int sort_name(struct walk *walk, struct reading *reading, const struct dirent64 *record)
{
    const char *name = record->d_name;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
        return 0;
    const struct scan_request *ask = walk->ask;
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
    switch (record->d_type) {
    case DT_DIR:
        return put_name(&walk->directories, name, strlen(name));
    case DT_REG:
    case DT_UNKNOWN:
        return put_name(&walk->entries, name, strlen(name));
    default:
        reading->others++;
        return 0;
    }
}

/*
 * Read names until the end of the directory or, if it is wide, as many as are read in one go; what one
 * call brings is never cut, so that the descriptor stands where the reading goes on.
 */
static int read_names(struct walk *walk, struct reading *reading)
{
    const struct scan_request *ask = walk->ask;
    size_t most = ask->wide * 32; /* a record with a short name takes 24 or 32 bytes */
    most = most < FEW_RECORDS ? FEW_RECORDS : most > RECORDS ? RECORDS : most;
    walk->entries.length = walk->entry = 0;
    reading->begin = walk->directories.length;
    do {
        int size = read_directory(reading->fd, walk->records, most);
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
    } while (reading->names < ask->wide * ask->chunks || !reading->is_wide);
    reading->has_more = true;
    return 0;
}

/* Give out the names of a wide directory that were read; take over its descriptor. */
static int finish_wide(struct walk *walk, struct reading *reading)
{
    struct scan_result *found = walk->found;
    walk->looks++;
    int result = cut_chunk(walk, reading);
    if (result == 0 && reading->error < 0)
        result = lost_reading(walk, reading);
    if (result == 0 && reading->has_more) {
        result = build_path(walk, reading->directory);
        if (result == 0)
            result = put_text(walk, &found->wide_path);
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
        return open_beneath(directory, entry.name, entry.length, PIN_DIRECTORY, features);
    int flags = READ_DIRECTORY | O_NOATIME;
    int fd = open_beneath(directory, entry.name, entry.length, flags, features);
    if (fd == -EPERM) /* O_NOATIME is for owners only */
        fd = open_beneath(directory, entry.name, entry.length, READ_DIRECTORY, features);
    return fd;
}

/* Open a directory and look at it. */
static int open_and_look(const struct walk *walk, int directory, struct entry entry, bool reads,
                         struct status *status)
{
    int fd = directory < 0 ? directory : open_directory(walk, directory, entry, reads);
    if (fd < 0)
        return fd;
    int result = directory_status(fd, &walk->ask->features, status);
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

/* Go into an open directory and take its names, or see that it is a border. Takes over `fd`. */
static int enter_whole(struct walk *walk, struct entry entry, int fd, const struct status *status,
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
        result = lost_reading(walk, &reading);
        goto out;
    }
    tally->entries += reading.others;
    tally->others += reading.others;
    judge_directory(walk, &place, status);
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

static bool is_excluded(const struct scan_request *ask, struct entry entry)
{
    const uint8_t *end = ask->excludes + ask->excludes_length;
    for (const uint8_t *at = ask->excludes; at < end; at += 1 + at[0])
        if (at[0] == entry.length && memcmp(at + 1, entry.name, entry.length) == 0)
            return true;
    return false;
}

/* Go into a directory of the deepest place. */
static int descend(struct walk *walk, struct entry entry)
{
    struct tally *tally = &walk->found->tally;
    bool counting = walk->counting || !deepest(walk)->named;
    walk->looks++;
    if (is_excluded(walk->ask, entry)) {
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

/* ---- the loop */

/* Put what is not looked at yet of all places into `rest`. */
static int leave_over(struct walk *walk)
{
    struct tally *tally = &walk->found->tally;
    struct group_writer *rest = &walk->found->rest;
    const struct levels *levels = &walk->levels;
    size_t same = 0;
    for (size_t i = 0; i < levels->depth; i++) {
        const struct place *place = &walk->places[i];
        bool is_last = i + 1 == levels->depth;
        size_t end = is_last ? walk->directories.length : place[1].begin;
        size_t entry = is_last ? walk->entry : walk->entries.length;
        if (place->next == end && entry == walk->entries.length)
            continue;
        const struct level *level = &levels->chain[i];
        int result = group_begin(rest, levels->path.bytes, level->end, same, level->inode);
        if (result < 0)
            return result;
        int64_t files = put_names(rest, HINT_ENTRY, &walk->entries, entry, walk->entries.length);
        int64_t directories = put_names(rest, HINT_DIRECTORY, &walk->directories, place->next, end);
        if (files < 0 || directories < 0)
            return -ENOMEM;
        group_end(rest);
        same = level->end;
        if (!walk->counting && !place->named) { /* the rest is a unit whose names are counted */
            tally->entries += files + directories;
            tally->files += files;
            tally->directories += directories;
        }
    }
    return 0;
}

/* Walk depth first from the deepest place; 1 if a limit was reached before everything was seen. */
static int walk_down(struct walk *walk)
{
    char name[UINT8_MAX + 1]; /* the buffers move while a directory is read */
    size_t base = walk->levels.depth;
    for (;;) {
        struct place *place = deepest(walk);
        bool has_entries = walk->entry < walk->entries.length;
        bool has_directories = place->next < walk->directories.length;
        int result;
        if (!has_entries && !has_directories) {
            if (walk->levels.depth == base)
                return 0;
            result = leave(walk);
        } else if (walk->looks && is_over(walk)) {
            result = leave_over(walk);
            return result < 0 ? result : 1;
        } else if (has_entries) {
            result = look(walk, take_name(&walk->entries, &walk->entry), false);
        } else {
            struct entry entry = take_name(&walk->directories, &place->next);
            memcpy(name, entry.name, entry.length + 1);
            entry.name = name;
            result = descend(walk, entry);
        }
        if (result < 0)
            return result;
    }
}

/* ---- groups */

/* Give the names of a group to the deepest place. */
static int take_group(struct walk *walk, const struct group_reader *group)
{
    const uint8_t *at = group->names;
    const uint8_t *end = at + group->names_length;
    struct name name;
    int result = 0;
    walk->entries.length = walk->entry = 0;
    while (result == 0 && name_next(&at, end, &name)) {
        if (name.hint == HINT_ENTRY)
            result = put_name(&walk->entries, name.bytes, name.length);
        else if (name.hint == HINT_DIRECTORY)
            result = put_name(&walk->directories, name.bytes, name.length);
    }
    return result;
}

/*
 * Leave the places that a group is not below; 1 if the deepest of the others is the group's own. The
 * path to the deepest place is the beginning of that of the group before.
 */
static int go_near(struct walk *walk, const struct group_reader *group)
{
    const struct levels *levels = &walk->levels;
    const struct buffer *path = &group->path;
    while (levels->depth > 0) {
        size_t end = levels->path.length;
        if (end <= group->keep) {
            bool is_same = end == path->length;
            if (is_same && deepest(walk)->named && !group->walks && !group->itself &&
                (group->inode == 0 || group->inode == levels->chain[levels->depth - 1].inode))
                return 1;
            if (!is_same && (end == 0 || path->bytes[end] == '/'))
                break;
        }
        int result = leave(walk);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Return the rest of a group's path, from the deepest place. */
static struct entry way_to(const struct walk *walk, const struct group_reader *group)
{
    size_t above = walk->levels.path.length;
    if (above > 0)
        above++; /* the slash */
    const char *path = group->path.length ? (const char *)group->path.bytes + above : "";
    return (struct entry){path, group->path.length - above};
}

/* Open the directory of a group, from the deepest place. */
static int open_group(struct walk *walk, const struct group_reader *group, bool *reads,
                      struct status *status)
{
    struct entry way = way_to(walk, group);
    int directory = levels_fd(&walk->levels);
    *reads = group->walks;
    int fd = open_and_look(walk, directory, way, *reads, status);
    if (fd < 0 || *reads || group->itself || group->inode == 0 || group->inode == status->inode)
        return fd;
    close(fd); /* another directory has its place: look at all of that one */
    *reads = true;
    return open_and_look(walk, directory, way, true, status);
}

static int walk_group(struct walk *walk, const struct group_reader *group)
{
    int result = go_near(walk, group);
    if (result < 0)
        return result;
    if (result == 1) {
        result = take_group(walk, group);
        return result < 0 ? result : walk_down(walk);
    }
    while (walk->levels.depth > 0 && levels_fd(&walk->levels) < 0)
        if ((result = leave(walk)) < 0) /* it was moved away: the path from the root decides */
            return result;
    bool reads;
    struct status status;
    size_t before = walk->levels.depth;
    int fd = open_group(walk, group, &reads, &status);
    if (fd < 0) {
        walk->looks++;
        return lost_group(walk, group, fd);
    }
    if (reads) {
        result = enter_whole(walk, way_to(walk, group), fd, &status, walk->counting);
    } else {
        struct place place = {.named = true};
        place.begin = place.next = walk->directories.length;
        if (group->itself)
            judge_directory(walk, &place, &status);
        result = enter(walk, &place, way_to(walk, group), status.inode, fd);
        if (result == 0)
            result = take_group(walk, group);
    }
    if (result < 0 || walk->levels.depth == before)
        return result;
    return walk_down(walk);
}

static int walk_groups(struct walk *walk)
{
    struct group_reader group = {.body = walk->ask->body, .length = walk->ask->body_length};
    struct group_writer *rest = &walk->found->rest;
    int result = 0; /* of a group: 1 if a limit was reached in it */
    int more = 1;
    while (result == 0 && !(walk->looks && is_over(walk)) && (more = group_read(&group)) > 0)
        result = walk_group(walk, &group);
    size_t same = 0;
    while (result >= 0 && more > 0 && (more = group_read(&group)) > 0) {
        same = same < group.keep ? same : group.keep;
        result = group_begin(rest, group.path.bytes, group.path.length, same, group.inode);
        if (result == 0)
            result = group_names(rest, group.names, group.names_length, group.count);
        if (result == 0)
            group_end(rest);
        same = group.path.length;
    }
    group_reader_free(&group);
    return more < 0 ? more : result < 0 ? result : 0;
}

/* Go on with the reading of a wide directory; takes over the cursor. */
static int walk_cursor(struct walk *walk)
{
    const struct scan_request *ask = walk->ask;
    struct tally *tally = &walk->found->tally;
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
    tally->entries += reading.others;
    tally->others += reading.others;
    return finish_wide(walk, &reading);
}

/* ---- one scan */

static int find_border(struct walk *walk)
{
    struct status root;
    int result = directory_status(walk->ask->root, &walk->ask->features, &root);
    if (result < 0)
        return result;
    walk->device = root.device;
    walk->mount = root.mount;
    walk->is_bounded = root.has_mount;
    return 0;
}

static int64_t deadline_in(double seconds)
{
    int64_t now = monotonic_time();
    if (!(seconds < 1e9)) /* more than 30 years, or no number */
        return INT64_MAX;
    return seconds > 0 ? now + (int64_t)(seconds * 1e9) : now;
}

static bool are_names(const uint8_t *names, size_t length)
{
    for (size_t at = 0; at < length; at += 1 + (size_t)names[at])
        if (names[at] >= length - at)
            return false;
    return true;
}

static bool is_sane(const struct scan_request *request)
{
    return are_names(request->excludes, request->excludes_length) && request->wide > 0 &&
           request->chunks > 0 && request->chunks <= SIZE_MAX / 64 / request->wide;
}

int scan(const struct scan_request *request, struct scan_result *result)
{
    struct walk walk = {
        .ask = request,
        .found = result,
        .counting = !request->counted,
        .deadline = deadline_in(request->seconds),
    };
    *result = (struct scan_result){.wide = -1};
    int cursor = request->cursor;
    int status = levels_init(&walk.levels, request->root, request->descriptors, &request->features);
    walk.records = malloc(RECORDS + 1);
    if (status == 0)
        status = !walk.records ? -ENOMEM : is_sane(request) ? find_border(&walk) : -EINVAL;
    if (status == 0 && cursor >= 0) {
        cursor = -1;
        status = walk_cursor(&walk);
    } else if (status == 0) {
        status = walk_groups(&walk);
    }
    while (status == 0 && walk.levels.depth > 0)
        status = leave(&walk);
    if (cursor >= 0)
        close(cursor);
    levels_free(&walk.levels);
    free(walk.places);
    free(walk.records);
    buffer_free(&walk.entries);
    buffer_free(&walk.directories);
    buffer_free(&walk.path);
    return status;
}

void scan_result_free(struct scan_result *result)
{
    for (size_t i = 0; i < result->chunk_count; i++)
        group_writer_free(&result->chunks[i]);
    free(result->chunks);
    group_writer_free(&result->rest);
    group_writer_free(&result->again[false]);
    group_writer_free(&result->again[true]);
    if (result->wide >= 0)
        close(result->wide);
    buffer_free(&result->changes);
    buffer_free(&result->text);
    buffer_free(&result->failures);
    buffer_free(&result->links);
    buffer_free(&result->notices);
    result->wide = -1;
}
