/*
 * What each verb does with one entry, by what was found of it (apply_entry.h has the structures).
 *
 *     VERB_FORWARD   old attributes -> SETATTR; its first result must be as expected
 *     VERB_SETTLE    between old and new -> SETATTR of the mode
 *     VERB_BACK      new, or between -> SETATTR without set-id bits -> SETATTR of those that stay
 *
 * A server that refuses guards gets changes without. Then an entry is looked at just before its
 * change and just after:
 *
 *     SETATTR, guarded -> INVAL, NOTSUPP -> GETATTR -> SETATTR, unguarded -> its attributes
 *                                            '--- all others, once that succeeded
 */

#define _GNU_SOURCE
#include "nfs/apply_entry.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/attrs.h"

/* How often the guard may fail because somebody writes to the file, until it is changed without. */
#define MAX_GUARDED 4

/* ---- failures */

static void report(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                   const char *operation, int error, const char *note)
{
    /*
     * An old group that the server does not know is a failure of one entry; the new group, of all.
     */
    if (error == -EPROTOTYPE && apply->request->verb == VERB_BACK &&
        idmap_has_domain(nfs_client_idmap(apply->client)))
        error = -ENOKEY;
    if (error == -EPROTOTYPE)
        apply->ended = apply->is_unnamed = true;
    size_t index = (size_t)(entry - apply->entries);
    if (apply_put_failure(apply->result, index, operation, error, note) < 0)
        apply->error = -ENOMEM;
}

int nfs_apply_fail(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                   const char *operation, int error, const char *note)
{
    /* After a success, of this call or (no limit) an earlier one, the share is not read-only. */
    bool has_succeeded = apply->succeeded || apply->request->deny_limit == 0;
    if (error == -EROFS && has_succeeded)
        note = READ_ONLY_PART;
    report(apply, entry, operation, error, note);
    apply->ended |=
        refusal_ends(error, note, apply->succeeded, apply->request->deny_limit, &apply->denied);
    return OUTCOME_FAILED;
}

static int fail_result(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                       const struct proto_attrs *now)
{
    size_t index = (size_t)(entry - apply->entries);
    if (apply_put_misread(apply->result, index, now->mode, now->gid) < 0)
        apply->error = -ENOMEM;
    return OUTCOME_FAILED;
}

/*
 * Return whether the change gives a directory set-gid. Servers drop that silently for a caller who
 * is not in the group, so all such directories are read back until one is as it should be.
 */
static bool gains_setgid(const struct nfs_entry_change *entry)
{
    const struct change *change = &entry->change;
    return S_ISDIR(change->mode) && change->new_mode & S_ISGID && !(change->mode & S_ISGID);
}

bool nfs_apply_needs_attrs(const struct nfs_apply *apply, const struct nfs_entry_change *entry)
{
    if (entry->doubts_guard || nfs_client_is_unguarded(apply->client))
        return true;
    switch (apply->request->verb) {
    case VERB_FORWARD:
        return !apply->succeeded || entry->change.flags & FLAG_SETID ||
               (gains_setgid(entry) && !nfs_client_keeps_setgid(apply->client));
    case VERB_BACK: /* set-id bits need a second call */
        return change_restored_mode(&entry->change) & SET_ID && !entry->is_bare;
    default:
        return true;
    }
}

/* ---- predicates */

static bool is_now(const struct proto_attrs *found, uint32_t mode, uint32_t gid)
{
    return found->mode == mode && found->gid == gid;
}

static bool is_untouched(const struct proto_attrs *found, const struct change *change)
{
    return change_is_untouched(change, found->size, found->mtime);
}

static enum change_state state_of(const struct nfs_apply *apply,
                                  const struct nfs_entry_change *entry)
{
    return change_state(apply->request->verb, &entry->change, apply->new_gid, entry->found.mode,
                        entry->found.gid);
}

static void stamp(struct nfs_apply *apply, const struct nfs_entry_change *entry)
{
    size_t index = (size_t)(entry - apply->entries);
    if (apply_put_stamp(apply->result, index, proto_time(entry->found.ctime)) < 0)
        apply->error = -ENOMEM;
}

/* Stamp a file that lost set-id bits, if nobody wrote to it. */
static void stamp_untouched(struct nfs_apply *apply, const struct nfs_entry_change *entry)
{
    if (entry->change.flags & FLAG_SETID && is_untouched(&entry->found, &entry->change))
        stamp(apply, entry);
}

static int set(struct nfs_apply *apply, struct nfs_entry_change *entry, struct proto_setattr set)
{
    set.guarded = entry->tries < MAX_GUARDED && !entry->doubts_guard &&
                  !nfs_client_is_unguarded(apply->client);
    set.guard = entry->found.guard;
    entry->set = set;
    return nfs_apply_queue_setattr(apply, entry);
}

/* ---- FORWARD */

static int set_new(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct change *change = &entry->change;
    return set(apply, entry,
               (struct proto_setattr){
                   .sets_mode = change_sets_mode(change),
                   .mode = change->new_mode,
                   .sets_gid = change->gid != apply->new_gid,
                   .gid = apply->new_gid,
               });
}

int nfs_apply_by_handle(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    return nfs_client_is_unguarded(apply->client)
               ? nfs_apply_send_getattr(apply, entry, AWAITS_LOOK)
               : set_new(apply, entry);
}

/* Check the result of the change; keep the ctime of a set-id file, which lost its bits. */
static int check_result(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct proto_attrs *now = &entry->found;
    bool is_first = !apply->succeeded;
    if (!is_now(now, entry->change.new_mode, apply->new_gid)) {
        apply->ended |= is_first;
        return fail_result(apply, entry, now);
    }
    if (gains_setgid(entry))
        nfs_client_set_keeps_setgid(apply->client);
    if (is_first)
        apply->result->first_ctime = proto_time(now->ctime);
    if (entry->change.flags & FLAG_SETID)
        stamp(apply, entry);
    return OUTCOME_CHANGED;
}

static int forward(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    switch (state_of(apply, entry)) {
    case STATE_OLD:
        return set_new(apply, entry);
    case STATE_NEW:
        return entry->may_be_ours ? check_result(apply, entry) : OUTCOME_DIFFERENT;
    default:
        return OUTCOME_DIFFERENT;
    }
}

/* ---- SETTLE */

static int settled(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    apply_note_ctime(apply->result, proto_time(entry->found.ctime));
    stamp_untouched(apply, entry);
    return OUTCOME_CHANGED;
}

static int settle(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    switch (state_of(apply, entry)) {
    case STATE_NEW:
        return settled(apply, entry);
    case STATE_OLD:
        return OUTCOME_UNCHANGED;
    case STATE_BETWEEN:
        return set(apply, entry,
                   (struct proto_setattr){.sets_mode = true, .mode = entry->change.new_mode});
    default:
        return OUTCOME_DIFFERENT;
    }
}

/* ---- BACK: servers drop set-id bits when group and mode come together, so these come after */

static int restored(const struct nfs_entry_change *entry)
{
    return change_lost_bits(&entry->change) ? OUTCOME_SETID_OFF : OUTCOME_CHANGED;
}

/* All but the set-id bits is restored: restore those that come back. */
static int restore_setid(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    uint32_t mode = change_restored_mode(&entry->change);
    if (mode == entry->found.mode)
        return restored(entry);
    return set(apply, entry, (struct proto_setattr){.sets_mode = true, .mode = mode});
}

static int back(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct change *change = &entry->change;
    const struct proto_attrs *found = &entry->found;
    uint32_t bare = mode_without_set_id(change->mode);
    switch (state_of(apply, entry)) {
    case STATE_OLD:
        return entry->may_be_ours || entry->is_bare ? OUTCOME_CHANGED : OUTCOME_UNCHANGED;
    case STATE_BARE:
        entry->is_bare = true;
        return restore_setid(apply, entry);
    case STATE_FOREIGN:
        return OUTCOME_DIFFERENT;
    default:
        break;
    }
    return set(apply, entry,
               (struct proto_setattr){
                   .sets_mode = found->mode != bare,
                   .mode = bare,
                   .sets_gid = found->gid != change->gid,
                   .gid = change->gid,
               });
}

/* One of the two calls was made: check its result, and make the second one. */
static int restore_next(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    if (entry->is_bare)
        return restored(entry);
    if (!is_now(&entry->found, mode_without_set_id(entry->change.mode), entry->change.gid))
        return fail_result(apply, entry, &entry->found);
    entry->is_bare = true;
    return restore_setid(apply, entry);
}

/* ---- all verbs */

int nfs_apply_entry(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    if (!change_is_for(&entry->change, entry->found.fileid, entry->found.mode, entry->found.uid))
        return OUTCOME_DIFFERENT;
    switch (apply->request->verb) {
    case VERB_FORWARD:
        return forward(apply, entry);
    case VERB_SETTLE:
        return settle(apply, entry);
    default:
        return back(apply, entry);
    }
}

static int after_set(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    switch (apply->request->verb) {
    case VERB_FORWARD:
        return check_result(apply, entry);
    case VERB_SETTLE:
        return settled(apply, entry);
    default:
        return restore_next(apply, entry);
    }
}

/*
 * Return whether the guard missed that somebody changed the entry's attributes: servers that
 * compare whole seconds (Linux before 6.9) do so. A write to the content, which also sets mtime,
 * does no harm.
 */
static bool was_raced(const struct nfs_entry_change *entry, const struct proto_attrs *after)
{
    return entry->set.guarded && !entry->may_be_ours && after->tells_before &&
           after->ctime_before != entry->set.guard && after->mtime_before == entry->found.mtime;
}

int nfs_apply_was_set(struct nfs_apply *apply, struct nfs_entry_change *entry, int error,
                      const struct proto_attrs *after)
{
    if (error == -EAGAIN && entry->set.guarded) {
        /*
         * The guard: the entry has changed since it was seen. Its attributes tell whether only the
         * content changed (a machine at work), or our own call did it, which was sent again:
         *
         *     we       SETATTR ..(connection lost)..  SETATTR again -> NOT_SYNC, GETATTR: as wanted
         *     server           executes it, reply lost
         */
        entry->tries++;
        return nfs_apply_send_getattr(apply, entry, AWAITS_LOOK);
    }
    if (entry->set.guarded && (error == -EINVAL || error == -EOPNOTSUPP)) {
        entry->doubts_guard = true;
        return nfs_apply_send_getattr(apply, entry, AWAITS_LOOK);
    }
    if (error == -ESTALE && !entry->is_stale)
        return nfs_apply_find_again(apply, entry);
    if (error == -ENOENT)
        return OUTCOME_GONE;
    if (error < 0)
        return nfs_apply_fail(apply, entry, "setattr", error, "");
    if (entry->doubts_guard)
        nfs_client_set_unguarded(apply->client);
    if (was_raced(entry, after))
        report(apply, entry, "raced", 0, "");
    if (!after->known) {
        if (nfs_apply_needs_attrs(apply, entry))
            return nfs_apply_send_getattr(apply, entry, AWAITS_RESULT);
        return apply->request->verb == VERB_BACK ? restored(entry) : OUTCOME_CHANGED;
    }
    entry->found = *after;
    return after_set(apply, entry);
}
