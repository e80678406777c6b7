/*
 * Decisions about the mode and group of an entry, on plain integers: what policy.py says, and what
 * a change (changes.h) allows to be done with the entry as it is found. Modes have the file type,
 * as in st_mode.
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

/* Say whether an entry may stay as it is: it has the policy's group, and its bits at least. */
bool attrs_comply(uint32_t mode, uint32_t gid, uint32_t wanted_gid, uint32_t bits);

struct policy {
    uint32_t gid;
    uint32_t directory_bits;
    uint32_t file_bits;
    bool skip_links;
};

enum verdict {
    VERDICT_SKIPPED,
    VERDICT_COMPLIANT,
    VERDICT_CHANGE,
};

/*
 * Judge a regular file. That it is on another device than its directory does not matter: an overlay
 * shows the devices of its layers.
 */
enum verdict attrs_judge(const struct policy *policy, uint32_t mode, uint32_t gid, bool is_linked);

/*
 * Complete the change of an entry that does not comply: `new_mode` and `flags` are set; the rest of
 * it is the entry as it was found.
 */
void change_complete(struct change *change, uint32_t bits, bool is_linked);

/* Say whether this is the entry that the change is for, by inode, type and owner. */
bool change_is_for(const struct change *change, uint64_t inode, uint32_t mode, uint32_t uid);

/*
 * Say whether nobody wrote to the file since (FLAG_SETID): its size and mtime are the pre-image's.
 */
bool change_is_untouched(const struct change *change, uint64_t size, int64_t mtime);

/*
 * Say whether the change needs a chmod: also where chown would take set-id bits that are to stay.
 */
bool change_sets_mode(const struct change *change);

/* Return the set-id bits that the change takes from the entry. */
uint32_t change_lost_bits(const struct change *change);

/* Return the mode that the entry gets back: the old one, without these bits. */
uint32_t change_restored_mode(const struct change *change);

/*
 * Group and mode are set by two calls, and a kill, or somebody else, may come between them:
 *
 *                group    mode
 *     OLD        old      old
 *     BETWEEN    new      old, or what the kernel's chown or the first chmod of BACK leaves of it
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
 * Return the state of an entry. Where the old and the new attributes share values, several states
 * fit: the verb's own goal comes first, then the pre-image, then what leads on.
 */
enum change_state change_state(enum verb verb, const struct change *change, uint32_t new_gid,
                               uint32_t mode, uint32_t gid);

#endif
