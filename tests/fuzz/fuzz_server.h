/*
 * The server that fuzz_nfs.c talks to, in its own process: fake sockets and a fake clock
 * (fuzz_fakes.h), a small tree of entries, and NFS 3 and 4.0 as far as the client uses them.
 *
 *     fuzz_network.c   sockets and clock, and what happens to a reply on its way
 *     fuzz_server.c    a tree of entries, and replies, correct but for a few oddities
 *     fuzz_session.c   sessions of version 4.1
 *
 *     struct script    the fuzzer's bytes, which tell the server what to do, call by call
 *
 * Each reply is made correctly; then a byte of the script tells what happens to it: 0 leaves it as
 * it is. After the end of the script that byte is always 0; or, if the server has habits, each call
 * is answered as the last one of its kind was.
 */

#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attrs.h"
#include "nfs/proto/xdr.h"

#define NEW_GID 999
#define NEW_UID 998

/* Allocations of the server do not count as the client's. */
#undef calloc
#undef malloc
#undef realloc

struct script {
    const uint8_t *at, *end;
    bool deviates; /* the server did something that a client need not tolerate */
};

extern struct script script;

uint8_t take8(void);
uint32_t take32(void);
uint64_t take64(void);
/* A number below `limit`, which is at most 256. */
uint8_t take_below(unsigned limit);
/* At most that many bytes; fewer at the end of the script. */
size_t take_bytes(uint8_t *to, size_t max);

/* Abort with a message unless `good`. */
void check(bool good, const char *what);

/* ---- fuzz_network.c */

/* Start with no connections; check that all were closed. */
void network_open(bool has_habits);
void network_close(void);

/*
 * How many steps (polls) the client may take; after how many `stop` is set (0: never); and whether
 * the client must react to it.
 */
extern long max_steps;
extern long stop_at;
extern bool hears_stop;
extern volatile uint8_t stop;

/* How many bytes of calls may wait to be sent. */
extern size_t max_unsent;

/* The share is open: from now on the client must tolerate losses and delays. */
extern bool is_open;

/* After how many allocations of the client at work one fails; negative: none does. */
extern int until_failure;
extern bool is_at_work;

/* ---- fuzz_server.c */

/* Make the tree, whose size the script gives. */
void server_open(int version);

/* The name of the share; its root has this inode. */
extern const char *const SHARE;
uint64_t server_root_inode(void);

/* Whether all entries comply, except below this name, and on other filesystems. */
bool server_complies(const struct policy *policy, const char *const *skipped);

/* ---- what the network has of the server */

/* Bytes before a reply's results: mark, xid, ... */
#define HEAD 28

/* The reply that is written. */
extern struct xdr_out out;

/* What replies lack, and how they are delivered. */
enum quirk {
    NO_DIRECTORY = 1, /* attributes, of a listing */
    NO_ATTRIBUTES = 2,
    NO_HANDLES = 4,
    NO_LOOKUP = 8, /* attributes; of version 4 births */
    NO_AFTER = 16,
    SHORT_READS = 32,
};

extern uint8_t quirks;

/* The kinds of calls that there are habits of. */
enum habit {
    A_CONNECTION,
    A_MOUNT,
    A_LOOK,
    A_LOOKUP,
    A_LISTING,
    A_CHANGE,
    HABITS,
};

/* Return the kind of a call whose head was read. */
enum habit server_habit_of(uint32_t program, uint32_t procedure, struct xdr_in call);

/* Execute and answer a call; the bits of `how` are oddities of a listing. Undo its effect. */
void server_answer(uint32_t program, uint32_t version, uint32_t procedure, struct xdr_in *call,
                   uint8_t how);
void server_undo(void);

/* Change an entry, as another client would. */
void server_meddle(void);

/* Replace the reply by DELAY, or by a status of the script. */
void server_put_later(void);
void server_put_status(bool is_nfs);

/* ---- fuzz_session.c */

/*
 * Read the head of a compound: its tag and minor version. Answer it, and return true, if it is of
 * version 4.1: by what the client needs for a session, or that there is no such version.
 */
bool session_answer(struct xdr_in *call, uint8_t how);

#endif
