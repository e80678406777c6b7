/* Reading of directories (listing.h). */

#define _GNU_SOURCE
#include "core/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdalign.h>
#include <string.h>

#define DIRENTS_SIZE 32768

static int open_to_read(int root, const char *path, size_t length, const struct features *features)
{
    int fd = sys_open_beneath(root, path, length, READ_DIRECTORY | O_NOATIME, features);
    if (fd == -EPERM) /* O_NOATIME is for the owner only */
        fd = sys_open_beneath(root, path, length, READ_DIRECTORY, features);
    return fd;
}

int listing_open(int root, const char *path, size_t length, const struct features *features)
{
    char dotted[PATH_MAX];
    if (length == 0 || length + 2 >= sizeof(dotted))
        return open_to_read(root, path, length, features);
    memcpy(dotted, path, length);
    memcpy(dotted + length, "/.", 2);
    int fd = open_to_read(root, dotted, length + 2, features);
    if (fd >= 0)
        posix_fadvise(fd, 0, 0,
                      POSIX_FADV_DONTNEED); /* to a filesystem without pages it is nothing */
    return fd;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

int listing_read(int fd, int (*take)(void *context, const struct dirent64 *entry), void *context)
{
    alignas(struct dirent64) char dirents[DIRENTS_SIZE];
    for (;;) {
        int size = sys_read_directory(fd, dirents, sizeof(dirents));
        if (size <= 0)
            return size;
        for (int at = 0; at < size;) {
            const struct dirent64 *entry = (const void *)(dirents + at);
            at += entry->d_reclen;
            int result = is_dots(entry->d_name) ? 0 : take(context, entry);
            if (result < 0)
                return result;
        }
    }
}
