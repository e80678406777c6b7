/*
 * The server that fuzz_nfs.c talks to, in its own process: sockets and clock that are none
 * (fuzz_fakes.h), a small tree of entries, and NFS 3 and 4.0 as far as the client speaks them.
 *
 *     fuzz_network.c   sockets and clock, and what becomes of a reply on its way
 *     fuzz_server.c    a tree of entries, and replies as they should be, or nearly so
 *
 *     struct script    the fuzzer's bytes: what the server does, call by call
 *
 * Each reply is made as it should be, and then one byte of the script says what becomes of it: 0
 * leaves it as it is. When the script has ended it says 0 for ever; or the server has habits, and
 * each kind of call is answered as the last one of its kind was.
 */

#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/proto/xdr.h"

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

/* ---- fuzz_network.c */

/* Begin anew. Close: all connections must be. */
void network_open(bool has_habits);
void network_close(void);

/*
 * How many steps (polls) the client may take; when *stop is set (0: never), and whether it is to
 * hear.
 */
extern long most_steps;
extern long stop_at;
extern bool hears_stop;
extern volatile uint8_t stop;

/* So many bytes of calls may wait to be sent. */
extern size_t most_unsent;

/* The share is open: from now on losses and delays are to be borne. */
extern bool is_open;

/* So many allocations succeed while the client is at work, then one fails; negative: none does. */
extern int until_failure;
extern bool is_at_work;

/* ---- fuzz_server.c */

/* Make the tree, of which the script gives the size. */
void server_open(int version);

/* The name of the share; its root has this inode. */
extern const char *const SHARE;
uint64_t server_root_inode(void);

/* Whether all entries below the root comply, but those named so, and those of other filesystems. */
bool server_complies(uint32_t directory_bits, uint32_t file_bits, const char *excluded);

/* ---- what the network has of the server */

/* Bytes before a reply's results: mark, xid, ... */
#define HEAD 28

/* The reply that is written. */
extern struct xdr_out out;

/* What is left out of replies, and how they are read. */
enum quirk {
    NO_DIRECTORY = 1, /* attributes, of a listing */
    NO_ATTRIBUTES = 2,
    NO_HANDLES = 4,
    NO_LOOKUP = 8, /* attributes */
    NO_AFTER = 16,
    SHORT_READS = 32,
};

extern uint8_t quirks;

/* What there are habits of. */
enum habit {
    A_CONNECTION,
    A_MOUNT,
    A_LOOK,
    A_LOOKUP,
    A_LISTING,
    A_CHANGE,
    HABITS,
};

/* What a call is, whose head was read. */
enum habit server_habit_of(uint32_t program, uint32_t procedure, struct xdr_in call);

/* Answer it; `how` are bits of what is wrong in a listing. Undo: nothing was done. */
void server_answer(uint32_t program, uint32_t version, uint32_t procedure, struct xdr_in *call,
                   uint8_t how);
void server_undo(void);

/* Somebody changes an entry. */
void server_meddle(void);

/* Write another reply instead: "later, please", or a status that the script says. */
void server_put_later(void);
void server_put_status(bool is_nfs);

#endif
