/*
 * Apply over NFS: make, settle, check or put back the changes of a unit.
 *
 *     struct nfs_apply_request   the changes, and what to do with them
 *
 * The invariants are those of the local apply (local/apply.h), with a guard in the place of a
 * descriptor: a SETATTR is executed only if the entry is as it was seen.
 */

#ifndef ARCHIPMIGRATE_NFS_APPLY_H
#define ARCHIPMIGRATE_NFS_APPLY_H

#include "core/result.h"
#include "nfs/client.h"

struct nfs_apply_request {
    struct nfs_client *client;
    const uint8_t *changes;
    size_t length;
    enum verb verb;
    int64_t deny_limit; /* 0: none */
    struct known known; /* VERB_BACK */
    const uint8_t *handles;
    size_t handles_length; /* 0: entries are found by their paths */
    bool is_retry;         /* an entry that is as it should become may have been changed by us */
    const volatile uint8_t *stop; /* once it is set, changes that were not begun are UNTRIED */
};

/*
 * Apply all changes. Returns 0 or -errno: -EPROTOTYPE if owners have names, and a new one has none,
 * or there is no domain; -ECANCELED if the stop flag was set and the server did not answer all
 * calls in flight: some changes may have been made then. The result is zeroed before, but for
 * `kept`; free it in any case.
 */
int nfs_apply(const struct nfs_apply_request *request, struct apply_result *result);

#endif
