/*
 * System calls (system.h). Newer ones are made by their numbers, with their structures declared
 * here: the C library of the build host may not know them, and the running kernel may.
 *
 *     struct how        linux/openat2.h, struct open_how
 *     struct extended   linux/stat.h, struct statx
 */

#define _GNU_SOURCE
#include "core/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "core/known.h"

/* The numbers of newer calls are the same on all architectures but Alpha. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_listxattrat
#define SYS_listxattrat 465
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif

#define NOREPLACE 1 /* linux/fs.h, RENAME_NOREPLACE */

struct how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#define NO_MAGICLINKS 0x02
#define NO_SYMLINKS   0x04
#define BENEATH       0x08

/* As of Linux 5.8: older headers end before the mount id. */
struct extended_time {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t reserved;
};
struct extended {
    uint32_t mask;
    uint32_t block_size;
    uint64_t attributes;
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare;
    uint64_t inode;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct extended_time accessed, born, changed, modified;
    uint32_t special_major, special_minor;
    uint32_t device_major, device_minor;
    uint64_t mount;
    uint64_t reserved[13];
};
_Static_assert(sizeof(struct extended) == 256, "struct statx has 256 bytes");
#define BASIC       0x07ff
#define BORN        0x0800
#define MOUNT       0x1000
#define IMMUTABLE   0x10
#define APPEND_ONLY 0x20
#define MOUNT_ROOT  0x2000

/* linux/magic.h. Its handles are numbers of the kernel's cache. */
#define FUSE 0x65735546

/* Bytes that suffice for the names of the extended attributes of most entries. */
#define FEW_ATTRIBUTES 512

/*
 * A path is opened at once; after TRIES failures with EAGAIN (a rename elsewhere), step by step.
 */
#define TRIES 32

#define RETRY(call)                                                                                \
    __extension__({                                                                                \
        long result_;                                                                              \
        do                                                                                         \
            result_ = (call);                                                                      \
        while (result_ < 0 && errno == EINTR);                                                     \
        (int)(result_ < 0 ? -errno : result_);                                                     \
    })

static int extended_status(int fd, uint32_t mask, struct extended *status)
{
    return RETRY(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, mask, status));
}

static bool is_absent(int result)
{
    return result == -ENOSYS || result == -EPERM;
}

struct features sys_probe_features(void)
{
    struct how how = {.flags = PIN_DIRECTORY, .resolve = BENEATH | NO_SYMLINKS | NO_MAGICLINKS};
    int fd = RETRY(syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how)));
    if (fd >= 0)
        close(fd);
    struct extended status;
    return (struct features){
        .openat2 = !is_absent(fd),
        .fchmodat2 = !is_absent(RETRY(syscall(SYS_fchmodat2, -1, "", 0, AT_EMPTY_PATH))),
        .statx = !is_absent(extended_status(-1, BASIC, &status)),
        .listxattrat = !is_absent(RETRY(syscall(SYS_listxattrat, -1, "", 0, NULL, 0))),
    };
}

int sys_open_entry(int directory, const char *name, int flags)
{
    return RETRY(openat(directory, name, flags));
}

/* Open a piece of a path: any number of components if `whole` (openat2), else one. */
static int open_piece(int directory, const char *piece, int flags, bool whole)
{
    if (!whole || !strchr(piece, '/'))
        return sys_open_entry(directory, piece, flags);
    struct how how = {
        .flags = (uint64_t)(unsigned)flags,
        .resolve = BENEATH | NO_SYMLINKS | NO_MAGICLINKS,
    };
    int fd;
    int tries = TRIES;
    do
        fd = RETRY(syscall(SYS_openat2, directory, piece, &how, sizeof(how)));
    while (fd == -EAGAIN && --tries > 0);
    return fd == -EXDEV ? -ELOOP : fd;
}

/* Return the length of the next piece of a path, below PATH_MAX; 0 if its name is too long. */
static size_t next_piece(const char *path, size_t length, bool whole)
{
    if (whole && length < PATH_MAX)
        return length;
    const char *slash = whole ? memrchr(path, '/', PATH_MAX) : memchr(path, '/', length);
    size_t size = slash ? (size_t)(slash - path) : length;
    return size < PATH_MAX ? size : 0;
}

static int open_pieces(int directory, const char *path, size_t length, int flags, bool whole)
{
    char piece[PATH_MAX];
    int at = directory;
    for (;;) {
        size_t size = next_piece(path, length, whole);
        bool last = size == length;
        int fd = -ENAMETOOLONG;
        if (size > 0) {
            memcpy(piece, path, size);
            piece[size] = '\0';
            fd = open_piece(at, piece, last ? flags : PIN_DIRECTORY, whole);
        }
        if (at != directory)
            close(at);
        if (fd < 0 || last)
            return fd;
        at = fd;
        path += size + 1;
        length -= size + 1;
    }
}

int sys_open_beneath(int directory, const char *path, size_t length, int flags,
                     const struct features *features)
{
    if (length == 0)
        return sys_open_entry(directory, ".", flags);
    int fd = open_pieces(directory, path, length, flags, features->openat2);
    if (fd == -EAGAIN && features->openat2)
        fd = open_pieces(directory, path, length, flags, false);
    return fd;
}

int sys_entry_status(int directory, const char *name, struct stat *status)
{
    return RETRY(fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW));
}

int sys_pinned_status(int fd, struct stat *status)
{
    return RETRY(fstat(fd, status));
}

static int64_t time_of(struct extended_time time)
{
    return sys_nanoseconds((struct timespec){.tv_sec = time.seconds, .tv_nsec = time.nanoseconds});
}

/* Get the status of what is open (an empty name), or of the directory that it is in. */
static int status_at(int fd, const char *name, const struct features *features,
                     struct status *status)
{
    if (features->statx) {
        struct extended found;
        unsigned mask = BASIC | BORN | MOUNT;
        int result = RETRY(syscall(SYS_statx, fd, name, AT_EMPTY_PATH, mask, &found));
        if (result < 0)
            return result;
        *status = (struct status){
            .device = makedev(found.device_major, found.device_minor),
            .mount = found.mount,
            .inode = found.inode,
            .links = found.links,
            .size = found.size,
            .mode = found.mode,
            .uid = found.uid,
            .gid = found.gid,
            .has_mount = found.mask & MOUNT,
            .is_mount_root = found.attributes & MOUNT_ROOT,
            .mtime = time_of(found.modified),
            .ctime = time_of(found.changed),
            .born = found.mask & BORN ? time_of(found.born) : 0,
        };
        return 0;
    }
    struct stat found;
    int result = RETRY(fstatat(fd, name, &found, AT_EMPTY_PATH));
    if (result < 0)
        return result;
    *status = (struct status){
        .device = found.st_dev,
        .inode = found.st_ino,
        .links = found.st_nlink,
        .size = (uint64_t)found.st_size,
        .mode = found.st_mode,
        .uid = found.st_uid,
        .gid = found.st_gid,
        .mtime = sys_nanoseconds(found.st_mtim),
        .ctime = sys_nanoseconds(found.st_ctim),
    };
    return 0;
}

int sys_status(int fd, const struct features *features, struct status *status)
{
    return status_at(fd, "", features, status);
}

int sys_parent_status(int fd, const struct features *features, struct status *status)
{
    return status_at(fd, "..", features, status);
}

int sys_mount(int directory, const char *name, const struct features *features, uint64_t *mount)
{
    /* What is cached will do: it is the path that has a mount, not the file. */
    int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
    struct extended found;
    if (!features->statx)
        return -ENODATA;
    int result = RETRY(syscall(SYS_statx, directory, name, flags, MOUNT, &found));
    if (result < 0)
        return result;
    *mount = found.mount;
    return found.mask & MOUNT ? 0 : -ENODATA;
}

int sys_device(int fd, const struct features *features, uint64_t *device)
{
    struct extended found;
    struct stat status;
    int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    int result = features->statx ? RETRY(syscall(SYS_statx, fd, "", flags, 0, &found))
                                 : sys_pinned_status(fd, &status);
    if (result == 0)
        *device = features->statx ? makedev(found.device_major, found.device_minor) : status.st_dev;
    return result;
}

uint64_t sys_handle_identity(int fd)
{
    union {
        struct file_handle head;
        uint8_t room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } file;
    int mount;
    file.head.handle_bytes = MAX_HANDLE_SZ;
    if (RETRY(name_to_handle_at(fd, "", &file.head, &mount, AT_EMPTY_PATH)) < 0)
        return 0;
    return identity_of_handle(file.head.f_handle, file.head.handle_bytes);
}

bool sys_has_stable_handles(int fd)
{
    struct statfs found;
    return RETRY(fstatfs(fd, &found)) == 0 && (uint32_t)found.f_type != FUSE;
}

const char *sys_protection(int fd, const struct features *features)
{
    struct extended found;
    if (!features->statx || extended_status(fd, BORN, &found) < 0)
        return "";
    if (found.attributes & IMMUTABLE)
        return "immutable";
    return found.attributes & APPEND_ONLY ? "append-only" : "";
}

bool sys_is_read_only(int fd)
{
    struct statvfs found;
    return RETRY(fstatvfs(fd, &found)) == 0 && found.f_flag & ST_RDONLY;
}

int sys_read_directory(int fd, void *buffer, size_t size)
{
    return RETRY(getdents64(fd, buffer, size));
}

int sys_change_ids(int fd, bool is_pin, uint32_t uid, uint32_t gid)
{
    if (!is_pin)
        return RETRY(fchown(fd, uid, gid));
    return RETRY(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

int sys_change_mode(int fd, bool is_pin, uint32_t mode, const struct features *features)
{
    if (!is_pin)
        return RETRY(fchmod(fd, mode & 07777));
    if (features->fchmodat2)
        return RETRY(syscall(SYS_fchmodat2, fd, "", mode & 07777, AT_EMPTY_PATH));
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return RETRY(chmod(path, mode & 07777));
}

int sys_change_owner(int pin, uint32_t uid, uint32_t gid)
{
    return RETRY(fchownat(pin, "", uid, gid, AT_EMPTY_PATH));
}

int sys_make_directory(int directory, const char *name, uint32_t mode)
{
    return RETRY(mkdirat(directory, name, mode));
}

int sys_rename_exclusive(int source, int target, const char *name)
{
    return RETRY(syscall(SYS_renameat2, source, name, target, name, NOREPLACE));
}

static int list_at_once(int directory, const char *name, char *buffer, size_t size,
                        const struct features *features)
{
    if (!name)
        return RETRY(flistxattr(directory, buffer, size));
    if (features->listxattrat)
        return RETRY(syscall(SYS_listxattrat, directory, name, AT_SYMLINK_NOFOLLOW, buffer, size));
    char path[sizeof("/proc/self/fd//") + 3 * sizeof(int) + NAME_MAX + 1];
    int length = snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", directory, name);
    if (length >= (int)sizeof(path))
        return -ENAMETOOLONG;
    return RETRY(llistxattr(path, buffer, size));
}

int sys_list_attributes(int directory, const char *name, char *buffer, size_t size,
                        const struct features *features)
{
    /*
     * The kernel allocates as much as it is offered: 64 KiB take longer than the rest of the call.
     */
    size_t few = size < FEW_ATTRIBUTES ? size : FEW_ATTRIBUTES;
    int length = list_at_once(directory, name, buffer, few, features);
    return length == -ERANGE ? list_at_once(directory, name, buffer, size, features) : length;
}

int64_t sys_monotonic_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return sys_nanoseconds(now);
}

int64_t sys_deadline(double seconds)
{
    int64_t now = sys_monotonic_time();
    if (!(seconds < 1e9)) /* more than 30 years, or no number */
        return INT64_MAX;
    return seconds > 0 ? now + (int64_t)(seconds * 1e9) : now;
}

int64_t sys_nanoseconds(struct timespec time)
{
    return (int64_t)((uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec);
}
