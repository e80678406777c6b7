#define _GNU_SOURCE
#include "nfs/apply.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/attrs.h"

/* So often a guard may fail because somebody writes to the file; then it is changed without. */
#define MOST_GUARDED 4

/* ---- what goes wrong */

static void tell(struct nfs_applying *applying, const struct record *record, const char *operation,
                 int error, const char *note)
{
    /* An old group that is nobody's there is one entry's failure; the new one is everybody's. */
    if (error == -EPROTOTYPE && applying->ask->verb == VERB_BACK &&
        names_have_domain(nfs_names(applying->nfs)))
        error = -ENOKEY;
    if (error == -EPROTOTYPE)
        applying->ended = applying->is_unnamed = true;
    size_t index = (size_t)(record - applying->records);
    if (apply_put_failure(applying->result, index, operation, error, note) < 0)
        applying->error = -ENOMEM;
}

int refuse(struct nfs_applying *applying, const struct record *record, const char *operation,
           int error, const char *note)
{
    tell(applying, record, operation, error, note);
    applying->ended |=
        refusal_ends(error, applying->succeeded, applying->ask->deny_limit, &applying->denied);
    return OUTCOME_FAILED;
}

static int refuse_result(struct nfs_applying *applying, const struct record *record,
                         const struct attributes *now)
{
    size_t index = (size_t)(record - applying->records);
    if (apply_put_misread(applying->result, index, now->mode, now->gid) < 0)
        applying->error = -ENOMEM;
    return OUTCOME_FAILED;
}

bool needs_attributes(const struct nfs_applying *applying, const struct record *record)
{
    switch (applying->ask->verb) {
    case VERB_FORWARD:
        return !applying->succeeded || record->change.flags & FLAG_SETID;
    case VERB_BACK: /* the bits come after */
        return record->change.mode & SET_ID && !record->is_bare;
    default:
        return true;
    }
}

/* ---- what a record says (setattr.c) */

static bool is_now(const struct attributes *found, uint32_t mode, uint32_t gid)
{
    return found->mode == mode && found->gid == gid;
}

static bool is_untouched(const struct attributes *found, const struct change *change)
{
    return change_is_untouched(change, found->size, found->mtime);
}

static enum change_state state_of(const struct nfs_applying *applying, const struct record *record)
{
    return change_state(applying->ask->verb, &record->change, applying->new_gid, record->found.mode,
                        record->found.gid);
}

static void stamp(struct nfs_applying *applying, const struct record *record)
{
    size_t index = (size_t)(record - applying->records);
    if (apply_put_stamp(applying->result, index, time_of(record->found.ctime)) < 0)
        applying->error = -ENOMEM;
}

static int set(struct nfs_applying *applying, struct record *record, struct setattr set)
{
    set.guarded = record->tries < MOST_GUARDED;
    set.guard = record->found.guard;
    record->set = set;
    return ask_set(applying, record);
}

/* ---- FORWARD */

static int set_new(struct nfs_applying *applying, struct record *record)
{
    const struct change *change = &record->change;
    return set(applying, record,
               (struct setattr){
                   .sets_mode = change_sets_mode(change),
                   .mode = change->new_mode,
                   .sets_gid = change->gid != applying->new_gid,
                   .gid = applying->new_gid,
               });
}

int act_held(struct nfs_applying *applying, struct record *record)
{
    return set_new(applying, record);
}

/* It was changed: look what came of it, and when a set-id file lost its bits. */
static int made(struct nfs_applying *applying, struct record *record)
{
    const struct attributes *now = &record->found;
    bool is_first = !applying->succeeded;
    if (!is_now(now, record->change.new_mode, applying->new_gid)) {
        applying->ended |= is_first;
        return refuse_result(applying, record, now);
    }
    if (is_first)
        applying->result->first_ctime = time_of(now->ctime);
    if (record->change.flags & FLAG_SETID)
        stamp(applying, record);
    return OUTCOME_CHANGED;
}

static int forward(struct nfs_applying *applying, struct record *record)
{
    switch (state_of(applying, record)) {
    case STATE_OLD:
        return set_new(applying, record);
    case STATE_NEW:
        return record->is_again ? made(applying, record) : OUTCOME_DIFFERENT;
    default:
        return OUTCOME_DIFFERENT;
    }
}

/* ---- SETTLE and CHECK */

static int settled(struct nfs_applying *applying, struct record *record)
{
    apply_note_ctime(applying->result, time_of(record->found.ctime));
    if (record->change.flags & FLAG_SETID && is_untouched(&record->found, &record->change))
        stamp(applying, record);
    return OUTCOME_CHANGED;
}

static int settle(struct nfs_applying *applying, struct record *record)
{
    switch (state_of(applying, record)) {
    case STATE_NEW:
        return settled(applying, record);
    case STATE_OLD:
        return OUTCOME_UNCHANGED;
    case STATE_BETWEEN:
        return set(applying, record,
                   (struct setattr){.sets_mode = true, .mode = record->change.new_mode});
    default:
        return OUTCOME_DIFFERENT;
    }
}

static int check(struct nfs_applying *applying, struct record *record)
{
    if (record->change.flags & FLAG_SETID && is_untouched(&record->found, &record->change))
        stamp(applying, record);
    return OUTCOME_UNCHANGED;
}

/* ---- BACK: servers take set-id bits away when group and mode come together, so they come after */

static int given(const struct record *record)
{
    return record->gives_off ? OUTCOME_SETID_OFF : OUTCOME_CHANGED;
}

static int give_back(struct nfs_applying *applying, struct record *record)
{
    const struct change *change = &record->change;
    uint32_t lost = change_lost_bits(change);
    if (lost && change->flags & FLAG_GRANTED && is_untouched(&record->found, change))
        lost = 0;
    record->gives_off = lost != 0;
    uint32_t mode = change->mode & ~lost;
    if (mode == record->found.mode)
        return given(record);
    return set(applying, record, (struct setattr){.sets_mode = true, .mode = mode});
}

static int back(struct nfs_applying *applying, struct record *record)
{
    const struct change *change = &record->change;
    const struct attributes *found = &record->found;
    uint32_t bare = mode_without_set_id(change->mode);
    switch (state_of(applying, record)) {
    case STATE_OLD:
        return record->is_again || record->is_bare ? OUTCOME_CHANGED : OUTCOME_UNCHANGED;
    case STATE_BARE:
        record->is_bare = true;
        return give_back(applying, record);
    case STATE_FOREIGN:
        return OUTCOME_DIFFERENT;
    default:
        break;
    }
    return set(applying, record,
               (struct setattr){
                   .sets_mode = found->mode != bare,
                   .mode = bare,
                   .sets_gid = found->gid != change->gid,
                   .gid = change->gid,
               });
}

/* A part of putting back is done. */
static int put_back(struct nfs_applying *applying, struct record *record)
{
    if (record->is_bare)
        return given(record);
    if (!is_now(&record->found, mode_without_set_id(record->change.mode), record->change.gid))
        return refuse_result(applying, record, &record->found);
    record->is_bare = true;
    return give_back(applying, record);
}

/* ---- all of them */

int act(struct nfs_applying *applying, struct record *record)
{
    if (!change_is_for(&record->change, record->found.fileid, record->found.mode,
                       record->found.uid))
        return OUTCOME_DIFFERENT;
    switch (applying->ask->verb) {
    case VERB_FORWARD:
        return forward(applying, record);
    case VERB_SETTLE:
        return settle(applying, record);
    case VERB_CHECK:
        return check(applying, record);
    default:
        return back(applying, record);
    }
}

static int after_set(struct nfs_applying *applying, struct record *record)
{
    switch (applying->ask->verb) {
    case VERB_FORWARD:
        return made(applying, record);
    case VERB_SETTLE:
        return settled(applying, record);
    default:
        return put_back(applying, record);
    }
}

/*
 * Say whether the guard let a change through that it should not have: servers that compare whole seconds
 * (Linux before 6.9) do. One of the content alone, which sets mtime too, does no harm.
 */
static bool was_raced(const struct record *record, const struct attributes *after)
{
    return record->set.guarded && !record->is_again && after->tells_before &&
           after->ctime_before != record->set.guard && after->mtime_before == record->found.mtime;
}

int was_set(struct nfs_applying *applying, struct record *record, int error,
            const struct attributes *after)
{
    if (error == -EAGAIN && record->set.guarded) {
        /*
         * The guard: something happened to the entry since it was looked at. If only its content changed
         * (a machine at work), or if it was our own call, which was sent again, its attributes say so.
         *
         *     we       SETATTR ..(connection lost)..  SETATTR again -> NOT_SYNC, GETATTR: as we want it
         *     server        done, reply lost
         */
        record->tries++;
        return ask_look(applying, record, AWAITS_LOOK);
    }
    if (error == -ESTALE && !record->is_stale)
        return find_again(applying, record);
    if (error == -ENOENT)
        return OUTCOME_GONE;
    if (error < 0)
        return refuse(applying, record, "setattr", error, "");
    if (was_raced(record, after))
        tell(applying, record, "raced", 0, "");
    if (!after->known) {
        if (needs_attributes(applying, record))
            return ask_look(applying, record, AWAITS_BACK);
        return record->is_bare ? given(record) : OUTCOME_CHANGED;
    }
    record->found = *after;
    return after_set(applying, record);
}
