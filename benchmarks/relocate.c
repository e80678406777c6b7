/*
 * relocate: the least C program that moves objects of v0.3 as safely as archipmigrate
 * does, without a journal: the yardstick for what that, resuming and undo cost.
 *
 *     relocate BLOCKS [THREADS [back]]
 *
 * With "back" it moves them to where v0.3 put them, for the next run, and removes the directories
 * that are empty then: with one thread only. Only `archip_` and 64 hex digits are moved. For each
 * object its old directory is opened and read, it is looked at, its new directory pinned or made,
 * and it is renamed there by renameat2(RENAME_NOREPLACE). A thread calls syncfs each BATCH objects.
 * Threads take the 256 first directories in turns.
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
#include <unistd.h>

enum { BUFFER = 32768, BATCH = 20000, NAME = 71, PREFIX = 7, FIRST = 256, MODE = 0770 };

static int root, back;
static int next;
static long failures;

static void fail(const char *what)
{
    if (__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) < 10)
        perror(what);
}

/* ---- the new place: sha256 of names of NAME bytes, which are two blocks */

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void block(uint32_t *state, const uint8_t *bytes)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 |
               (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] +
               (ROTATE(w[i - 15], 7) ^ ROTATE(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (ROTATE(w[i - 2], 17) ^ ROTATE(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t one = s[7] + (ROTATE(s[4], 6) ^ ROTATE(s[4], 11) ^ ROTATE(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        uint32_t two = (ROTATE(s[0], 2) ^ ROTATE(s[0], 13) ^ ROTATE(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

static void new_place(const char *name, char *place)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t bytes[128] = {0};
    memcpy(bytes, name, NAME);
    bytes[NAME] = 0x80;
    bytes[126] = NAME * 8 >> 8;
    bytes[127] = NAME * 8 & 255;
    block(state, bytes);
    block(state, bytes + 64);
    sprintf(place, "%02x/%02x/%02x", state[0] >> 24, state[0] >> 16 & 255, state[0] >> 8 & 255);
}

static void old_place(const char *name, char *place)
{
    sprintf(place, "%.2s/%.2s/%.2s", name + PREFIX, name + PREFIX + 2, name + PREFIX + 4);
}

/* ---- moving */

static int open_beneath(const char *path, int flags)
{
    const struct open_how how = {.flags = (unsigned)flags | O_DIRECTORY | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static int made(int above, const char *name)
{
    struct stat parent;
    if (fstat(above, &parent) || (mkdirat(above, name, MODE) && errno != EEXIST))
        return -1;
    int fd = openat(above, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !(parent.st_mode & S_ISGID) &&
        syscall(452, fd, "", MODE | S_ISGID, AT_EMPTY_PATH)) /* fchmodat2 */
        fail(name);
    return fd;
}

/* Pin a directory of three levels, made if it is missing. */
static int pin_made(char *place)
{
    place[5] = 0;
    int above = open_beneath(place, O_PATH);
    if (above < 0) {
        place[2] = 0;
        int first = made(root, place);
        above = first < 0 ? -1 : made(first, place + 3);
        close(first);
    }
    int fd = above < 0 ? -1 : made(above, place + 6);
    close(above);
    return fd;
}

static void move(int from, const char *name)
{
    static __thread long moved;
    struct stat found;
    char place[16];
    if (back)
        old_place(name, place);
    else
        new_place(name, place);
    if (fstatat(from, name, &found, AT_SYMLINK_NOFOLLOW) || !S_ISREG(found.st_mode))
        return;
    int to = pin_made(place);
    if (to < 0 || renameat2(from, name, to, name, RENAME_NOREPLACE))
        fail(name);
    close(to);
    if (++moved % BATCH == 0)
        syncfs(root);
}

static void walk(char *path, size_t length, int depth)
{
    char *buffer = malloc(BUFFER), expected[16];
    int fd = open_beneath(path, O_RDONLY);
    if (fd < 0)
        fail(path);
    ssize_t got;
    while (fd >= 0 && (got = getdents64(fd, buffer, BUFFER)) > 0) {
        for (char *at = buffer; at < buffer + got;) {
            struct dirent64 *entry = (struct dirent64 *)at;
            const char *name = entry->d_name;
            at += entry->d_reclen;
            if (entry->d_type == DT_DIR && name[0] != '.' && depth < 3) {
                path[length] = '/';
                strcpy(path + length + 1, name);
                walk(path, length + 1 + strlen(name), depth + 1);
                path[length] = 0;
            } else if (entry->d_type == DT_REG && strlen(name) == NAME) {
                (back ? new_place : old_place)(name, expected);
                if (!strcmp(path, expected))
                    move(fd, name);
            }
        }
    }
    free(buffer);
    close(fd);
    if (back)
        unlinkat(root, path, AT_REMOVEDIR);
}

static void *work(void *unused)
{
    char path[4096];
    int number;
    while ((number = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < FIRST) {
        sprintf(path, "%02x", number);
        if (!faccessat(root, path, F_OK, 0))
            walk(path, 2, 1);
    }
    syncfs(root);
    return unused;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t ids[64];
    if (argc < 2 || threads < 1 || threads > 64) {
        fprintf(stderr, "usage: relocate BLOCKS [THREADS [back]]\n");
        return 2;
    }
    umask(0);
    back = argc > 3 && !strcmp(argv[3], "back");
    root = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (root < 0) {
        perror(argv[1]);
        return 1;
    }
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, NULL)) {
            perror("pthread_create");
            return 1;
        }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return failures ? 3 : 0;
}
