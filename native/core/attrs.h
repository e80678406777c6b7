/*
 * Decisions about mode, owner and group of an entry, on plain integers: what policy.py says, and
 * what a change (changes.h) allows to be done with the entry as it is found. Modes have the file
 * type, as in st_mode. `ids` are those that entries get; where they have no owner, each entry keeps
 * its own, which then tells whether it is the entry of a change.
 *
 *     struct policy       what entries are to become, and which are skipped
 *     enum verdict        what is to be done with a file
 *     enum change_state   where an entry is on its way from the pre-image to the change, and back
 */

#ifndef ARCHIPMIGRATE_CORE_ATTRS_H
#define ARCHIPMIGRATE_CORE_ATTRS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/result.h"

#define SET_ID (S_ISUID | S_ISGID)

uint32_t mode_without_set_id(uint32_t mode);

/* What becomes of a mode: the mode, and whether an entry of the old one may stay as it is. */
#define MODES         4096
#define MODE_COMPLIES 0x8000

struct policy {
    struct ids ids;
    const uint16_t *modes; /* of directories, then of files (policy.py, packed_modes) */
    bool skip_links;
};

/* Say whether an entry may stay as it is: its ids and its mode are the policy's. */
bool attrs_comply(const struct policy *policy, struct attrs found);

enum verdict {
    VERDICT_SKIPPED,
    VERDICT_COMPLIANT,
    VERDICT_CHANGE,
};

/*
 * Judge a regular file. That it is on another device than its directory does not matter: an overlay
 * shows the devices of its layers.
 */
enum verdict attrs_judge(const struct policy *policy, struct attrs found, bool is_linked);

/*
 * Complete the change of an entry that does not comply: `new_mode` and `flags` are set; the rest of
 * it is the entry as it was found.
 */
void change_complete(const struct policy *policy, struct change *change, bool is_linked);

/* Say whether this is the entry of the change: by inode, type, and its owner if that stays. */
bool change_is_for(const struct change *change, struct ids ids, uint64_t inode, struct attrs found);

/*
 * Say whether nobody wrote to the file since (FLAG_SETID): its size and mtime are the pre-image's.
 * An owner may set mtime back; if the change brings another one, nobody knows.
 */
bool change_is_untouched(const struct change *change, struct ids ids, uint64_t size, int64_t mtime);

/* Return attributes as they are compared: without the owner where owners stay as they are. */
struct attrs attrs_compared(struct ids ids, struct attrs found);

/* Return what the entry was, and what it is to become, as they are compared. */
struct attrs change_old(const struct change *change, struct ids ids);
struct attrs change_new(const struct change *change, struct ids ids);

/* Return the owner and group to set, of an entry that has others; NO_ID: leave it. */
struct ids ids_to_set(struct attrs found, struct attrs wanted);

/*
 * Say whether the change needs a chmod: also where chown would take set-id bits that are to stay.
 */
bool change_sets_mode(const struct change *change);

/* Return the set-id bits that the change takes from a file for good; directories get them back. */
uint32_t change_lost_bits(const struct change *change);

/* Return the mode that the entry gets back: the old one, without these bits. */
uint32_t change_restored_mode(const struct change *change);

/*
 * Ids (owner and group) and mode are set by two calls, and a kill, or somebody else, may come
 * between them:
 *
 *                ids      mode
 *     OLD        old      old
 *     BETWEEN    new      old, or what the kernel's chown or the first chmod of BACK leaves of it
 *                came     came, or as the line above: of a change that read back differently
 *     NEW        new      new
 *     BARE       old      old without set-id bits, or without those that the change took: BACK is
 *                         done, but for those that come back
 *     FOREIGN    anything else: somebody else has changed it
 */
enum change_state {
    STATE_OLD,
    STATE_BETWEEN,
    STATE_NEW,
    STATE_BARE,
    STATE_FOREIGN,
};

/*
 * Return the state of an entry; both `found` and `came`, which is NULL if the change did not read
 * back differently, are as they are compared. Where
 * the old and the new attributes share values, several states fit: the verb's own goal comes first,
 * then the pre-image, then what leads on.
 */
enum change_state change_state(enum verb verb, const struct change *change, struct ids ids,
                               struct attrs found, const struct attrs *came);

#endif
