/*
 * The kernel's calls. Each returns 0 (or a number) or -errno, and retries EINTR; where an older
 * kernel lacks a call, others replace it.
 *
 *     struct features   which of the newer calls may be used
 *     struct status     the status of what a descriptor is open on, or pins
 */

#ifndef ARCHIPMIGRATE_CORE_SYSTEM_H
#define ARCHIPMIGRATE_CORE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* O_PATH pins an entry: it can be looked at and changed by the descriptor, but not read. */
#define PIN            (O_PATH | O_NOFOLLOW | O_CLOEXEC)
#define PIN_DIRECTORY  (PIN | O_DIRECTORY)
#define READ_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct features {
    bool openat2;     /* Linux 5.6: a path in one call, without following links */
    bool fchmodat2;   /* Linux 6.6: chmod by an O_PATH descriptor */
    bool statx;       /* Linux 4.11; mount ids since 5.8 */
    bool listxattrat; /* Linux 6.13: listxattr beside a descriptor */
};

struct status {
    uint64_t device;
    uint64_t mount;
    uint64_t inode;
    uint64_t links;
    uint64_t size;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    bool has_mount;     /* `mount` is known */
    bool is_mount_root; /* it is where a filesystem, or a part of one, is mounted */
    bool is_closed;     /* its owner, who may change it, may not read it */
    int64_t mtime, ctime;
    int64_t born; /* 0: not known */
};

/* Probe the running kernel by harmless calls. EPERM counts as absent: seccomp filters answer so. */
struct features sys_probe_features(void);

/* Open an entry of a directory. */
int sys_open_entry(int directory, const char *name, int flags);

/*
 * Open a path below a directory, following no symbolic link; an empty path opens the directory
 * itself. -ELOOP or -ENOTDIR if a component is a link or no directory.
 */
int sys_open_beneath(int directory, const char *path, size_t length, int flags,
                     const struct features *features);

/*
 * Get the status of an entry (not of what a link points to), of a descriptor, or of the directory
 * that a directory is in; the latter two with what only statx tells, in one call.
 */
int sys_entry_status(int directory, const char *name, struct stat *status);
int sys_pinned_status(int fd, struct stat *status);
int sys_status(int fd, const struct features *features, struct status *status);
int sys_parent_status(int fd, const struct features *features, struct status *status);

/*
 * Get the id of the mount that an entry of a directory (empty: what a descriptor pins) is on.
 * -ENODATA if the kernel does not tell.
 */
int sys_mount(int directory, const char *name, const struct features *features, uint64_t *mount);

/* Get the device that an open directory is on; over NFS, without asking the server. */
int sys_device(int fd, const struct features *features, uint64_t *device);

/*
 * Return an identity by the inode's handle (known.h), 0 if there is none; say whether such handles
 * stay the same for as long as the inodes of a filesystem do.
 */
uint64_t sys_handle_identity(int fd);
bool sys_has_stable_handles(int fd);

/* Return "immutable", "append-only" or "". */
const char *sys_protection(int fd, const struct features *features);

/* Say whether the filesystem, or the mount, that a descriptor is on is read-only. */
bool sys_is_read_only(int fd);

/* Read dirents (struct dirent64) into a buffer: their bytes, 0 at the end. */
int sys_read_directory(int fd, void *buffer, size_t size);

/*
 * Change owner and group (UINT32_MAX: leave it), or the permission bits, of what a descriptor is
 * open on, or (O_PATH) pins.
 */
int sys_change_ids(int fd, bool is_pin, uint32_t uid, uint32_t gid);
int sys_change_mode(int fd, bool is_pin, uint32_t mode, const struct features *features);

/* Change the owner and group of what a descriptor pins (O_PATH). */
int sys_change_owner(int pin, uint32_t uid, uint32_t gid);

/* Make a directory; the umask of the process is taken from `mode`. */
int sys_make_directory(int directory, const char *name, uint32_t mode);

/* Move an entry to another directory in one step, never over anything: renameat2(2). */
int sys_rename_exclusive(int source, int target, const char *name);

/*
 * The names of an entry's extended attributes (NULL: of the directory, open for reading, itself).
 */
int sys_list_attributes(int directory, const char *name, char *buffer, size_t size,
                        const struct features *features);

/*
 * The monotonic clock, in ns; and its value `seconds` from now, INT64_MAX if that is never.
 */
int64_t sys_monotonic_time(void);
int64_t sys_deadline(double seconds);

/*
 * A time in ns; it wraps where 64 bits do not hold it (beyond the year 2262), as in
 * packed/changes.py.
 */
int64_t sys_nanoseconds(struct timespec time);

#endif
