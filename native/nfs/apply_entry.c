/*
 * What each verb does with one entry, by what was found of it (apply_entry.h has the structures).
 *
 *     VERB_FORWARD   old attributes -> SETATTR
 *     VERB_SETTLE    between old and new -> SETATTR of the mode
 *     VERB_BACK      new, or between -> SETATTR without set-id bits -> SETATTR of those that stay
 *
 * What became of a change is compared with what was wanted wherever the server tells it, and the
 * first one of each kind is asked for.
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
#include "nfs/identity.h"

/* How often the guard may fail because somebody writes to the file, until it is changed without. */
#define MAX_GUARDED 4

static struct attrs attrs_of(const struct nfs_apply *apply, const struct proto_attrs *found)
{
    return attrs_compared(apply->ids, (struct attrs){found->mode, found->uid, found->gid});
}

/* ---- failures */

static void report(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                   const char *operation, int error, const char *note)
{
    /*
     * An old owner that the server does not know is a failure of one entry; a new one, of all.
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

/*
 * Judge what came of a change to `wanted`, and note what the server has shown to keep. A kind that
 * comes out differently is read back each time from then on.
 */
static int read_back(struct nfs_apply *apply, const struct nfs_entry_change *entry,
                     struct attrs before, struct attrs wanted)
{
    struct attrs came = attrs_of(apply, &entry->found);
    size_t index = (size_t)(entry - apply->entries);
    apply->result->kept = nfs_client_kept(apply->client);
    int outcome = apply_read_back(apply->result, index, before, wanted, came);
    if (outcome < 0)
        apply->error = outcome;
    if (outcome == OUTCOME_CHANGED)
        nfs_client_set_proven(apply->client, entry->kind, apply->result->kept);
    else
        apply->doubted |= (uint32_t)1 << entry->kind;
    apply->ended |= apply->result->is_mismatch;
    return outcome < 0 ? OUTCOME_FAILED : outcome;
}

bool nfs_apply_needs_attrs(const struct nfs_apply *apply, const struct nfs_entry_change *entry)
{
    if (entry->doubts_guard || nfs_client_is_unguarded(apply->client) ||
        !nfs_client_is_proven(apply->client, entry->kind))
        return true;
    switch (apply->request->verb) {
    case VERB_FORWARD:
        return !apply->succeeded || entry->change.flags & FLAG_SETID;
    case VERB_BACK: /* set-id bits need a second call */
        return change_restored_mode(&entry->change) & SET_ID && !entry->is_bare;
    default:
        return true;
    }
}

/* ---- predicates */

static enum change_state state_of(const struct nfs_apply *apply,
                                  const struct nfs_entry_change *entry)
{
    struct attrs came, found = attrs_of(apply, &entry->found);
    bool has_come = known_came(&apply->request->known, (size_t)(entry - apply->entries), &came);
    return change_state(apply->request->verb, &entry->change, apply->ids, found,
                        has_come ? &came : NULL);
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
    const struct proto_attrs *found = &entry->found;
    if (entry->change.flags & FLAG_SETID &&
        change_is_untouched(&entry->change, apply->ids, found->size, found->mtime))
        stamp(apply, entry);
}

/* Return the kind of a SETATTR of an entry that has this mode. */
static uint8_t kind_of(const struct proto_setattr *set, uint32_t mode)
{
    bool is_directory = S_ISDIR(mode);
    bool gains = is_directory && set->sets_mode && set->mode & ~mode & S_ISGID;
    return (uint8_t)((is_directory ? OF_DIRECTORY : 0) | (set->sets_uid ? SETS_OWNER : 0) |
                     (set->sets_gid ? SETS_GROUP : 0) | (set->sets_mode ? SETS_MODE : 0) |
                     (gains ? GAINS_SETGID : 0));
}

static int set(struct nfs_apply *apply, struct nfs_entry_change *entry, struct proto_setattr set)
{
    /* FORWARD changes what has the mode of its change, and may not have looked at it. */
    bool is_forward = apply->request->verb == VERB_FORWARD;
    uint8_t kind = kind_of(&set, is_forward ? entry->change.mode : entry->found.mode);
    if (kind != entry->kind)
        nfs_apply_end_probe(apply, entry);
    entry->kind = kind;
    set.guarded = entry->tries < MAX_GUARDED && !entry->doubts_guard &&
                  !nfs_client_is_unguarded(apply->client);
    set.guard = entry->found.guard;
    entry->set = set;
    return nfs_apply_queue_setattr(apply, entry);
}

/* Set owner and group, if an entry has others, together with the mode. */
static int set_ids(struct nfs_apply *apply, struct nfs_entry_change *entry, struct attrs found,
                   struct attrs wanted, bool sets_mode)
{
    struct ids ids = ids_to_set(found, wanted);
    return set(apply, entry,
               (struct proto_setattr){
                   .sets_mode = sets_mode,
                   .mode = wanted.mode,
                   .sets_uid = ids.uid != NO_ID,
                   .uid = ids.uid,
                   .sets_gid = ids.gid != NO_ID,
                   .gid = ids.gid,
               });
}

/* ---- FORWARD */

static int set_new(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct change *change = &entry->change;
    return set_ids(apply, entry, change_old(change, apply->ids), change_new(change, apply->ids),
                   change_sets_mode(change));
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
    int outcome = read_back(apply, entry, change_old(&entry->change, apply->ids),
                            change_new(&entry->change, apply->ids));
    if (outcome != OUTCOME_CHANGED)
        return outcome;
    if (!apply->succeeded)
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

/* The change was finished: check its result. */
static int settle_next(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    struct attrs new = change_new(&entry->change, apply->ids), between = new;
    between.mode = entry->change.mode;
    int outcome = read_back(apply, entry, between, new);
    return outcome == OUTCOME_CHANGED ? settled(apply, entry) : outcome;
}

/* ---- identities */

void nfs_apply_note_identity(struct nfs_apply *apply, const struct nfs_entry_change *entry)
{
    uint64_t identity =
        nfs_identity(apply->client, apply->result->identity_kind, &entry->handle, &entry->found);
    apply_set_identity(apply->result, (size_t)(entry - apply->entries), identity);
}

enum sameness {
    IS_SAME,
    IS_ANOTHER,
    IS_UNKNOWN,
};

/*
 * Say whether an entry is the very one that was changed, not another one that has its inode number
 * by now. Where there are no identities to compare, it is if it is older than the run, or has not
 * changed since the run.
 */
static enum sameness compare_identity(const struct nfs_apply *apply,
                                      const struct nfs_entry_change *entry)
{
    const struct known *known = &apply->request->known;
    const struct proto_attrs *found = &entry->found;
    uint64_t then = known_identity(known, (size_t)(entry - apply->entries));
    uint64_t now = nfs_identity(apply->client, known->kind, &entry->handle, found);
    if (then && now)
        return then == now ? IS_SAME : IS_ANOTHER;
    int64_t ctime = proto_time(found->ctime);
    bool is_older = found->birth && found->birth < known->born_before;
    bool is_as_left =
        known->born_before && ctime >= known->born_before && ctime <= known->changed_until;
    return is_older || is_as_left ? IS_SAME : IS_UNKNOWN;
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
    enum change_state state = state_of(apply, entry);
    enum sameness sameness = entry->is_checked ? IS_SAME : compare_identity(apply, entry);
    if (sameness == IS_ANOTHER || (sameness == IS_UNKNOWN && state != STATE_OLD))
        return OUTCOME_DIFFERENT;
    entry->is_checked = sameness == IS_SAME;
    switch (state) {
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
    struct attrs wanted = change_old(change, apply->ids);
    wanted.mode = bare;
    return set_ids(apply, entry, attrs_of(apply, found), wanted, found->mode != bare);
}

/* One of the two calls was made: check its result, and make the second one. */
static int restore_next(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct change *change = &entry->change;
    struct attrs new = change_new(change, apply->ids), bare = change_old(change, apply->ids);
    struct attrs last = bare;
    bare.mode = mode_without_set_id(change->mode);
    last.mode = entry->set.mode;
    int outcome =
        entry->is_bare ? read_back(apply, entry, bare, last) : read_back(apply, entry, new, bare);
    if (outcome != OUTCOME_CHANGED)
        return outcome;
    if (entry->is_bare)
        return restored(entry);
    entry->is_bare = true;
    return restore_setid(apply, entry);
}

/* ---- all verbs */

int nfs_apply_entry(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    const struct proto_attrs *found = &entry->found;
    const struct attrs attrs = {found->mode, found->uid, found->gid};
    if (!change_is_for(&entry->change, apply->ids, found->fileid, attrs))
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
        return settle_next(apply, entry);
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
