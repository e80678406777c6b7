/*
 * The working state of a scan over NFS, which its three files share.
 *
 *     scan.c           the loop: which call comes next, limits, groups, what is left over
 *     scan_replies.c   replies: listings and lookups, and what failed
 *     scan_tree.c      the tree of directories, the policy, the frames of changes
 *
 *     struct nfs_scan          one scan
 *     struct node              a directory of the unit, or found below one
 *     struct segment           consecutive changes of one node
 *     struct remark            an entry that is skipped, or whose name no call can be made for
 *     struct question          an entry whose handle or attributes are still to be requested
 *     struct known_directory   a directory on the path of the last group
 *
 * Replies come in any order, but frames are in the order of the tree. So changes are gathered as
 * they come and written along the tree at the end. What was found in a directory counts once that
 * was read to its end; until then it can be discarded. Nodes and questions live until the end of
 * the scan, whose limits bound them.
 *
 *     unread -> [ stack ] -> being read -> complete     its children go on the stack
 *                   |             '-> wide, or failed   what was found in it is discarded
 *                   '-> rest
 */

#ifndef ARCHIPMIGRATE_NFS_SCAN_TREE_H
#define ARCHIPMIGRATE_NFS_SCAN_TREE_H

#include "core/changes.h"
#include "nfs/scan.h"

struct segment {
    struct segment *next;
    size_t from, to;                 /* in scan.changes */
    size_t handles_from, handles_to; /* in scan.handles */
    size_t link_from, link_to;       /* in scan.links */
    int64_t count;
};

struct remark {
    struct remark *next;
    const char *skipped; /* why; NULL: its name is too long, and it fails */
    size_t length;
    char name[];
};

struct node {
    struct node *parent;  /* NULL: of the unit */
    struct node *below;   /* in the stack */
    struct node *sibling; /* the next child of its parent, or the next node of the unit */
    struct node *children;
    const char *name; /* a path, if there is no parent */
    size_t length;
    struct proto_handle handle;
    uint64_t inode; /* 0: unknown */
    uint64_t fsid;  /* the share's, as long as it is not known */
    struct proto_attrs attrs;
    bool is_named;    /* its names come from the unit, not from a listing */
    bool is_counting; /* it is not in the tally yet */
    bool is_cursor;   /* it was counted and judged by an earlier unit */
    bool is_marked;   /* it or a node below has changes */
    bool must_change;
    struct change own;
    /* Reading. */
    unsigned attempt; /* to read it; answers to questions of earlier ones are ignored */
    uint64_t cookie;
    uint8_t verifier[PROTO_VERIFIER];
    uint64_t cycle_cookie; /* an earlier one: if it comes again, the listing has a cycle */
    uint64_t cycle_steps, cycle_power;
    bool at_end;
    bool is_plain; /* of the listing that was called for last: without attributes */
    uint32_t room; /* and how many bytes it might have */
    size_t name_count;
    size_t questions; /* unanswered */
    unsigned restarts;
    struct tally tally;
    struct segment *segments, *last;
    struct remark *remarks; /* on its entries; reported when it is complete */
};

enum about {
    ABOUT_NAME,  /* a name of the unit */
    ABOUT_ENTRY, /* an entry of a listing */
    ABOUT_OWN,   /* the directory itself */
};

struct question {
    struct question *next;
    struct node *node;
    unsigned attempt; /* of the node */
    enum about about;
    uint8_t hint;
    uint8_t length;
    struct proto_handle handle; /* length 0: to be looked up */
    char name[PROTO_MAX_NAME];
};

struct memory_block;

struct questions {
    struct question *first, *last;
};

struct known_directory {
    size_t end; /* of its path in scan.way */
    struct proto_handle handle;
    struct proto_attrs attrs;
};

struct nfs_scan {
    const struct nfs_scan_request *request;
    struct nfs_scan_result *result;
    struct scan_result *found; /* in `result` */
    struct nfs_client *client;
    const struct protocol *protocol;
    struct rpc *rpc;
    struct memory_block *memory;
    struct node *tops, *last_top; /* the nodes of the unit */
    struct node *stack;
    struct questions questions;      /* sent beyond all limits: directories wait for the answers */
    struct questions unit_questions; /* about names of the unit */
    struct buffer changes, handles, links;
    int64_t gathered; /* changes */
    struct buffer path;
    struct buffer way;   /* the path of the last group */
    struct buffer known; /* of struct known_directory */
    int64_t in_progress; /* directories that are being read, and names that are being looked up */
    int64_t window;      /* the maximum of that */
    int64_t looks;       /* entries that were looked at */
    int64_t min_looks;   /* before a limit applies */
    int64_t deadline;
    int64_t stopped; /* when the stop flag was seen; 0: not yet */
    bool is_counting;
    bool is_cancelled;
    int error; /* -ENOMEM, from a callback */
};

/* ---- scan.c */

/* Return whether a limit is reached, with the calls in flight included. */
bool nfs_scan_is_over(const struct nfs_scan *scan);

/* ---- scan_tree.c */

/* Allocate zeroed memory that lives until the end of the scan; NULL and scan->error: no memory. */
void *nfs_scan_alloc(struct nfs_scan *scan, size_t size);
void nfs_scan_free(struct nfs_scan *scan);

/* Add a directory of the unit (no parent), or below a node. NULL: no memory. */
struct node *nfs_scan_add_node(struct nfs_scan *scan, struct node *parent, const void *name,
                               size_t length);
void nfs_scan_push(struct nfs_scan *scan, struct node *node);

/*
 * Return whether a directory is on another filesystem, which is not to be entered. The server's
 * word for that is the fsid: it has no mounts to tell. Of files that is not asked, as Linux's
 * client does not.
 */
bool nfs_scan_is_outside(const struct nfs_scan *scan, const struct proto_attrs *attrs);

/*
 * Note an entry of a node: why it is `skipped` (it is counted as such, too) or, NULL, that its name
 * is too long. Report what was noted, now that the node is complete: 0 or -ENOMEM.
 */
void nfs_scan_remark(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry,
                     const char *skipped);
int nfs_scan_report(struct nfs_scan *scan, struct node *node);

/*
 * Judge an entry that is no directory, and record its change; between open_segment and
 * close_segment.
 */
void nfs_scan_judge_entry(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry,
                          bool is_counting);
struct segment nfs_scan_open_segment(const struct nfs_scan *scan);
void nfs_scan_close_segment(struct nfs_scan *scan, struct node *node, struct segment segment);

/* Judge the directory itself. */
void nfs_scan_judge_node(struct nfs_scan *scan, struct node *node);

/* Discard what was found in a directory; or take it into the result. */
void nfs_scan_discard(struct node *node);
void nfs_scan_commit(struct nfs_scan *scan, struct node *node);

void nfs_scan_count_directory(struct nfs_scan *scan, bool is_counting);

/* Build the path of a node, or of an entry in it, in scan->path. 0 or -ENOMEM. */
int nfs_scan_build_path(struct nfs_scan *scan, const struct node *node, const void *name,
                        size_t length);

/* Write the frames of all changes. 0 or -ENOMEM. */
int nfs_scan_write_frames(struct nfs_scan *scan);

/* ---- scan_replies.c */

/* Queue a question; false: no memory. */
bool nfs_scan_ask(struct nfs_scan *scan, struct node *node, enum about about, enum hint hint,
                  const void *name, size_t length);

/* Send a directory's next listing call; or the first question of a queue. */
void nfs_scan_send_listing(struct nfs_scan *scan, struct node *node);
void nfs_scan_send_question(struct nfs_scan *scan, struct questions *questions);

/* If a directory is complete, commit what was found in it. */
void nfs_scan_complete(struct nfs_scan *scan, struct node *node);

/* Account for a group whose directory cannot be opened: retry, or fail. 0 or -ENOMEM. */
int nfs_scan_fail_group(struct nfs_scan *scan, const struct group_reader *group, int error);

#endif
