/*
 * For LD_PRELOAD: filesystems that tell odd things, below a directory.
 *
 *     ODD_UNDER=DIR    absolute, without links
 *     ODD_LINKS=0      directories have no link
 *     ODD_CTIME=n      everything changed n seconds after 1970
 *
 * Directories and files elsewhere, such as a journal, are as they are.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_under(int fd)
{
    char link[64], path[PATH_MAX];
    const char *top = getenv("ODD_UNDER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return top && strncmp(path, top, strlen(top)) == 0;
}

#define ALTER(status)                                                                              \
    do {                                                                                           \
        const char *ctime = getenv("ODD_CTIME");                                                   \
        if (getenv("ODD_LINKS") && S_ISDIR((status)->st_mode))                                     \
            (status)->st_nlink = 0;                                                                \
        if (ctime)                                                                                 \
            (status)->st_ctim.tv_sec = atoll(ctime);                                               \
    } while (0)

#define FSTAT(NAME, TYPE)                                                                          \
    int NAME(int fd, TYPE *status)                                                                 \
    {                                                                                              \
        int (*real)(int, TYPE *) = dlsym(RTLD_NEXT, #NAME);                                        \
        int result = real(fd, status);                                                             \
        if (result == 0 && is_under(fd))                                                           \
            ALTER(status);                                                                         \
        return result;                                                                             \
    }
FSTAT(fstat, struct stat)
FSTAT(fstat64, struct stat64)

#define FSTATAT(NAME, TYPE)                                                                        \
    int NAME(int fd, const char *path, TYPE *status, int flags)                                    \
    {                                                                                              \
        int (*real)(int, const char *, TYPE *, int) = dlsym(RTLD_NEXT, #NAME);                     \
        int result = real(fd, path, status, flags);                                                \
        if (result == 0 && fd >= 0 && is_under(fd))                                                \
            ALTER(status);                                                                         \
        return result;                                                                             \
    }
FSTATAT(fstatat, struct stat)
FSTATAT(fstatat64, struct stat64)

static int altered(int fd, int result, struct statx *status)
{
    const char *ctime = getenv("ODD_CTIME");
    if (result != 0 || fd < 0 || !is_under(fd))
        return result;
    if (getenv("ODD_LINKS") && S_ISDIR(status->stx_mode))
        status->stx_nlink = 0;
    if (ctime)
        status->stx_ctime.tv_sec = atoll(ctime);
    return result;
}

int statx(int fd, const char *path, int flags, unsigned mask, struct statx *status)
{
    int (*real)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_NEXT, "statx");
    return altered(fd, real(fd, path, flags, mask, status), status);
}

/* As on x86_64 and aarch64, where all arguments are passed in the same way. */
long syscall(long number, ...)
{
    va_list list;
    long values[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        values[i] = va_arg(list, long);
    va_end(list);
    long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
    long result = real(number, values[0], values[1], values[2], values[3], values[4], values[5]);
    return number == SYS_statx ? altered((int)values[0], (int)result, (struct statx *)values[4])
                               : result;
}
