/*
 * attacker DIR PAIRS: somebody who can write in DIR. As nobody, exchanges DIR/file<i> with
 * DIR/link<i> and DIR/dir<i> with DIR/dirlink<i> (renameat2, RENAME_EXCHANGE) without pause, until
 * it is killed. Prints a line when it has begun.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int pairs = argc > 2 ? atoi(argv[2]) : 0;
    if (pairs < 1 || chdir(argv[1]) || setgroups(0, NULL) || setgid(65534) || setuid(65534)) {
        perror("attacker");
        return 1;
    }
    char from[32], to[32];
    for (long round = 0;; round++) {
        for (int i = 0; i < pairs; i++) {
            snprintf(from, sizeof from, "file%d", i);
            snprintf(to, sizeof to, "link%d", i);
            if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE)) {
                perror(from);
                return 1;
            }
            snprintf(from, sizeof from, "dir%d", i);
            snprintf(to, sizeof to, "dirlink%d", i);
            if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE)) {
                perror(from);
                return 1;
            }
        }
        if (round == 0) {
            puts("begun");
            fflush(stdout);
        }
    }
}
