/*
 * The working state of an apply over NFS, which its four files share.
 *
 *     apply.c         the loop: frames, the order of the changes, the stop flag
 *     apply_dirs.c    finds the directories
 *     apply_calls.c   makes the calls for entries
 *     apply_entry.c   decides what to do with one entry
 *
 *     struct nfs_apply          one apply
 *     struct nfs_entry_change   one change, from its frame to its outcome
 *     struct directory          a directory frame, and where its directory is
 *     struct batch              changes that one SETATTR call makes together
 *
 * Changes are made concurrently; a directory's own one comes after all in it. The very first change
 * is made alone, because its outcome decides whether there will be a second.
 *
 *     waiting -> [its directory is found] -> LOOKUP -> nfs_apply_entry -> SETATTR ... -> outcome
 *        '--- its handle is known: nfs_apply_by_handle -------------------^
 *
 * Lists are linked by indices; NOTHING ends them.
 */

#ifndef ARCHIPMIGRATE_NFS_APPLY_ENTRY_H
#define ARCHIPMIGRATE_NFS_APPLY_ENTRY_H

#include "core/changes.h"
#include "nfs/apply.h"

/* Beside the outcomes: a call was made whose reply will decide. */
#define PENDING 100

#define NOTHING UINT32_MAX

enum awaits {
    AWAITS_HANDLE, /* LOOKUP */
    AWAITS_LOOK,   /* GETATTR, before it is changed */
    AWAITS_SET,    /* SETATTR */
    AWAITS_RESULT, /* GETATTR, because the reply to SETATTR had no attributes */
};

/*
 * Bits of the kind of a SETATTR. A server may make changes of one kind and drop a part of another
 * silently, so the first one of each kind is read back, and the others of its kind wait for it.
 */
enum kind_bits {
    OF_DIRECTORY = 1,
    SETS_GROUP = 2,
    SETS_MODE = 4,
    GAINS_SETGID = 8, /* of a directory: dropped for a caller who is not in the group */
    SETS_OWNER = 16,
};

struct nfs_entry_change {
    struct change change;
    const uint8_t *name;
    uint16_t length;
    bool is_own; /* of the directory itself */
    bool is_active;
    bool is_stale;     /* its handle was stale, and was looked up again */
    bool may_be_ours;  /* SETATTR was sent more than once: the entry may be as we changed it */
    bool is_checked;   /* VERB_BACK: it was found to be the entry that was changed */
    bool is_bare;      /* VERB_BACK: all but the set-id bits is restored */
    bool doubts_guard; /* SETATTR was refused; without a guard it will tell why */
    bool is_probe;     /* the first of its kind: others are held until its result is known */
    uint8_t kind;      /* of `set` */
    uint8_t tries;
    enum awaits awaits;
    uint32_t directory;
    uint32_t next; /* in its list */
    struct proto_handle handle;
    struct proto_setattr set;
    struct proto_attrs found; /* or only `guard`, `mtime` and `birth`, as scan saw them */
};

enum directory_state {
    DIRECTORY_UNSOUGHT,
    DIRECTORY_SOUGHT,
    DIRECTORY_FOUND,
    DIRECTORY_LOST, /* `outcome` is that of all changes in it */
};

struct directory {
    uint32_t parent;               /* NOTHING: the root */
    uint32_t own;                  /* its own change, or NOTHING */
    uint32_t next;                 /* in its list */
    uint32_t entries, directories; /* lists of those that wait for it */
    size_t left;                   /* entries and directories in it that are not finished */
    const uint8_t *name;           /* a path, if it has no parent */
    uint32_t length;
    uint32_t at; /* how far a path has been looked up */
    uint64_t inode;
    enum directory_state state;
    int outcome; /* DIRECTORY_LOST: OUTCOME_GONE, OUTCOME_DIFFERENT or OUTCOME_FAILED */
    int error;   /* with OUTCOME_FAILED */
    struct proto_handle handle;
};

struct batch {
    uint32_t entries[PROTO_MAX_BATCH];
    uint32_t count;
    uint32_t next; /* in its list */
};

struct nfs_apply {
    const struct nfs_apply_request *request;
    struct apply_result *result;
    struct nfs_client *client;
    const struct protocol *protocol;
    struct rpc *rpc;
    struct nfs_entry_change *entries;
    size_t count;
    struct directory *directories;
    size_t directory_count;
    struct batch *batches;
    uint32_t unused;  /* list of batches */
    uint32_t open;    /* the batch that is being filled, or NOTHING */
    uint32_t full;    /* list of batches that wait until their calls may be made */
    uint32_t waits;   /* list of entries that wait until their calls may be made */
    uint32_t held;    /* list of entries that wait for the probe of their kind */
    uint32_t probed;  /* bits of the kinds that have a probe */
    uint32_t doubted; /* bits of the kinds of which one came out differently */
    uint32_t due;     /* list of directories' own changes that may be made */
    uint32_t to_find; /* list of directories to look up */
    struct ids ids;   /* that entries get */
    size_t next;      /* the first entry that was not begun */
    size_t active;
    size_t finished;
    int64_t denied;
    bool succeeded;
    bool ended;      /* begin no more changes */
    bool is_unnamed; /* the server refuses a new owner's name, or has one that is unknown here */
    int64_t stopped; /* when the stop flag was seen; 0: not yet */
    int error;       /* from a callback */
};

/* ---- apply_entry.c: these return an outcome, or PENDING */

/* Decide what to do with an entry whose attributes are known. */
int nfs_apply_entry(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* VERB_FORWARD, by the handle and guard that scan saw. */
int nfs_apply_by_handle(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* Take the result of SETATTR; `after` may be unknown. */
int nfs_apply_was_set(struct nfs_apply *apply, struct nfs_entry_change *entry, int error,
                      const struct proto_attrs *after);

/* Note the identity of an entry that a change was made of, or may have been half made. */
void nfs_apply_note_identity(struct nfs_apply *apply, const struct nfs_entry_change *entry);

/* Report that an operation on an entry failed; OUTCOME_FAILED. */
int nfs_apply_fail(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                   const char *operation, int error, const char *note);

/* Return whether what comes of a SETATTR has to be found out. */
bool nfs_apply_needs_attrs(const struct nfs_apply *apply, const struct nfs_entry_change *entry);

/* ---- apply_calls.c: these return PENDING */

/* Look up the entry's handle; or get its attributes. */
int nfs_apply_send_lookup(struct nfs_apply *apply, struct nfs_entry_change *entry);
int nfs_apply_send_getattr(struct nfs_apply *apply, struct nfs_entry_change *entry,
                           enum awaits awaits);

/* Put entry->set into a batch, or hold it. */
int nfs_apply_queue_setattr(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* An entry's call is over: if it was a probe, those that were held for it may go on. */
void nfs_apply_end_probe(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* Send the calls that wait, as many as there may be. */
void nfs_apply_send_waiting(struct nfs_apply *apply);
void nfs_apply_send_full(struct nfs_apply *apply);

/* Queue the changes that were held and need not be any more. */
void nfs_apply_send_held(struct nfs_apply *apply);

/* Send the open batch, because it is full, or nothing can be added now. */
void nfs_apply_close_batch(struct nfs_apply *apply);

/* ---- apply_dirs.c */

/* Look an entry up by its name; it waits until its directory is found. PENDING, or an outcome. */
int nfs_apply_find_entry(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* The same, because the handle that is known is stale. */
int nfs_apply_find_again(struct nfs_apply *apply, struct nfs_entry_change *entry);

/* Look up the directories that are sought. */
void nfs_apply_find_directories(struct nfs_apply *apply);

/* ---- apply.c */

/* Set an entry's outcome, unless it is PENDING; its directory's own change may be due then. */
void nfs_apply_finish(struct nfs_apply *apply, struct nfs_entry_change *entry, int outcome);

#endif
