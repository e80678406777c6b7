/*
 * limit: the least C program that gives a share to a group as safely as archipmigrate does, without
 * a journal: the yardstick for what a journal, resuming and undo cost.
 *
 *     limit DIR GID [THREADS [reset|looks]]
 *
 * With "reset" it gives every directory mode 0700 and every file 0600 instead, for the next run.
 * With "looks" it also makes the calls of archipmigrate's other guarantees: it looks for ACLs,
 * compares a directory again just before the change, and reads every change back.
 * Directories are opened relative to their parents (O_NOFOLLOW, O_NOATIME), entries that must
 * change are pinned (O_PATH), compared and changed through the pin. Threads share a short queue of
 * paths; whoever finds a directory while the queue is full walks it itself.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_listxattrat
#define SYS_listxattrat 465
#endif

enum { QUEUE = 64, BUFFER = 32768, PATHS = 4096, DIRECTORY_BITS = 02070, FILE_BITS = 0060 };

static int root, resets, looks;
static gid_t group;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *path[QUEUE];
    int count, walking;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static long failures;

static void fail(const char *what)
{
    if (__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) < 10)
        perror(what);
}

/* Take a directory's path if there is room; the queue is only looked at under its lock. */
static int offer(const char *path)
{
    int taken = 0;
    pthread_mutex_lock(&queue.lock);
    if (queue.count < QUEUE && (queue.path[queue.count] = strdup(path))) {
        queue.count++;
        taken = 1;
        pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    return taken;
}

static int wanted(const struct stat *st)
{
    int mode = st->st_mode & 07777;
    if (resets)
        return S_ISDIR(st->st_mode) ? 0700 : 0600;
    if (S_ISDIR(st->st_mode))
        return mode | DIRECTORY_BITS;
    mode &= ~(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
    return mode | FILE_BITS;
}

static int complies(const struct stat *st)
{
    if (resets)
        return 0;
    int bits = S_ISDIR(st->st_mode) ? DIRECTORY_BITS : FILE_BITS;
    return st->st_gid == group && (st->st_mode & bits) == (mode_t)bits;
}

/* Read the names of extended attributes: of a directory that is open (no name), or of an entry. */
static void look_at_attributes(int fd, const char *name)
{
    char list[512];
    long length = name ? syscall(SYS_listxattrat, fd, name, AT_SYMLINK_NOFOLLOW, list, sizeof list)
                       : flistxattr(fd, list, sizeof list);
    if (length > 0 && memmem(list, (size_t)length, "system.posix_acl_access", 24))
        fprintf(stderr, "an ACL\n");
}

static void read_back(int fd, mode_t mode)
{
    struct stat now;
    if (fstat(fd, &now) || (!resets && now.st_gid != group) || (now.st_mode & 07777) != mode)
        fail("read back");
}

static void change(int fd, const struct stat *st)
{
    mode_t mode = (mode_t)wanted(st);
    if (st->st_gid != group && fchownat(fd, "", -1, group, AT_EMPTY_PATH))
        fail("fchownat");
    else if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH))
        fail("fchmodat2");
    else if (looks)
        read_back(fd, mode);
}

static void change_directory(int fd, const struct stat *st)
{
    struct stat now;
    if (!looks)
        return change(fd, st);
    look_at_attributes(fd, NULL);
    if (fstat(fd, &now))
        fail("fstat");
    else if (now.st_mode == st->st_mode && now.st_gid == st->st_gid && now.st_uid == st->st_uid)
        change(fd, st);
}

static void file(int directory, const char *name)
{
    struct stat st, pinned;
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW))
        return fail(name);
    if (!S_ISREG(st.st_mode) || complies(&st))
        return;
    if (looks)
        look_at_attributes(directory, name);
    int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &pinned))
        fail(name);
    else if (pinned.st_ino == st.st_ino && pinned.st_mode == st.st_mode)
        change(fd, &st);
    if (fd >= 0)
        close(fd);
}

static void walk(int fd, char *path, size_t length)
{
    struct stat st;
    char *buffer = malloc(BUFFER);
    if (!buffer || fstat(fd, &st)) {
        fail(path);
        goto out;
    }
    ssize_t got;
    while ((got = getdents64(fd, buffer, BUFFER)) > 0) {
        for (char *at = buffer; at < buffer + got;) {
            struct dirent64 *entry = (struct dirent64 *)at;
            const char *name = entry->d_name;
            at += entry->d_reclen;
            if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
                continue;
            if (entry->d_type != DT_DIR) {
                if (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN)
                    file(fd, name);
                continue;
            }
            size_t more = strlen(name);
            if (length + more + 2 > PATHS) {
                fail("path too long for the yardstick");
                continue;
            }
            path[length] = '/';
            memcpy(path + length + 1, name, more + 1);
            if (__atomic_load_n(&queue.count, __ATOMIC_RELAXED) >= QUEUE || !offer(path)) {
                int deeper = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
                if (deeper < 0)
                    fail(path);
                else
                    walk(deeper, path, length + 1 + more);
            }
            path[length] = 0;
        }
    }
    if (!complies(&st))
        change_directory(fd, &st);
out:
    free(buffer);
    close(fd);
}

static void *work(void *unused)
{
    char path[PATHS];
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    pthread_mutex_lock(&queue.lock);
    while (queue.count || queue.walking) {
        if (!queue.count) {
            pthread_cond_wait(&queue.changed, &queue.lock);
            continue;
        }
        char *taken = queue.path[--queue.count];
        queue.walking++;
        pthread_mutex_unlock(&queue.lock);
        strcpy(path, taken);
        int fd = (int)syscall(SYS_openat2, root, taken, &how, sizeof how);
        if (fd < 0)
            fail(path);
        else
            walk(fd, path, strlen(path));
        free(taken);
        pthread_mutex_lock(&queue.lock);
        queue.walking--;
        pthread_cond_broadcast(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    return unused;
}

int main(int argc, char **argv)
{
    int threads = argc > 3 ? atoi(argv[3]) : 1;
    pthread_t ids[64];
    if (argc < 3 || threads < 1 || threads > 64) {
        fprintf(stderr, "usage: limit DIR GID [THREADS [reset|looks]]\n");
        return 2;
    }
    resets = argc > 4 && !strcmp(argv[4], "reset");
    looks = argc > 4 && !strcmp(argv[4], "looks");
    group = (gid_t)strtoul(argv[2], NULL, 10);
    root = open(argv[1], O_PATH | O_DIRECTORY);
    if (root < 0) {
        perror(argv[1]);
        return 1;
    }
    offer(".");
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, NULL)) {
            perror("pthread_create");
            return 1;
        }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return failures ? 3 : 0;
}
