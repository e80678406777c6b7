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

bool attrs_comply(uint32_t mode, uint32_t gid, uint32_t wanted_gid, uint32_t bits)
{
    return gid == wanted_gid && (mode & bits) == bits;
}

enum verdict attrs_judge(const struct policy *policy, uint32_t mode, uint32_t gid, bool is_linked)
{
    if (is_linked && policy->skip_links)
        return VERDICT_SKIPPED;
    return attrs_comply(mode, gid, policy->gid, policy->file_bits) ? VERDICT_COMPLIANT
                                                                   : VERDICT_CHANGE;
}

void change_complete(struct change *change, uint32_t bits, bool is_linked)
{
    change->new_mode = (uint16_t)(mode_stripped(change->mode) | bits);
    change->flags = is_linked ? FLAG_LINKED : 0;
    if (change_lost_bits(change))
        change->flags |= FLAG_SETID;
}

bool change_is_for(const struct change *change, uint64_t inode, uint32_t mode, uint32_t uid)
{
    return inode == change->inode && ((mode ^ change->mode) & S_IFMT) == 0 && uid == change->uid;
}

bool change_is_untouched(const struct change *change, uint64_t size, int64_t mtime)
{
    return size == change->size && mtime == change->mtime;
}

bool change_sets_mode(const struct change *change)
{
    return change->new_mode != change->mode || change->mode & SET_ID;
}

uint32_t change_lost_bits(const struct change *change)
{
    return change->mode & ~(uint32_t)change->new_mode & SET_ID;
}

uint32_t change_restored_mode(const struct change *change)
{
    return change->mode & ~change_lost_bits(change);
}

/* Say whether an entry may have this mode, and its old group, after BACK or in the midst of it. */
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

enum change_state change_state(enum verb verb, const struct change *change, uint32_t new_gid,
                               uint32_t mode, uint32_t gid)
{
    bool is_new = mode == change->new_mode && gid == new_gid;
    if (is_new && verb == VERB_SETTLE)
        return STATE_NEW;
    if (mode == change->mode && gid == change->gid)
        return STATE_OLD;
    if (verb == VERB_BACK && is_bare(change, mode) && gid == change->gid)
        return STATE_BARE;
    if (is_new)
        return STATE_NEW;
    return gid == new_gid && is_between(change, mode) ? STATE_BETWEEN : STATE_FOREIGN;
}
