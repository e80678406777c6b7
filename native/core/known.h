/*
 * What is known of entries since their change, for when they are put back (model.py, Known).
 *
 *     enum identity_kind   what an identity is
 *     struct known         all that is known, by the index of the change
 *     struct attrs         mode, owner and group of an entry
 *
 * An identity is 64 bits by which an inode is told from another one that has its number later; 0:
 * not known.
 */

#ifndef ARCHIPMIGRATE_CORE_KNOWN_H
#define ARCHIPMIGRATE_CORE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* model.py, IdentityKind. */
enum identity_kind {
    IDENTITY_NONE = 0,
    IDENTITY_BIRTH = 1,
    IDENTITY_HANDLE = 2,
    IDENTITY_V3_HANDLE = 3,
    IDENTITY_V4_HANDLE = 4,
};

struct attrs {
    uint32_t mode; /* as in st_mode */
    uint32_t uid;  /* NO_ID in all that is compared where owners stay as they are */
    uint32_t gid;
};

/* Zeroed: nothing is known. */
struct known {
    const uint8_t *came; /* packed/known.py */
    size_t came_length;
    enum identity_kind kind;
    const uint8_t *identities; /* u64 a change, little-endian */
    size_t identities_length;
    int64_t born_before;   /* ns; 0: any time */
    int64_t changed_until; /* ns; 0: not known */
};

/* Say whether what comes from Python is well-formed. */
bool known_is_valid(const struct known *known);

/* Return the identity of the entry of a change. */
uint64_t known_identity(const struct known *known, size_t index);

/* Get what a change left that read back differently; false if it did not. */
bool known_came(const struct known *known, size_t index, struct attrs *came);

/* Return the identity that a handle is hashed to: FNV-1a. */
uint64_t identity_of_handle(const void *handle, size_t length);

#endif
