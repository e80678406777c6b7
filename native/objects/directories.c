/* Pinning and making of directories (directories.h). */

#define _GNU_SOURCE
#include "objects/directories.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define HALF_MADE    01700
#define SECOND_LEVEL 256 /* index of its first directory in `parents` */

static bool is_half_made(const struct stat *found)
{
    return found->st_uid == geteuid() && (found->st_mode & 05777) == HALF_MADE;
}

static uint32_t whole_mode(const struct objects_root *root)
{
    return 0777 & ~root->umask;
}

/* Look at a directory, once a session: what are new directories in it, as they are made? */
static int look_at_parent(const struct objects_root *root, int fd, uint8_t *known)
{
    struct stat found;
    int result = sys_pinned_status(fd, &found);
    if (result < 0)
        return result;
    bool gives = found.st_mode & S_ISGID && found.st_uid == geteuid() &&
                 (root->uid < 0 || (uid_t)root->uid == found.st_uid) &&
                 (root->gid < 0 || (gid_t)root->gid == found.st_gid);
    *known = gives ? PARENT_GIVES : PARENT_GIVES_NOT;
    return 0;
}

/* Give a directory that was made half its owner and mode. */
static int complete(const struct objects_root *root, int above, int fd,
                    const struct features *features)
{
    struct stat parent, found;
    int result = sys_pinned_status(above, &parent);
    if (result == 0)
        result = sys_pinned_status(fd, &found);
    if (result < 0)
        return result;
    uid_t uid = root->uid < 0 ? parent.st_uid : (uid_t)root->uid;
    gid_t gid = root->gid < 0 ? parent.st_gid : (gid_t)root->gid;
    if (found.st_uid != uid || found.st_gid != gid)
        result = sys_change_owner(fd, uid, gid);
    return result < 0 ? result : sys_change_mode(fd, true, S_ISGID | whole_mode(root), features);
}

/* Make a directory, or pin the one that is there. */
static int make(const struct objects_root *root, int above, uint8_t *known, const char *name,
                const struct features *features)
{
    int result = *known == PARENT_UNKNOWN ? look_at_parent(root, above, known) : 0;
    if (result < 0)
        return result;
    bool is_given = *known == PARENT_GIVES;
    int made = sys_make_directory(above, name, is_given ? whole_mode(root) : HALF_MADE);
    if (made < 0 && made != -EEXIST)
        return made;
    int fd = sys_open_entry(above, name, PIN_DIRECTORY);
    if (fd < 0)
        return fd;
    if (made == -EEXIST) {
        struct stat found;
        result = sys_pinned_status(fd, &found);
        if (result == 0 && is_half_made(&found))
            result = -EAGAIN;
    } else if (!is_given) {
        result = complete(root, above, fd, features);
    }
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

/* Pin the directory of the second level that a place is in, made if it is missing. */
static int pin_above(const struct objects_root *root, char *path, uint8_t *first, uint8_t *second,
                     const struct features *features)
{
    if (*second != PARENT_UNKNOWN) {
        int fd = sys_open_beneath(root->fd, path, 5, PIN_DIRECTORY, features);
        if (fd != -ENOENT)
            return fd;
    }
    uint8_t top = PARENT_UNKNOWN;
    path[2] = '\0';
    int above = *first != PARENT_UNKNOWN ? sys_open_entry(root->fd, path, PIN_DIRECTORY) : -ENOENT;
    if (above == -ENOENT)
        above = make(root, root->fd, &top, path, features);
    if (above < 0)
        return above;
    int fd = make(root, above, first, path + 3, features);
    close(above);
    return fd;
}

int objects_pin_made(const struct objects_root *root, const uint8_t *place,
                     const struct features *features)
{
    char path[PLACE_LENGTH + 1];
    move_place_path(place, path);
    path[5] = '\0'; /* 70/36, and e2 after it */
    uint8_t *first = root->parents + place[0];
    uint8_t *second = root->parents + SECOND_LEVEL + 256 * place[0] + place[1];
    int above = pin_above(root, path, first, second, features);
    if (above < 0)
        return above;
    int fd = make(root, above, second, path + 6, features);
    close(above);
    return fd;
}

int objects_pin_whole(const struct objects_root *root, const uint8_t *path, size_t length,
                      const struct features *features)
{
    int fd = sys_open_beneath(root->fd, (const char *)path, length, PIN_DIRECTORY, features);
    if (fd < 0)
        return fd;
    struct stat found;
    int result = sys_pinned_status(fd, &found);
    if (result == 0 && is_half_made(&found))
        result = -EAGAIN;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}
