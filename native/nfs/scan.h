/*
 * Scan over NFS: look at the entries of one unit.
 *
 *     struct nfs_scan_request   the unit, the policy, the options and the limits
 *     struct nfs_scan_result    what was found
 *     struct nfs_cursor         where the reading of a wide directory goes on
 *
 * The invariant is that of the local scan (local/scan.h): each name of the unit, and each one below
 * it, is counted in the tally, or is in `rest`, `again` or the wide directory.
 */

#ifndef ARCHIPMIGRATE_NFS_SCAN_H
#define ARCHIPMIGRATE_NFS_SCAN_H

#include "core/attrs.h"
#include "core/result.h"
#include "nfs/client.h"

struct nfs_cursor {
    struct proto_handle handle;
    uint64_t inode;
    uint64_t cookie; /* 0: its beginning */
    uint8_t verifier[PROTO_VERIFIER];
};

struct nfs_scan_request {
    struct nfs_client *client;
    /* The unit: packed groups, or a cursor. */
    const uint8_t *body;
    size_t body_length;
    const struct nfs_cursor *cursor; /* or NULL */
    const uint8_t *cursor_path;
    size_t cursor_path_length;
    /*
     * The unit is a wide directory of which the other version of NFS had read a part. The directory
     * itself is not counted and judged again, and names of that part are skipped, by their sorted
     * keys.
     */
    bool continues;
    const uint64_t *passed;
    size_t passed_count;
    bool wants_keys; /* return the keys of names that are read by a cursor */
    bool counted;    /* the unit's names are in the tally already */
    bool last_try;   /* do not retry after transient errors */
    struct policy policy;
    /* The options. */
    const uint8_t *excludes; /* u8 length, name; repeated */
    size_t excludes_length;
    const uint8_t *snapshots; /* likewise */
    size_t snapshots_length;
    bool cross;
    bool retain; /* return `handles` */
    /* The limits. */
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
    struct nfs_cursor wide;
    struct buffer handles; /* of each change: u8 length, handle, u64 guard, i64 mtime */
    struct buffer keys;    /* of uint64_t */
};

/*
 * Scan a unit. Returns 0 or -errno: -EINVAL for a malformed unit, -EPROTOTYPE if owners are names
 * and there is no domain for them. If the stop flag is set and the server does not answer, the
 * whole unit is left over. Free the result in any case.
 */
int nfs_scan(const struct nfs_scan_request *request, struct nfs_scan_result *result);
void nfs_scan_result_free(struct nfs_scan_result *result);

#endif
