/*
 * For LD_PRELOAD: names that are longer than Linux's own filesystems have them (FUSE: up to 4095
 * bytes). What is called `LONG...` in a directory is shown as LONG_NAMES bytes of `n`, and found by
 * those.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST 8192

static size_t wanted(void)
{
    const char *length = getenv("LONG_NAMES");
    return length ? strtoul(length, NULL, 10) : 0;
}

/* Return what a name is called on disk. */
static const char *real_name(const char *name)
{
    size_t length = strlen(name);
    return length == wanted() && strspn(name, "n") == length ? "LONG" : name;
}

/* A directory with a few names: all of them, the long one last, fit into what is asked for. */
ssize_t getdents64(int fd, void *buffer, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "getdents64");
    ssize_t got = real(fd, buffer, size);
    char *to = buffer, *from = got > 0 ? malloc((size_t)got) : NULL;
    if (!from)
        return got;
    memcpy(from, buffer, (size_t)got);
    for (ssize_t at = 0; at < got;) {
        struct dirent64 *record = (void *)(from + at), *copy = (void *)to;
        int is_long = strcmp(record->d_name, "LONG") == 0;
        size_t length = is_long ? wanted() : strlen(record->d_name);
        size_t room = (offsetof(struct dirent64, d_name) + length + 8) & ~(size_t)7;
        at += record->d_reclen;
        memcpy(copy, record, offsetof(struct dirent64, d_name));
        copy->d_reclen = (unsigned short)room;
        if (is_long)
            memset(to + offsetof(struct dirent64, d_name), 'n', length);
        else
            memcpy(to + offsetof(struct dirent64, d_name), record->d_name, length);
        to[offsetof(struct dirent64, d_name) + length] = 0;
        to += room;
    }
    free(from);
    return to - (char *)buffer;
}

/* For Python: the C library's own calls of getdents64 are not ours. */
static union {
    struct dirent64 record;
    char bytes[MOST];
} shown;

#define READDIR(NAME, TYPE)                                                                        \
    TYPE *NAME(DIR *directory)                                                                     \
    {                                                                                              \
        TYPE *(*real)(DIR *) = dlsym(RTLD_NEXT, #NAME);                                            \
        TYPE *found = real(directory);                                                             \
        if (!found || strcmp(found->d_name, "LONG") != 0)                                          \
            return found;                                                                          \
        memcpy(&shown, found, offsetof(TYPE, d_name));                                             \
        memset(shown.bytes + offsetof(TYPE, d_name), 'n', wanted());                               \
        shown.bytes[offsetof(TYPE, d_name) + wanted()] = 0;                                        \
        return (TYPE *)&shown;                                                                     \
    }
READDIR(readdir, struct dirent)
READDIR(readdir64, struct dirent64)

#define STAT(NAME, TYPE)                                                                           \
    int NAME(int fd, const char *path, TYPE *status, int flags)                                    \
    {                                                                                              \
        int (*real)(int, const char *, TYPE *, int) = dlsym(RTLD_NEXT, #NAME);                     \
        return real(fd, real_name(path), status, flags);                                           \
    }
STAT(fstatat, struct stat)
STAT(fstatat64, struct stat64)

#define OPEN(NAME)                                                                                 \
    int NAME(int fd, const char *path, int flags, ...)                                             \
    {                                                                                              \
        int (*real)(int, const char *, int, int) = dlsym(RTLD_NEXT, #NAME);                        \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        int mode = va_arg(more, int);                                                              \
        va_end(more);                                                                              \
        return real(fd, real_name(path), flags, mode);                                             \
    }
OPEN(openat)
OPEN(openat64)
