/*
 * For LD_PRELOAD: something happens in place of the n-th call that changes the mode or the group of
 * an entry, counted over all threads. By fchown and fchmod that is a directory: SQLite has its own
 * files.
 *
 *     KILL_AT=n   the process kills itself
 *     STOP_AT=n   the process stops itself (SIGSTOP), and goes on when it is told to
 *     HANG_AT=n   the same, but the thread goes on only when a file of the name UNTIL is there, as
 *                 in a dead mount
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FCHMODAT2 452

static atomic_long calls;

static int is_it(long call, const char *name)
{
    const char *number = getenv(name);
    return number && call == atol(number);
}

static void count(void)
{
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (is_it(call, "KILL_AT"))
        kill(getpid(), SIGKILL);
    if (is_it(call, "STOP_AT") || is_it(call, "HANG_AT"))
        kill(getpid(), SIGSTOP);
    const char *until = getenv("UNTIL");
    while (is_it(call, "HANG_AT") && !(until && access(until, F_OK) == 0))
        usleep(1000);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int chmod(const char *path, mode_t mode)
{
    count();
    return REAL(chmod)(path, mode);
}

int fchmodat(int directory, const char *path, mode_t mode, int flags)
{
    count();
    return REAL(fchmodat)(directory, path, mode, flags);
}

int chown(const char *path, uid_t uid, gid_t gid)
{
    count();
    return REAL(chown)(path, uid, gid);
}

int fchownat(int directory, const char *path, uid_t uid, gid_t gid, int flags)
{
    count();
    return REAL(fchownat)(directory, path, uid, gid, flags);
}

static int is_directory(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
}

int fchmod(int fd, mode_t mode)
{
    if (is_directory(fd))
        count();
    return REAL(fchmod)(fd, mode);
}

int fchown(int fd, uid_t uid, gid_t gid)
{
    if (is_directory(fd))
        count();
    return REAL(fchown)(fd, uid, gid);
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
    if (number == FCHMODAT2 && (int)values[0] >= 0) /* -1: the probe */
        count();
    return REAL(syscall)(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}
