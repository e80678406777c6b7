/*
 * Files of many volumes (files.h).
 *
 *     struct above    a directory in which another one was made: its path is the first bytes of one
 *     struct making   one call of files_make
 */

#define _GNU_SOURCE
#include "mapfile/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mapfile/threads.h"

#define FILE_FLAGS (O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define PIECE      (64 << 10)

struct above {
    const char *path;
    size_t length;
    int error;
};

struct making {
    const struct files_root *root;
    struct new_file *files;
    size_t file_count;
    bool named;
    struct above *aboves;
    size_t count, room;
};

static int open_directory(const struct files_root *root, const char *path, size_t length)
{
    return sys_open_beneath(root->fd, path, length, READ_DIRECTORY, &root->features);
}

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

static int unlink_entry(int directory, const char *name)
{
    return unlinkat(directory, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- making */

static int note_above(struct making *making, const char *path, size_t length)
{
    for (size_t i = 0; i < making->count; i++)
        if (making->aboves[i].length == length && memcmp(making->aboves[i].path, path, length) == 0)
            return 0;
    if (making->count == making->room) {
        size_t room = making->room ? 2 * making->room : 64;
        struct above *more = realloc(making->aboves, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        making->aboves = more;
        making->room = room;
    }
    making->aboves[making->count++] = (struct above){path, length, 0};
    return 0;
}

/* Change the owner of what was just made; what others own stays theirs. */
static int give_to_owner(const struct files_root *root, int fd)
{
    struct stat found;
    if (root->uid < 0)
        return 0;
    int result = sys_pinned_status(fd, &found);
    if (result < 0 || found.st_uid != geteuid())
        return result;
    if (found.st_uid == (uid_t)root->uid && found.st_gid == (gid_t)root->gid)
        return 0;
    return fchown(fd, (uid_t)root->uid, (gid_t)root->gid) < 0 ? -errno : 0;
}

/* Make a directory, unless it is there, and open it. */
static int make_directory(const struct files_root *root, int above, const char *name)
{
    int made = sys_make_directory(above, name, 0777);
    if (made < 0 && made != -EEXIST)
        return made;
    int fd = sys_open_entry(above, name, READ_DIRECTORY);
    int result = fd >= 0 && made == 0 ? give_to_owner(root, fd) : 0;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static int make_path(struct making *making, const char *path, size_t length)
{
    char name[NAME_MAX + 1];
    int fd = open_directory(making->root, path, 0);
    for (size_t at = 0, end; fd >= 0 && at < length; at = end + 1) {
        const char *slash = memchr(path + at, '/', length - at);
        end = slash ? (size_t)(slash - path) : length;
        memcpy(name, path + at, end - at);
        name[end - at] = '\0';
        int deeper = make_directory(making->root, fd, name);
        /* It is synced even if it was there: whoever made it may not have done so yet. */
        int result = deeper < 0 ? deeper : note_above(making, path, at ? at - 1 : 0);
        close(fd);
        if (result < 0 && deeper >= 0)
            close(deeper);
        fd = result < 0 ? result : deeper;
    }
    return fd;
}

static int write_content(const struct files_root *root, const struct new_file *file)
{
    for (size_t at = 0; at < file->length;) {
        ssize_t written = write(file->fd, file->content + at, file->length - at);
        if (written < 0 && errno != EINTR)
            return -errno;
        at += written > 0 ? (size_t)written : 0;
    }
    int result = give_to_owner(root, file->fd);
    if (result == 0)
        sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* fsync tells its errors */
    return result;
}

static int make_file(struct making *making, struct new_file *file)
{
    int directory = open_directory(making->root, file->directory, file->directory_length);
    if (directory == -ENOENT)
        directory = make_path(making, file->directory, file->directory_length);
    if (directory < 0)
        return directory;
    struct stat found;
    int result = sys_entry_status(directory, file->name, &found);
    if (result == 0)
        result = unlink_entry(directory, file->name);
    else if (result == -ENOENT)
        result = 0;
    if (result == 0) {
        file->fd = openat(directory, file->name, O_WRONLY | O_CREAT | O_EXCL | FILE_FLAGS, 0666);
        result = file->fd < 0 ? -errno : write_content(making->root, file);
        if (file->fd >= 0 && result < 0) {
            unlink_entry(directory, file->name);
            close(file->fd);
            file->fd = -1;
        }
    }
    close(directory);
    return result;
}

static void begin_file(struct making *making, struct new_file *file)
{
    file->fd = -1;
    file->error = -make_file(making, file);
}

static void sync_file(void *context, size_t i)
{
    struct new_file *file = &((struct making *)context)->files[i];
    struct stat found;
    if (file->fd < 0)
        return;
    int result = sync_fd(file->fd);
    if (result == 0)
        result = sys_pinned_status(file->fd, &found);
    if (result == 0)
        file->inode = found.st_ino;
    file->error = -result;
}

static void sync_above(void *context, size_t i)
{
    struct making *making = context;
    struct above *above = &making->aboves[i];
    int fd = open_directory(making->root, above->path, above->length);
    above->error = fd < 0 ? -fd : -sync_fd(fd);
    if (fd >= 0)
        close(fd);
}

/* An error of a directory in which others were made is that of all files below. */
static void pass_errors_down(struct making *making)
{
    for (size_t i = 0; i < making->count; i++) {
        const struct above *above = &making->aboves[i];
        for (size_t j = 0; above->error && j < making->file_count; j++) {
            struct new_file *file = &making->files[j];
            if (!file->error && file->directory_length >= above->length &&
                memcmp(file->directory, above->path, above->length) == 0)
                file->error = above->error;
        }
    }
}

static int compare_content(int fd, const uint8_t *content, size_t length)
{
    uint8_t piece[PIECE];
    for (size_t at = 0; at < length;) {
        size_t most = length - at < PIECE ? length - at : PIECE;
        ssize_t got = pread(fd, piece, most, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0 || memcmp(piece, content + at, (size_t)got) != 0)
            return -EIO;
        at += (size_t)got;
    }
    return 0;
}

/* Read a file back, from the disk or the server: the kernel is asked to drop its pages first. */
static int read_back(int directory, const struct new_file *file)
{
    struct stat found;
    int fd = sys_open_entry(directory, file->name, O_RDONLY | FILE_FLAGS);
    if (fd < 0)
        return fd;
    int result = sys_pinned_status(fd, &found);
    if (result == 0 && (found.st_ino != file->inode || !S_ISREG(found.st_mode) ||
                        (uint64_t)found.st_size != file->length))
        result = -EIO;
    if (result == 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        result = compare_content(fd, file->content, file->length);
    }
    close(fd);
    return result;
}

static void finish_file(void *context, size_t i)
{
    struct making *making = context;
    struct new_file *file = &making->files[i];
    if (file->fd < 0)
        return;
    close(file->fd);
    int directory = open_directory(making->root, file->directory, file->directory_length);
    if (directory < 0) {
        file->error = file->error ? file->error : -directory;
        return;
    }
    int result = -file->error;
    if (result == 0 && making->named)
        result = sync_fd(directory);
    if (result == 0)
        result = read_back(directory, file);
    if (result < 0)
        unlink_entry(directory, file->name);
    file->error = -result;
    close(directory);
}

int files_make(const struct files_root *root, struct new_file *files, size_t count, bool named)
{
    struct making making = {.root = root, .files = files, .file_count = count, .named = named};
    for (size_t i = 0; i < count; i++)
        begin_file(&making, &files[i]);
    threads_run(sync_file, &making, count, true);
    threads_run(sync_above, &making, making.count, true);
    pass_errors_down(&making);
    threads_run(finish_file, &making, count, named);
    free(making.aboves);
    for (size_t i = 0; i < count; i++)
        if (files[i].error == ENOMEM)
            return -ENOMEM;
    return 0;
}

/* ---- linking */

struct linking {
    const struct files_root *root;
    struct part_link *links;
    bool durable;
};

static int link_part(int directory, const struct part_link *link)
{
    struct stat found;
    if (linkat(directory, link->part, directory, link->name, 0) == 0)
        return 0;
    int error = -errno;
    /* An NFS call that was sent again finds its own success. */
    if (error == -EEXIST && sys_entry_status(directory, link->name, &found) == 0 &&
        found.st_ino == link->inode)
        return 0;
    return error;
}

static int remove_part(int directory, const struct part_link *link)
{
    struct stat found;
    int result = sys_entry_status(directory, link->part, &found);
    if (result == 0 && found.st_ino == link->inode)
        result = unlink_entry(directory, link->part);
    return result == -ENOENT ? 0 : result;
}

static void begin_link(const struct linking *linking, struct part_link *link)
{
    int directory = open_directory(linking->root, link->directory, link->directory_length);
    link->error = directory < 0 ? -directory : -link_part(directory, link);
    if (directory >= 0)
        close(directory);
}

static void finish_link(void *context, size_t i)
{
    const struct linking *linking = context;
    struct part_link *link = &linking->links[i];
    int directory = open_directory(linking->root, link->directory, link->directory_length);
    int result = directory;
    if (directory >= 0) {
        result = linking->durable && !link->error ? sync_fd(directory) : 0;
        int removed = remove_part(directory, link);
        result = result < 0 ? result : removed;
        close(directory);
    }
    if (result < 0 && !link->error)
        link->error = -result;
}

void files_link(const struct files_root *root, struct part_link *links, size_t count, bool durable)
{
    struct linking linking = {root, links, durable};
    for (size_t i = 0; i < count; i++)
        begin_link(&linking, &links[i]);
    threads_run(finish_link, &linking, count, durable);
}

/* ---- removing */

struct removing {
    const struct files_root *root;
    struct old_file *files;
};

/* Whether a file is the one to remove: 0, -ENOENT if it is gone or another, -ESTALE. */
static int check_old(int directory, const struct old_file *file)
{
    struct stat found;
    int result = sys_entry_status(directory, file->name, &found);
    if (result < 0)
        return result;
    if (file->inode && found.st_ino != file->inode)
        return -ENOENT;
    if (file->inode &&
        (found.st_size != file->length || sys_nanoseconds(found.st_mtim) != file->mtime))
        return -ESTALE;
    if (!file->content)
        return 0;
    if (!S_ISREG(found.st_mode) || (uint64_t)found.st_size != file->content_length)
        return -ESTALE;
    int fd = sys_open_entry(directory, file->name, O_RDONLY | FILE_FLAGS);
    if (fd < 0)
        return fd;
    result = compare_content(fd, file->content, file->content_length);
    close(fd);
    return result < 0 ? -ESTALE : 0;
}

static void remove_file(const struct removing *removing, struct old_file *file)
{
    int directory = open_directory(removing->root, file->directory, file->directory_length);
    int result = directory < 0 ? directory : check_old(directory, file);
    if (result == 0)
        result = unlink_entry(directory, file->name);
    file->removed = result == 0;
    file->error = result == -ENOENT ? 0 : -result;
    if (directory >= 0)
        close(directory);
}

static void sync_removed(void *context, size_t i)
{
    const struct removing *removing = context;
    struct old_file *file = &removing->files[i];
    if (!file->removed)
        return;
    int directory = open_directory(removing->root, file->directory, file->directory_length);
    file->error = directory < 0 ? -directory : -sync_fd(directory);
    if (directory >= 0)
        close(directory);
}

void files_remove(const struct files_root *root, struct old_file *files, size_t count, bool durable)
{
    struct removing removing = {root, files};
    for (size_t i = 0; i < count; i++)
        remove_file(&removing, &files[i]);
    if (durable)
        threads_run(sync_removed, &removing, count, true);
}
