/*
 * Owners of NFSv4, which are strings (RFC 7530, section 5.9): numbers, or names like `user@domain`.
 *
 *     struct idmap   of one open share: a domain, and a cache of this host's users and groups
 *
 * Without a domain only numbers are understood; if a name comes, idmap_met_names tells, and the
 * share must be opened by version 3. With a domain, names of that domain stand for this host's
 * users and groups.
 *
 * Invariant: a group that was understood is sent as it came, so that undo can restore it exactly.
 * Therefore a number that has a name here, and a name that is not the first one of its number, are
 * errors. So it is with users if these are sent (idmap_send_users); else any mapping to a number
 * will do for them.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_IDMAP_H
#define ARCHIPMIGRATE_NFS_PROTO_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDMAP_MAX_OWNER  128 /* bytes of a string that is understood, or sent, with its NUL */
#define IDMAP_MAX_DOMAIN 95  /* leaves room for names of 32 bytes */

enum idmap_kind {
    IDMAP_USER,
    IDMAP_GROUP,
};

struct idmap;

/* Make one; an empty domain means none. NULL: no memory. */
struct idmap *idmap_new(const char *domain);
void idmap_free(struct idmap *idmap);

bool idmap_has_domain(const struct idmap *idmap);

/* From now on users are sent, too. */
void idmap_send_users(struct idmap *idmap);

/* Return whether an owner was a name although there is no domain. */
bool idmap_met_names(struct idmap *idmap);

/*
 * Map an owner to a number. Returns 0; -EPROTOTYPE for a name without a domain; -ENOKEY for a name
 * that nobody has here; -ENOTUNIQ for one that would not be sent as it came; -EIO if this host
 * cannot tell.
 */
int idmap_read(struct idmap *idmap, enum idmap_kind kind, const uint8_t *text, size_t length,
               uint32_t *id);

/* Write a user or group as it is to be sent; returns the length. */
size_t idmap_write(struct idmap *idmap, enum idmap_kind kind, uint32_t id,
                   char text[IDMAP_MAX_OWNER]);

/* Copy the first owner that was not understood, or "". */
void idmap_first_unknown(struct idmap *idmap, char text[IDMAP_MAX_OWNER]);

#endif
