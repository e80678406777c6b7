/*
 * What the parts of nfs_scan share.
 *
 *     nfs_scan.c   the loop: what is asked of the server next, limits, groups, what is left over
 *     nfs_read.c   replies: listings, lookups, and what went wrong
 *     nfs_tree.c   directories as nodes; entries against the policy; frames
 *
 *     struct nfs_walk   one scan
 *     struct node       a directory of the unit, or found below
 *     struct segment    records of one node that lie together
 *     struct question   an entry of which the server has not said enough yet
 *
 * Replies come in any order, and frames have theirs: records are gathered as they come, and written out
 * along the tree at the end. What is found in a directory counts when that is read to its end, so that
 * it can be given up before. Nodes and questions live until the end of the scan, which its limits bound.
 *
 *     unread -> [ stack ] -> being read -> complete    children come on the stack
 *                   |             |-> wide, or again   what was found in it is given up
 *                   '-> rest
 */

#ifndef ARCHIPMIGRATE_NFS_SCAN_TREE_H
#define ARCHIPMIGRATE_NFS_SCAN_TREE_H

#include "core/changes.h"
#include "nfs/client.h"

struct segment {
    struct segment *next;
    size_t from, to;           /* in walk.records */
    size_t held_from, held_to; /* in walk.held */
    size_t link_from, link_to; /* in walk.links */
    int64_t count;
};

struct node {
    struct node *parent;  /* NULL: of the unit */
    struct node *below;   /* in the stack */
    struct node *sibling; /* the next child of its parent, or node of the unit */
    struct node *children;
    const char *name; /* a path, if there is no parent */
    size_t length;
    struct handle handle;
    uint64_t inode; /* 0: not known */
    struct attributes attributes;
    bool named;     /* the names come from the unit, not from reading the directory */
    bool counting;  /* it is not counted yet */
    bool is_cursor; /* it was counted and judged in the unit before */
    bool is_marked; /* there are records in it, or below */
    bool must_change;
    struct change own;
    /* Its reading. */
    unsigned reading; /* which: answers to questions of one that was given up are not heard */
    uint64_t cookie;
    uint8_t verifier[VERIFIER_SIZE];
    uint64_t mark; /* a cookie that was seen: to come by it again is to go round in a circle */
    uint64_t steps, power;
    bool at_end;
    size_t names;
    size_t questions; /* not answered yet */
    unsigned restarts;
    struct tally tally;
    struct segment *segments, *last;
};

enum about {
    ABOUT_NAME,  /* of the unit */
    ABOUT_ENTRY, /* of a listing */
    ABOUT_OWN,   /* of the directory itself */
};

struct question {
    struct question *next;
    struct node *node;
    unsigned reading;
    enum about about;
    uint8_t hint;
    uint8_t length;
    struct handle handle; /* length 0: to be looked up */
    char name[MOST_NAME];
};

struct chunk;

struct questions {
    struct question *first, *last;
};

/* A directory on the way to the last group, found by its path. */
struct step {
    size_t end; /* of its path in walk.way */
    struct handle handle;
    struct attributes attributes;
};

struct nfs_walk {
    const struct nfs_scan_request *ask;
    struct scan_result *found; /* in `result` */
    struct nfs_scan_result *result;
    struct nfs *nfs;
    const struct protocol *protocol;
    struct rpc *rpc;
    struct chunk *memory;
    struct node *tops, *last_top;
    struct node *stack;
    struct questions questions; /* to be sent whatever the limits say: a directory waits for them */
    struct questions names;     /* of the unit */
    struct buffer records, held, links;
    int64_t count; /* records */
    struct buffer path;
    struct buffer way;
    struct buffer steps; /* of struct step */
    int64_t window;      /* so many may be */
    int64_t reading;     /* directories being read, names being looked up */
    int64_t looks;
    int64_t fewest; /* looks before a limit counts */
    int64_t deadline;
    int64_t stopped; /* when the stop flag was seen; 0: it was not */
    bool counting;
    bool is_cancelled;
    int error; /* -ENOMEM, in an answer */
};

/* ---- nfs_scan.c */

/* Say whether a limit is reached, with what is under way. */
bool is_over(const struct nfs_walk *walk);

/* ---- nfs_tree.c */

/* Memory until the end of the scan, zeroed; NULL and walk->error if there is no more. */
void *walk_memory(struct nfs_walk *walk, size_t size);
void walk_free(struct nfs_walk *walk);

/* A directory of the unit (no parent), or below a node. */
struct node *make_node(struct nfs_walk *walk, struct node *parent, const void *name, size_t length);
void push(struct nfs_walk *walk, struct node *node);
bool is_outside(const struct nfs_walk *walk, const struct attributes *found);

/* Judge an entry that is no directory, and note what must change; within put_open and put_close. */
void judge_entry(struct nfs_walk *walk, struct node *node, const struct entry3 *entry,
                 bool counting);
struct segment put_open(const struct nfs_walk *walk);
void put_close(struct nfs_walk *walk, struct node *node, struct segment segment);

/* Judge the directory itself. */
void judge_node(struct nfs_walk *walk, struct node *node);

/* Forget what was found in a directory. */
void give_up(struct node *node);

/* Take what was found in a directory into the result. */
void keep(struct nfs_walk *walk, struct node *node);

void count_directory(struct nfs_walk *walk, bool counting);

/* Put a path into walk->path: of a node, or of an entry in it. */
int node_path(struct nfs_walk *walk, const struct node *node, const void *name, size_t length);

/* Write all records in their frames. */
int write_frames(struct nfs_walk *walk);

/* ---- nfs_read.c */

bool ask_question(struct nfs_walk *walk, struct node *node, enum about about, enum hint hint,
                  const void *name, size_t length);

/* Send a directory's next READDIRPLUS, or the next question. */
void read_on(struct nfs_walk *walk, struct node *node);
void send_question(struct nfs_walk *walk, struct questions *questions);

/* A directory is complete, if it is: what was found in it counts. */
void complete(struct nfs_walk *walk, struct node *node);

/* A group that could not be opened. */
int lost_group(struct nfs_walk *walk, const struct group_reader *group, int error);

#endif
