/*
 * NFS version 3 (RFC 1813) and what goes with it (MOUNT, the port mapper): calls are written, replies are
 * read. Only what a walk and changes of attributes need.
 *
 *     struct handle       a file handle
 *     struct attributes   of an entry; `mode` has the type, as in st_mode
 *     struct setattr      what SETATTR is to set, and the guard
 *     struct entry3       one entry of a directory, as READDIRPLUS has it
 *     struct protocol     what this and version 4 (nfs4.h) both have
 *
 * Readers return 0, or -errno: the server's status, or -EBADMSG for what does not decode. Nothing that
 * they give points elsewhere than into the reply.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_NFS3_H
#define ARCHIPMIGRATE_NFS_PROTO_NFS3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/proto/rpc.h"
#include "nfs/proto/xdr.h"

#define MOST_HANDLE   128 /* version 3 has 64 */
#define MOST_NAME     255
#define VERIFIER_SIZE 8
#define JUKEBOX_ERROR 10008 /* of a status: later, please */
#define SMALLER_ERROR 10018 /* of a change: fewer of them in one call, please */

enum procedure3 {
    GETATTR3 = 1,
    SETATTR3 = 2,
    LOOKUP3 = 3,
    READDIRPLUS3 = 17,
    FSSTAT3 = 18,
    PROCEDURES3 = 22,
};

struct handle {
    uint8_t length; /* 0: none */
    uint8_t bytes[MOST_HANDLE];
};

struct attributes {
    bool known;
    uint32_t mode;
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    uint64_t fsid;
    uint64_t fileid;
    int64_t mtime;  /* ns */
    uint64_t ctime; /* seconds, nanoseconds */
    uint64_t guard; /* what differs if anything was changed */
    /* Of a reply to a change: as they were just before it, if the server says so. */
    bool tells_before;
    int64_t mtime_before;
    uint64_t ctime_before;
};

struct setattr {
    bool sets_mode;
    bool sets_gid;
    bool guarded;
    uint32_t mode;
    uint32_t gid;
    uint64_t guard;
};

struct entry3 {
    uint64_t fileid;
    uint64_t cookie;
    const uint8_t *name;
    uint32_t length;
    struct attributes attributes; /* if known */
    struct handle handle;         /* length 0: not there */
};

struct listing3 {
    struct attributes directory;
    const uint8_t *verifier;
    bool is_last;
};

/* ns of a server's time. */
int64_t time_of(uint64_t seconds_and_nanoseconds);

/* So many entries at most are changed by one call. */
#define MOST_TOGETHER 5

/*
 * What a version of the protocol has. `call_...` begin a call and write its arguments, and are false if too
 * many wait; rpc_send is to follow. `read_...` take replies apart.
 */
struct protocol {
    size_t together; /* entries that are changed by one call */
    bool (*call_getattr)(struct rpc *rpc, const struct handle *handle);
    bool (*call_lookup)(struct rpc *rpc, const struct handle *directory, const void *name,
                        size_t length);
    bool (*call_listing)(struct rpc *rpc, const struct handle *directory, uint64_t cookie,
                         const uint8_t *verifier);
    bool (*call_setattr)(struct rpc *rpc, const struct handle *const *handles,
                         const struct setattr *sets, size_t count);
    /*
     * The status: 0, JUKEBOX_ERROR (later, please), or -errno: -EILSEQ is a cookie that is no longer good.
     * Not of changes:
     */
    int (*read_status)(struct xdr_in *reply);
    /*
     * Read what came of changes: one error each (0, JUKEBOX_ERROR, SMALLER_ERROR, -errno; -EAGAIN is the
     * guard's, -EPROTOTYPE the refusal of how the group is named), for as many as were tried, which is
     * returned. `after` is what a single one was like then, if known.
     */
    size_t (*read_setattr)(struct xdr_in *reply, const struct setattr *sets, size_t count,
                           int *errors, struct attributes *after);
    /* What comes after a status of 0. Owners may be errors of names_read (nfs_names.h). */
    int (*read_getattr)(struct xdr_in *reply, struct attributes *found);
    int (*read_lookup)(struct xdr_in *reply, struct handle *handle, struct attributes *found);
    /* The beginning of a listing, and then entry by entry: 1, or 0 after the last. */
    int (*read_listing)(struct xdr_in *reply, struct listing3 *listing);
    int (*read_entry)(struct xdr_in *reply, struct listing3 *listing, struct entry3 *entry);
};

extern const struct protocol PROTOCOL3;

/* What version 3 has beside that: inodes in use, the root's handle, a port. */
bool call_fsstat(struct rpc *rpc, const struct handle *root);
bool call_mount(struct rpc *rpc, const char *path);
bool call_port(struct rpc *rpc, uint32_t program, uint32_t version);
int read_fsstat(struct xdr_in *reply, uint64_t *used);
int read_mount(struct xdr_in *reply, struct handle *root);
int read_port(struct xdr_in *reply, uint16_t *port);

/* 0, JUKEBOX_ERROR or -errno for a status of RFC 1813, section 2.6. */
int error_of_status(uint32_t status);

/* -EBADMSG unless it is a name that may be in a directory; `.` and `..` may. */
int check_name(const uint8_t *name, size_t length);

#endif
