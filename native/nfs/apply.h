/*
 * What the parts of nfs_apply share.
 *
 *     nfs_apply.c    frames, their order, finding directories and entries
 *     nfs_change.c   what the verbs do with one entry
 *
 *     struct nfs_applying   one call of apply
 *     struct record         one change, and how far it is
 *     struct directory      a directory frame, and where it is found
 *
 * Changes are made side by side; a directory's own comes after all in it. The first of all is made alone,
 * for what it comes to decides whether there is to be a second.
 *
 *     record   waiting -> [its directory is found] -> LOOKUP -> act -> SETATTR ... -> outcome
 *                 '------------ held: its handle is known ------------^
 */

#ifndef ARCHIPMIGRATE_NFS_APPLY_H
#define ARCHIPMIGRATE_NFS_APPLY_H

#include "core/changes.h"
#include "nfs/client.h"

/* Beside the outcomes: a call was made whose reply decides. */
#define PENDING 100

#define NOTHING UINT32_MAX

enum awaits {
    AWAITS_HANDLE, /* LOOKUP */
    AWAITS_LOOK,   /* GETATTR, before it is changed */
    AWAITS_SET,    /* SETATTR */
    AWAITS_BACK,   /* GETATTR, after that: its reply had no attributes */
};

struct record {
    struct change change;
    const uint8_t *name;
    uint16_t length;
    bool is_own;
    bool is_active;
    bool is_stale;  /* its handle was found again once */
    bool is_again;  /* a change was sent more than once: it may be ours that is found */
    bool is_bare;   /* BACK: all but the set-id bits is back */
    bool gives_off; /* BACK: set-id bits stay away */
    uint8_t tries;
    enum awaits awaits;
    uint32_t directory;
    uint32_t next; /* in the list that it is in */
    struct handle handle;
    struct setattr set;
    struct attributes found; /* or only `guard` and `mtime`, from scan */
};

enum where {
    NOT_SOUGHT,
    SOUGHT,
    FOUND,
    LOST,
};

struct directory {
    uint32_t parent;               /* NOTHING: the root */
    uint32_t own;                  /* its own record, or NOTHING */
    uint32_t next;                 /* in the list that it is in */
    uint32_t records, directories; /* that wait for it */
    size_t left;                   /* records and directories in it that are not finished */
    const uint8_t *name;
    uint32_t length;
    uint32_t at; /* of the name, if that is a path: so far it is found */
    uint64_t inode;
    enum where where;
    int outcome; /* if it is lost */
    int error;   /* with OUTCOME_FAILED */
    struct handle handle;
};

/* Records that are changed by one call. */
struct batch {
    uint32_t records[MOST_TOGETHER];
    uint32_t count;
    uint32_t next; /* that is not used either */
};

struct nfs_applying {
    const struct protocol *protocol;
    struct batch *batches;
    uint32_t unused; /* batch */
    uint32_t open;   /* batch that is being filled, or NOTHING */
    uint32_t full;   /* batches that wait until there is room for their calls */
    uint32_t waits;  /* records whose calls wait until there is room for them */
    const struct nfs_apply_request *ask;
    struct apply_result *result;
    struct nfs *nfs;
    struct rpc *rpc;
    uint32_t new_gid;
    struct record *records;
    size_t count;
    struct directory *directories;
    size_t directory_count;
    uint32_t due;     /* own records whose turn it is */
    uint32_t to_find; /* directories to go on with */
    size_t next;      /* record that was not begun */
    size_t active;
    size_t finished;
    int64_t denied;
    bool succeeded;
    bool ended;
    bool is_unnamed; /* the server refused how a group was named, or named one that we cannot */
    int64_t stopped; /* when the stop flag was seen; 0: it was not */
    int error;       /* -ENOMEM, in an answer */
};

/* ---- nfs_change.c: all return an outcome, or PENDING */

/* Deal with a record whose entry was looked at. */
int act(struct nfs_applying *applying, struct record *record);

/* FORWARD, by the handle and ctime that scan saw. */
int act_held(struct nfs_applying *applying, struct record *record);

/* SETATTR was answered, well or not; `after` may not be known. */
int was_set(struct nfs_applying *applying, struct record *record, int error,
            const struct attributes *after);

/* Say whether the attributes after a change are needed. */
bool needs_attributes(const struct nfs_applying *applying, const struct record *record);

/* Note that an operation on a record failed; OUTCOME_FAILED is its outcome. */
int refuse(struct nfs_applying *applying, const struct record *record, const char *operation,
           int error, const char *note);

/* ---- nfs_apply.c */

int ask_look(struct nfs_applying *applying, struct record *record, enum awaits awaits);
int ask_set(struct nfs_applying *applying, struct record *record);

/* Find the handle by the name once more: the one that we had is stale. */
int find_again(struct nfs_applying *applying, struct record *record);

#endif
