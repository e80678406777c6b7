/*
 * Preloaded by test_native_faults.py: calls on names that begin with an error's name fail with it,
 * and so does one call of getdents64 (FAIL_GETDENTS: which); NO_TYPES takes the types from
 * directories.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int error_of(const char *name)
{
    if (strncmp(name, "eio", 3) == 0)
        return EIO;
    if (strncmp(name, "estale", 6) == 0)
        return ESTALE;
    return strncmp(name, "eacces", 6) == 0 ? EACCES : 0;
}

#define STAT(NAME, TYPE)                                                                           \
    int NAME(int fd, const char *path, TYPE *status, int flags)                                    \
    {                                                                                              \
        int (*real)(int, const char *, TYPE *, int) = dlsym(RTLD_NEXT, #NAME);                     \
        int error = flags & AT_EMPTY_PATH ? 0 : error_of(path);                                    \
        if (!error)                                                                                \
            return real(fd, path, status, flags);                                                  \
        errno = error;                                                                             \
        return -1;                                                                                 \
    }
STAT(fstatat, struct stat)
STAT(fstatat64, struct stat64)

#define OPEN(NAME)                                                                                 \
    int NAME(int fd, const char *path, int flags, ...)                                             \
    {                                                                                              \
        int (*real)(int, const char *, int, int) = dlsym(RTLD_NEXT, #NAME);                        \
        int error = error_of(path);                                                                \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        int mode = va_arg(more, int);                                                              \
        va_end(more);                                                                              \
        if (!error)                                                                                \
            return real(fd, path, flags, mode);                                                    \
        errno = error;                                                                             \
        return -1;                                                                                 \
    }
OPEN(openat)
OPEN(openat64)

static int calls;

ssize_t getdents64(int fd, void *buffer, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "getdents64");
    const char *fail = getenv("FAIL_GETDENTS");
    if (fail && calls++ == atoi(fail)) {
        errno = EIO;
        return -1;
    }
    ssize_t got = real(fd, buffer, size);
    if (getenv("NO_TYPES"))
        for (ssize_t at = 0; at < got;) {
            struct dirent64 *record = (void *)((char *)buffer + at);
            record->d_type = DT_UNKNOWN;
            at += record->d_reclen;
        }
    return got;
}
