/*
 * What a version of NFS must provide to the client, and the values that pass between them. nfs3.c
 * and nfs4.c are its two implementations.
 *
 *     struct proto_handle    a file handle
 *     struct proto_attrs     an entry's attributes
 *     struct proto_setattr   what SETATTR sets, and its guard
 *     struct proto_listing   what precedes and ends the entries of a listing
 *     struct proto_entry     one entry of a listing
 *     struct protocol        the vtable: functions that write calls and read replies
 *
 * A reader returns 0 or -errno: the server's status, or -EBADMSG for a reply that does not decode.
 * Pointers that it returns point into the reply.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_PROTOCOL_H
#define ARCHIPMIGRATE_NFS_PROTO_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/proto/rpc.h"
#include "nfs/proto/xdr.h"

#define PROTO_MAX_HANDLE 128 /* of version 4; version 3 has 64 */
#define PROTO_MAX_NAME   255
/* Names in a listing that are read, though no call is made for one above PROTO_MAX_NAME. */
#define PROTO_LONGEST_NAME 1024
#define PROTO_VERIFIER     8 /* bytes */
/*
 * Bytes of entries in one reply, some 500 of them; and how many, if the server wants more room.
 * Servers count in different ways, so it is half of what a connection can take.
 */
#define PROTO_LISTING     ((uint32_t)128 * 1024)
#define PROTO_MAX_LISTING ((uint32_t)(RPC_MAX_REPLY / 2))
/*
 * Entries that one call changes at most: what any server takes, and one that grants as many
 * operations as they need.
 */
#define PROTO_BATCH     5
#define PROTO_MAX_BATCH 32

/* Statuses that are no failures. */
#define PROTO_DELAY    10008 /* JUKEBOX, DELAY: repeat the call later */
#define PROTO_RESOURCE 10018 /* RESOURCE: too many operations in one compound */

/* What calls are counted by: the procedures of version 3. */
enum proto_procedure {
    PROTO_GETATTR = 1,
    PROTO_SETATTR = 2,
    PROTO_LOOKUP = 3,
    PROTO_READDIR = 16,
    PROTO_READDIRPLUS = 17,
    PROTO_FSSTAT = 18,
    PROTO_PROCEDURES = 22,
};

struct proto_handle {
    uint8_t length; /* 0: none */
    uint8_t bytes[PROTO_MAX_HANDLE];
};

struct proto_attrs {
    bool known;
    const char *missing; /* the first attribute that version 4 did not send, or NULL */
    uint32_t mode;       /* type and permissions, as in st_mode */
    uint32_t links;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    uint64_t fsid;
    uint64_t fileid;
    int64_t mtime;  /* ns */
    int64_t birth;  /* ns; 0: the server does not tell it; by version 4 */
    bool lasts;     /* its handle is its own for ever; not told by listings of version 4 */
    uint64_t ctime; /* seconds << 32 | nanoseconds */
    uint64_t
        guard; /* differs after any change of the entry: ctime, or version 4's change attribute */
    /*
     * In the reply to a SETATTR of version 3: the times just before it, if the server tells them.
     */
    bool tells_before;
    int64_t mtime_before;
    uint64_t ctime_before;
};

struct proto_setattr {
    bool sets_mode;
    bool sets_uid;
    bool sets_gid;
    bool guarded; /* only if the entry's guard still equals `guard` */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t guard;
};

struct proto_listing {
    bool is_plain; /* set by the caller, as it was for the call */
    struct proto_attrs directory;
    const uint8_t *verifier;
    bool is_last;
};

struct proto_entry {
    uint64_t fileid;
    uint64_t cookie;
    const uint8_t *name;
    uint32_t length;            /* up to PROTO_LONGEST_NAME */
    struct proto_attrs attrs;   /* if known */
    struct proto_handle handle; /* length 0: the server did not send it */
};

struct protocol {
    int version;
    size_t batch; /* entries that one call changes, if the server does not say that it takes more */
    /* Begin a call and write its arguments; false if too many calls wait. rpc_send must follow. */
    bool (*call_getattr)(struct rpc *rpc, const struct proto_handle *handle);
    bool (*call_lookup)(struct rpc *rpc, const struct proto_handle *directory, const void *name,
                        size_t length);
    /*
     * `size` is PROTO_LISTING or more. A plain listing has neither attributes nor handles; version
     * 4 makes none.
     */
    bool (*call_listing)(struct rpc *rpc, const struct proto_handle *directory, uint64_t cookie,
                         const uint8_t *verifier, uint32_t size, bool is_plain);
    bool (*call_setattr)(struct rpc *rpc, const struct proto_handle *const *handles,
                         const struct proto_setattr *sets, size_t count);
    /*
     * Read the status of any call but SETATTR: 0, PROTO_DELAY, or -errno. -EILSEQ: the cookie is no
     * longer valid; -EMSGSIZE: a listing was given too little room.
     */
    int (*read_status)(struct xdr_in *reply);
    /*
     * Read a reply to SETATTR. Returns how many entries the server tried; `errors` has that many
     * results: 0, PROTO_DELAY, PROTO_RESOURCE or -errno. -EAGAIN: the guard did not match;
     * -EPROTOTYPE: the server refuses how the group is named. `after` are the attributes of a
     * single entry, if known.
     */
    size_t (*read_setattr)(struct xdr_in *reply, const struct proto_setattr *sets, size_t count,
                           int *errors, struct proto_attrs *after);
    /* Read what follows a status of 0. Errors may be those of idmap_read. */
    int (*read_getattr)(struct xdr_in *reply, struct proto_attrs *attrs);
    int (*read_lookup)(struct xdr_in *reply, struct proto_handle *handle,
                       struct proto_attrs *attrs);
    /* Read the beginning of a listing, and then its entries: 1, or 0 after the last one. */
    int (*read_listing)(struct xdr_in *reply, struct proto_listing *listing);
    int (*read_entry)(struct xdr_in *reply, struct proto_listing *listing,
                      struct proto_entry *entry);
};

/* ---- what both implementations share (protocol.c) */

/*
 * Return 0, PROTO_DELAY or -errno for a status of RFC 1813, section 2.6; version 4 has them, too.
 */
int proto_error(uint32_t status);

/* Return the type bits of a mode (S_IFMT) for an ftype3 or nfs_ftype4; 0 if it is unknown. */
uint32_t proto_type(uint32_t number);

/* Read a handle of up to `max` bytes; an empty one is bad. */
void proto_get_handle(struct xdr_in *reply, size_t max, struct proto_handle *handle);

/*
 * Return 0, or -EBADMSG unless a directory may have an entry of this name, up to
 * PROTO_LONGEST_NAME; `.` and `..` may occur.
 */
int proto_check_name(const uint8_t *name, size_t length);

/* Return a server's time in ns. */
int64_t proto_time(uint64_t seconds_and_nanoseconds);

#endif
