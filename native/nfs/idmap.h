/*
 * Owners of NFSv4, which come as texts (RFC 7530, section 5.9): numbers, or names like `user@domain`.
 *
 *     struct names   of one open share: the domain whose names are this host's, and which were looked up
 *
 * Without a domain only numbers are understood, and that there was a name is remembered: another version
 * of the protocol is to serve then. With one, names of that domain are this host's users and groups.
 *
 * Invariant: a group that is understood is sent as it came, so that what was changed can be put back
 * exactly. So a number that has a name here, or a name that is not the first of its number, is an error.
 * Owners are never sent: of theirs any number will do.
 */

#ifndef ARCHIPMIGRATE_NFS_IDMAP_H
#define ARCHIPMIGRATE_NFS_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_OWNER  128 /* bytes of a text that is understood, or sent */
#define MOST_DOMAIN 95  /* leaves room for names of 32 */

enum owner {
    OWNER_USER,
    OWNER_GROUP,
};

struct names;

/* `domain` may be empty: there is none. NULL if there is no memory. */
struct names *names_make(const char *domain);
void names_free(struct names *names);

bool names_have_domain(const struct names *names);

/* Say whether an owner was a name though there is no domain. */
bool names_were_met(struct names *names);

/*
 * Understand an owner: 0; -EPROTOTYPE for a name without a domain; -ENOKEY for one that is nobody's here;
 * -ENOTUNIQ for a group that would not be sent as it came; -EIO if this host could not say.
 */
int names_read(struct names *names, enum owner kind, const uint8_t *text, size_t length,
               uint32_t *id);

/* Write a group as it is sent; give the length. */
size_t names_write(struct names *names, uint32_t gid, char text[MOST_OWNER]);

/* The first owner that was not understood, or "". */
void names_unknown(struct names *names, char text[MOST_OWNER]);

#endif
