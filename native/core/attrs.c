/* The rules of attrs.h. */

#include "core/attrs.h"

/* Return what the kernel leaves of a mode when owner or group change (policy.py, stripped). */
static uint32_t mode_stripped(uint32_t mode)
{
    if (S_ISDIR(mode))
        return mode;
    mode &= ~(uint32_t)S_ISUID;
    return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

uint32_t mode_without_set_id(uint32_t mode)
{
    return mode & ~(uint32_t)SET_ID;
}

static bool keeps_owner(struct ids ids, uint32_t uid)
{
    return ids.uid == NO_ID || ids.uid == uid;
}

/* Return what the policy says of a mode. */
static uint16_t rule_of(const struct policy *policy, uint32_t mode)
{
    return policy->modes[(S_ISDIR(mode) ? 0 : MODES) + (mode & (MODES - 1))];
}

bool attrs_comply(const struct policy *policy, struct attrs found)
{
    return keeps_owner(policy->ids, found.uid) && found.gid == policy->ids.gid &&
           rule_of(policy, found.mode) & MODE_COMPLIES;
}

enum verdict attrs_judge(const struct policy *policy, struct attrs found, bool is_linked)
{
    if (is_linked && policy->skip_links)
        return VERDICT_SKIPPED;
    return attrs_comply(policy, found) ? VERDICT_COMPLIANT : VERDICT_CHANGE;
}

void change_complete(const struct policy *policy, struct change *change, bool is_linked)
{
    uint32_t mode = rule_of(policy, change->mode) & (uint32_t)(MODES - 1);
    change->new_mode = (uint16_t)((change->mode & S_IFMT) | mode);
    change->flags = is_linked ? FLAG_LINKED : 0;
    if (change_lost_bits(change))
        change->flags |= FLAG_SETID;
}

bool change_is_for(const struct change *change, struct ids ids, uint64_t inode, struct attrs found)
{
    return inode == change->inode && ((found.mode ^ change->mode) & S_IFMT) == 0 &&
           (ids.uid != NO_ID || found.uid == change->uid);
}

bool change_is_untouched(const struct change *change, struct ids ids, uint64_t size, int64_t mtime)
{
    return keeps_owner(ids, change->uid) && size == change->size && mtime == change->mtime;
}

struct attrs attrs_compared(struct ids ids, struct attrs found)
{
    return (struct attrs){found.mode, ids.uid == NO_ID ? NO_ID : found.uid, found.gid};
}

struct attrs change_old(const struct change *change, struct ids ids)
{
    return attrs_compared(ids, (struct attrs){change->mode, change->uid, change->gid});
}

struct attrs change_new(const struct change *change, struct ids ids)
{
    return (struct attrs){change->new_mode, ids.uid, ids.gid};
}

struct ids ids_to_set(struct attrs found, struct attrs wanted)
{
    return (struct ids){
        .uid = found.uid == wanted.uid ? NO_ID : wanted.uid,
        .gid = found.gid == wanted.gid ? NO_ID : wanted.gid,
    };
}

bool change_sets_mode(const struct change *change)
{
    return change->new_mode != change->mode || change->mode & SET_ID;
}

uint32_t change_lost_bits(const struct change *change)
{
    return S_ISDIR(change->mode) ? 0 : change->mode & ~(uint32_t)change->new_mode & SET_ID;
}

uint32_t change_restored_mode(const struct change *change)
{
    return change->mode & ~change_lost_bits(change);
}

/* Say whether an entry may have this mode, and its old ids, after BACK or in the midst of it. */
static bool is_bare(const struct change *change, uint32_t mode)
{
    return mode == mode_without_set_id(change->mode) || mode == change_restored_mode(change);
}

/* Say whether an entry may have this mode between the calls that change it. */
static bool is_between(const struct change *change, uint32_t mode)
{
    return mode == change->mode || mode == mode_stripped(change->mode) ||
           mode == mode_without_set_id(change->mode);
}

/* Say whether a change that a kill hid left this mode: set-gid may have been dropped. */
static bool is_unread(enum verb verb, const struct change *change, uint32_t mode)
{
    return verb == VERB_SETTLE && S_ISDIR(mode) && mode == (change->new_mode & ~(uint32_t)S_ISGID);
}

static bool have_same_ids(struct attrs one, struct attrs other)
{
    return one.uid == other.uid && one.gid == other.gid;
}

enum change_state change_state(enum verb verb, const struct change *change, struct ids ids,
                               struct attrs found, const struct attrs *came)
{
    uint32_t mode = found.mode;
    bool has_old_ids = have_same_ids(found, change_old(change, ids));
    bool has_new_ids = have_same_ids(found, change_new(change, ids));
    bool is_new = mode == change->new_mode && has_new_ids;
    if (is_new && verb == VERB_SETTLE)
        return STATE_NEW;
    if (mode == change->mode && has_old_ids)
        return STATE_OLD;
    if (verb == VERB_BACK && is_bare(change, mode) && has_old_ids)
        return STATE_BARE;
    if (is_new)
        return STATE_NEW;
    if (has_new_ids && (is_between(change, mode) || is_unread(verb, change, mode)))
        return STATE_BETWEEN;
    bool is_ours =
        came && have_same_ids(found, *came) && (mode == came->mode || is_between(change, mode));
    return is_ours ? STATE_BETWEEN : STATE_FOREIGN;
}
