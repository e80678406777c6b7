/*
 * Directories that are opened to be read, and the names in them as they are now.
 *
 * Over NFS the kernel's client asks for the attributes of a directory whenever it is opened by its
 * own name, for else it might show an old listing. By `DIRECTORY/.` it asks for nothing; and what
 * it has kept of a listing is dropped, so that the names come from the server in any case. That is
 * one call less for each directory.
 */

#ifndef ARCHIPMIGRATE_CORE_LISTING_H
#define ARCHIPMIGRATE_CORE_LISTING_H

#include <dirent.h>
#include <stddef.h>

#include "core/system.h"

/* Open a directory below a root: a descriptor, or -errno as sys_open_beneath. */
int listing_open(int root, const char *path, size_t length, const struct features *features);

/*
 * Hand each name but `.` and `..` to `take`, which returns 0, or a negative number that ends it.
 * 0, that number, or -errno.
 */
int listing_read(int fd, int (*take)(void *context, const struct dirent64 *entry), void *context);

#endif
