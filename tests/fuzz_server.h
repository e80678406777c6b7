/*
 * The server that fuzz_nfs.c talks to, in its own process: sockets and clock that are none
 * (fuzz_fakes.h), a small tree of entries, and NFS 3 and 4.0 as far as the client speaks them.
 *
 *     struct script   the fuzzer's bytes: what the server does, call by call
 *
 * Each reply is made as it should be, and then one byte of the script says what becomes of it: 0 leaves it
 * as it is. When the script has ended it says 0 for ever; or the server has habits, and each kind of call
 * is answered as the last one of its kind was.
 */

#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEW_GID 999

/* What is allocated here is not the client's. */
#undef calloc
#undef malloc
#undef realloc

struct script {
    const uint8_t *at, *end;
    bool deviates; /* the server did what a client need not bear */
};

extern struct script script;

uint8_t take8(void);
uint32_t take32(void);
uint64_t take64(void);
/* Less than `limit`, which is at most 256. */
uint8_t take_below(unsigned limit);
/* So many bytes at most; fewer if there are no more. */
size_t take_bytes(uint8_t *to, size_t most);

/* Say what is wrong, and abort, unless it is good. */
void check(bool good, const char *what);

/* Make the tree and reset the clock; the script gives its size. Close: all connections must be. */
void server_open(int version, bool has_habits);
void server_close(void);

/* The name of the share; its root has this inode. */
extern const char *const SHARE;
uint64_t server_root_inode(void);

/* How many steps (polls) the client may take; when *stop is set (0: never), and whether it is to hear. */
extern long most_steps;
extern long stop_at;
extern bool hears_stop;
extern volatile uint8_t stop;

/* The share is open: from now on losses and delays are to be borne. */
extern bool is_open;

/* So many allocations succeed while the client is at work, then one fails; negative: none does. */
extern int until_failure;
extern bool is_at_work;

/* Whether all entries below the root comply, but those named so, and those of other filesystems. */
bool server_complies(uint32_t directory_bits, uint32_t file_bits, const char *excluded);

#endif
