/*
 * For LD_PRELOAD: the n-th call that changes something below given directories does not happen, or
 * is the last. Counted over all threads; what is opened to be read is not counted.
 *
 *     FAIL_UNDER=DIR:DIR  absolute, without links; changes elsewhere, as in a journal, do not count
 *     FAIL_AT=n
 *     FAIL_HOW=kill       the process kills itself in place of the call
 *     FAIL_HOW=after      the process kills itself when the call has returned
 *     FAIL_HOW=EIO        the call fails so, once; or with another error of `ERRORS`
 *     FAIL_HOW=stop       the process stops itself (SIGSTOP) before the call
 *     FAIL_REPORT=FILE    is made when that happens, with the call and what it was about
 *     FAIL_RENAMEAT2=1    renameat2 is not known, as on NFS: EINVAL; it is not counted then
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPENAT2     437
#define FCHMODAT2   452
#define ROOM        (2 * PATH_MAX)
#define DESCRIPTORS "/proc/self/fd/"
#define REAL(name)  ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum fate { HAPPENS, FAILS, IS_LAST };

static atomic_long calls;

static void end(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Names are made absolute, but neither links nor `..` in them are followed. */
static void path_of_fd(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, DESCRIPTORS "%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void path_of(int directory, const char *name, char *path)
{
    path[0] = 0;
    if (!name)
        name = "";
    if (!strncmp(name, DESCRIPTORS, strlen(DESCRIPTORS))) {
        path_of_fd(atoi(name + strlen(DESCRIPTORS)), path);
        return;
    }
    if (name[0] != '/') {
        if (directory != AT_FDCWD)
            path_of_fd(directory, path);
        else if (!getcwd(path, PATH_MAX))
            path[0] = 0;
        strcat(path, "/");
    }
    strncat(path, name, PATH_MAX - 1);
}

static int is_under(const char *path)
{
    const char *top = getenv("FAIL_UNDER");
    while (top && *top) {
        size_t length = strcspn(top, ":");
        if (!strncmp(path, top, length) && (path[length] == '/' || !path[length]))
            return 1;
        top += length + (top[length] == ':');
    }
    return 0;
}

static void report(const char *call, const char *path)
{
    const char *name = getenv("FAIL_REPORT");
    int fd = name ? REAL(open)(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    char line[ROOM + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    if (REAL(write)(fd, line, length) != length)
        abort();
    close(fd);
}

static const struct {
    const char *name;
    int number;
} ERRORS[] = {
    {"EIO", EIO},     {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EMLINK", EMLINK},
    {"EROFS", EROFS}, {"EXDEV", EXDEV},   {"EPERM", EPERM},
};

static int error_named(const char *name)
{
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (!strcmp(name, ERRORS[i].name))
            return ERRORS[i].number;
    abort();
}

static enum fate fate(const char *call, const char *path)
{
    const char *number = getenv("FAIL_AT"), *how = getenv("FAIL_HOW");
    if (!number || !how || !is_under(path) || atomic_fetch_add(&calls, 1) + 1 != atol(number))
        return HAPPENS;
    report(call, path);
    if (!strcmp(how, "kill"))
        end();
    if (!strcmp(how, "after"))
        return IS_LAST;
    if (!strcmp(how, "stop")) {
        kill(getpid(), SIGSTOP);
        return HAPPENS;
    }
    errno = error_named(how);
    return FAILS;
}

static enum fate fate_of_fd(const char *call, int fd)
{
    char path[ROOM];
    path_of_fd(fd, path);
    return fate(call, path);
}

static enum fate fate_of_name(const char *call, int directory, const char *name)
{
    char path[ROOM];
    path_of(directory, name, path);
    return fate(call, path);
}

/* Of two names the first that is below. */
static enum fate fate_of_names(const char *call, int from, const char *old, int to, const char *new)
{
    char path[ROOM];
    path_of(from, old, path);
    if (!is_under(path))
        path_of(to, new, path);
    return fate(call, path);
}

#define CALL(type, fate_of_it, name, ...)                                                          \
    do {                                                                                           \
        enum fate its = fate_of_it;                                                                \
        if (its == FAILS)                                                                          \
            return -1;                                                                             \
        type result = REAL(name)(__VA_ARGS__);                                                     \
        if (its == IS_LAST)                                                                        \
            end();                                                                                 \
        return result;                                                                             \
    } while (0)

/* The same for a function that takes a descriptor, a name, or a directory and a name. */
#define BY_FD(type, name, parameters, ...)                                                         \
    type name parameters                                                                           \
    {                                                                                              \
        CALL(type, fate_of_fd(#name, fd), name, __VA_ARGS__);                                      \
    }
#define BY_NAME(name, parameters, ...)                                                             \
    int name parameters                                                                            \
    {                                                                                              \
        CALL(int, fate_of_name(#name, AT_FDCWD, path), name, __VA_ARGS__);                         \
    }
#define BY_DIRECTORY(name, parameters, ...)                                                        \
    int name parameters                                                                            \
    {                                                                                              \
        CALL(int, fate_of_name(#name, directory, path), name, __VA_ARGS__);                        \
    }

BY_FD(ssize_t, write, (int fd, const void *from, size_t size), fd, from, size)
BY_FD(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), fd, from, size, at)
BY_FD(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), fd, from, size, at)
BY_FD(ssize_t, writev, (int fd, const struct iovec *from, int count), fd, from, count)
BY_FD(ssize_t, pwritev, (int fd, const struct iovec *from, int count, off_t at), fd, from, count,
      at)
BY_FD(ssize_t, pwritev64, (int fd, const struct iovec *from, int count, off64_t at), fd, from,
      count, at)
BY_FD(int, fsync, (int fd), fd)
BY_FD(int, fdatasync, (int fd), fd)
BY_FD(int, syncfs, (int fd), fd)
BY_FD(int, ftruncate, (int fd, off_t size), fd, size)
BY_FD(int, ftruncate64, (int fd, off64_t size), fd, size)
BY_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), fd, mode, at, size)
BY_FD(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), fd, mode, at, size)
BY_FD(int, fchmod, (int fd, mode_t mode), fd, mode)
BY_FD(int, fchown, (int fd, uid_t uid, gid_t gid), fd, uid, gid)
BY_FD(ssize_t, copy_file_range,
      (int from, off64_t *from_at, int fd, off64_t *at, size_t size, unsigned int flags), from,
      from_at, fd, at, size, flags)
BY_FD(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags), fd,
      name, value, size, flags)
BY_FD(int, fremovexattr, (int fd, const char *name), fd, name)
BY_FD(int, futimens, (int fd, const struct timespec times[2]), fd, times)

BY_NAME(chmod, (const char *path, mode_t mode), path, mode)
BY_NAME(chown, (const char *path, uid_t uid, gid_t gid), path, uid, gid)
BY_NAME(lchown, (const char *path, uid_t uid, gid_t gid), path, uid, gid)
BY_NAME(unlink, (const char *path), path)
BY_NAME(rmdir, (const char *path), path)
BY_NAME(mkdir, (const char *path, mode_t mode), path, mode)
BY_NAME(truncate, (const char *path, off_t size), path, size)
BY_NAME(truncate64, (const char *path, off64_t size), path, size)

BY_DIRECTORY(fchmodat, (int directory, const char *path, mode_t mode, int flags), directory, path,
             mode, flags)
BY_DIRECTORY(fchownat, (int directory, const char *path, uid_t uid, gid_t gid, int flags),
             directory, path, uid, gid, flags)
BY_DIRECTORY(utimensat,
             (int directory, const char *path, const struct timespec times[2], int flags),
             directory, path, times, flags)
BY_DIRECTORY(unlinkat, (int directory, const char *path, int flags), directory, path, flags)
BY_DIRECTORY(mkdirat, (int directory, const char *path, mode_t mode), directory, path, mode)

int link(const char *old, const char *new)
{
    CALL(int, fate_of_names("link", AT_FDCWD, old, AT_FDCWD, new), link, old, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    CALL(int, fate_of_names("linkat", from, old, to, new), linkat, from, old, to, new, flags);
}

int rename(const char *old, const char *new)
{
    CALL(int, fate_of_names("rename", AT_FDCWD, old, AT_FDCWD, new), rename, old, new);
}

int renameat(int from, const char *old, int to, const char *new)
{
    CALL(int, fate_of_names("renameat", from, old, to, new), renameat, from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned int flags)
{
    if (getenv("FAIL_RENAMEAT2")) {
        errno = EINVAL;
        return -1;
    }
    CALL(int, fate_of_names("renameat2", from, old, to, new), renameat2, from, old, to, new, flags);
}

static int changes(int flags)
{
    return flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
}

static mode_t mode_of(int flags, va_list list)
{
    return changes(flags) ? va_arg(list, mode_t) : 0;
}

#define OPEN(name, directory)                                                                      \
    do {                                                                                           \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = mode_of(flags, list);                                                        \
        va_end(list);                                                                              \
        CALL(int, changes(flags) ? fate_of_name(#name, directory, path) : HAPPENS, name,           \
             ARGUMENTS, mode);                                                                     \
    } while (0)

#define ARGUMENTS path, flags
int open(const char *path, int flags, ...)
{
    OPEN(open, AT_FDCWD);
}

int open64(const char *path, int flags, ...)
{
    OPEN(open64, AT_FDCWD);
}
#undef ARGUMENTS

#define ARGUMENTS directory, path, flags
int openat(int directory, const char *path, int flags, ...)
{
    OPEN(openat, directory);
}

int openat64(int directory, const char *path, int flags, ...)
{
    OPEN(openat64, directory);
}
#undef ARGUMENTS

/* As on x86_64 and aarch64, where all arguments are passed in the same way. */
long syscall(long number, ...)
{
    va_list list;
    long v[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        v[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_renameat2)
        return renameat2((int)v[0], (const char *)v[1], (int)v[2], (const char *)v[3],
                         (unsigned)v[4]);
    enum fate decided = HAPPENS;
    if (number == FCHMODAT2 && (int)v[0] >= 0) /* -1: the probe */
        decided = fate_of_name("fchmodat2", (int)v[0], (const char *)v[1]);
    if (number == OPENAT2 && v[2] &&
        changes((int)*(const uint64_t *)v[2])) /* struct open_how begins with the flags */
        decided = fate_of_name("openat2", (int)v[0], (const char *)v[1]);
    CALL(long, decided, syscall, number, v[0], v[1], v[2], v[3], v[4], v[5]);
}
