/*
 * A client that speaks NFS itself, and the two verbs on it.
 *
 *     struct nfs_settings       which share, as whom, how many calls in flight
 *     struct nfs                an open share; may be used by several threads at once
 *     struct nfs_scan_request   as struct scan_request (walk.h), for a unit of this backend
 *     struct nfs_apply_request  as struct apply_request (setattr.h)
 *
 * A thread takes a connection, drives it alone, and gives it back; there are as many as were ever needed
 * at once. Calls in flight are bounded for all together (pace.h): a connection with none may always make one.
 *
 * Handles come from the server and go back to it: what they name may have been moved since, but is the
 * very entry that was looked at. Those of directories that a unit left over are remembered for a minute.
 */

#ifndef ARCHIPMIGRATE_NFS_CLIENT_H
#define ARCHIPMIGRATE_NFS_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/result.h"
#include "nfs/idmap.h"
#include "nfs/proto/nfs3.h"
#include "nfs/proto/rpc.h"

/* So many calls at most are in flight at once. */
#define MOST_FLIGHT 512
/*
 * So long is waited for the replies of what is under way when a verb is stopped; for a single call, if nothing was
 * said meanwhile but "later".
 */
#define SILENT (2 * 1000000000LL)
/* How soon a call is made anew after "later, please". */
#define LATER 100

struct nfs_settings {
    const char *server;
    const char *path;
    int version;              /* 3 or 4 */
    uint16_t nfs_port;        /* 0: the usual one */
    uint16_t mount_port;      /* 0: ask the port mapper */
    const char *mount_server; /* NULL: the same */
    struct handle root;       /* length 0: found by the path */
    int64_t uid;              /* -1: the process's */
    int64_t gid;
    size_t calls;       /* in flight at most; MOST_FLIGHT or fewer */
    double patience;    /* seconds */
    const char *domain; /* of owners' names; "": there are none */
};

struct nfs;

/* Mount the share: 0 or -errno; `operation` says what failed. */
int nfs_open(const struct nfs_settings *settings, struct nfs **nfs, const char **operation);
void nfs_close(struct nfs *nfs);

/* The root's inode, and how many inodes its filesystem has in use. */
uint64_t nfs_root_inode(const struct nfs *nfs);
int nfs_used_inodes(struct nfs *nfs, uint64_t *used);

/* The root's attributes, as they are now. */
int nfs_root_attributes(struct nfs *nfs, struct attributes *found);
/* Which version is spoken: 3 or 4. */
int nfs_version(const struct nfs *nfs);

/* What is known of owners, for as long as the share is open. */
struct names *nfs_names(const struct nfs *nfs);

/* How often each procedure was called; PROCEDURES3 numbers. */
void nfs_calls(const struct nfs *nfs, uint64_t *calls);

/* Let so many calls be in flight at most, of those in the settings; how many may be now. */
void nfs_set_bound(struct nfs *nfs, size_t calls);
size_t nfs_bound(const struct nfs *nfs);

/* ---- for the verbs (nfs.c) */

const struct handle *nfs_root(const struct nfs *nfs);
uint64_t nfs_fsid(const struct nfs *nfs);
const struct protocol *nfs_protocol(const struct nfs *nfs);

/* How many entries are changed by one call; fewer from now on, for so many were too many. */
size_t nfs_together(const struct nfs *nfs);
void nfs_take_fewer(struct nfs *nfs, size_t than);

/* Take a connection for this thread alone: 0 or -ENOMEM. */
int nfs_take(struct nfs *nfs, struct rpc **rpc);
void nfs_give(struct nfs *nfs, struct rpc *rpc);

/* How many calls may be in flight at most; and whether one more may be made now. */
size_t nfs_limit(const struct nfs *nfs);
bool nfs_may_call(const struct nfs *nfs, const struct rpc *rpc);

/* Send what was begun, and count it. */
void nfs_send(struct nfs *nfs, struct rpc *rpc, enum procedure3 procedure, rpc_answer *answer,
              void *owner, uint64_t tag);

/* Remember the handle of a directory by its inode; recall it, if that is not long ago; forget it. */
void nfs_remember(struct nfs *nfs, uint64_t inode, const struct handle *handle);
bool nfs_recall(struct nfs *nfs, uint64_t inode, struct handle *handle);
void nfs_forget(struct nfs *nfs, uint64_t inode);

/*
 * Look a name up, or an entry's attributes, and wait for that; other calls are answered meanwhile. If the
 * stop flag is set (or NULL) while the server is SILENT, all calls of the connection are cancelled.
 */
int nfs_lookup(struct nfs *nfs, struct rpc *rpc, const struct handle *directory, const void *name,
               size_t length, struct handle *handle, struct attributes *found,
               const volatile uint8_t *stop);
int nfs_getattr(struct nfs *nfs, struct rpc *rpc, const struct handle *handle,
                struct attributes *found, const volatile uint8_t *stop);

/* ---- scan (nfs_scan.c) */

/* The place in a wide directory where its reading goes on. */
struct nfs_place {
    struct handle handle;
    uint64_t inode;
    uint64_t cookie; /* 0: at its beginning */
    uint8_t verifier[VERIFIER_SIZE];
};

struct nfs_scan_request {
    struct nfs *nfs;
    const uint8_t *body;
    size_t body_length;
    const struct nfs_place *cursor; /* or NULL; then `body` is not read */
    const uint8_t *cursor_path;
    size_t cursor_path_length;
    /*
     * The unit is a wide directory of which another version had read a part: it is counted and judged, and the
     * names of that part, by their sorted keys, are passed over. `notes_names`: give the keys of those read by a cursor.
     */
    bool goes_on;
    const uint64_t *passed;
    size_t passed_count;
    bool notes_names;
    bool counted;
    bool last_try;
    uint32_t gid;
    uint32_t directory_bits;
    uint32_t file_bits;
    const uint8_t *excludes; /* u8 length, name; as often as there are names */
    size_t excludes_length;
    bool skip_links;
    bool cross;
    bool hold; /* give `held` */
    double seconds;
    int64_t entries;
    int64_t changes;
    const volatile uint8_t *stop;
    size_t wide; /* a directory with more names is wide */
};

struct nfs_scan_result {
    struct scan_result found;
    bool is_wide;
    struct text wide_path;
    struct nfs_place wide;
    struct buffer held;  /* of each change: u8 length, handle, u64 guard, i64 mtime */
    struct buffer names; /* of uint64_t: their keys */
};

/* 0 or -errno; -EPROTOTYPE: owners are names, and there is no domain for them. */
int nfs_scan(const struct nfs_scan_request *request, struct nfs_scan_result *result);
void nfs_scan_free(struct nfs_scan_result *result);

/* ---- apply (nfs_apply.c) */

struct nfs_apply_request {
    struct nfs *nfs;
    const uint8_t *changes;
    size_t length;
    enum verb verb;
    int64_t deny_limit;
    const uint8_t *held;
    size_t held_length;           /* 0: nothing is held */
    bool again;                   /* this was begun before: what is as it is to be may be ours */
    const volatile uint8_t *stop; /* once it is set, what is not begun is UNTRIED */
};

/*
 * 0 or -errno; -EPROTOTYPE: groups have names, and there is none for this one, or no domain; -ECANCELED: the stop
 * flag was set, and the server has not answered all that was under way. Some changes may have been made then.
 */
int nfs_apply(const struct nfs_apply_request *request, struct apply_result *result);

#endif
