#define _GNU_SOURCE
#include "nfs/apply.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/system.h"

#define SET_ID (S_ISUID | S_ISGID)
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
    struct apply_failure failure = {
        .index = (size_t)(record - applying->records),
        .operation = operation,
        .error = -error,
    };
    snprintf(failure.note, sizeof(failure.note), "%s", note);
    if (buffer_put(&applying->result->failures, &failure, sizeof(failure)) < 0)
        applying->error = -ENOMEM;
}

int refuse(struct nfs_applying *applying, const struct record *record, const char *operation,
           int error, const char *note)
{
    tell(applying, record, operation, error, note);
    if (error == -EROFS)
        applying->ended = true;
    if ((error == -EPERM || error == -EACCES) && !applying->succeeded) {
        applying->denied++;
        if (applying->denied == applying->ask->deny_limit)
            applying->ended = true;
    }
    return FAILED;
}

static int refuse_result(struct nfs_applying *applying, const struct record *record,
                         const struct attributes *now)
{
    char note[sizeof(((struct apply_failure *)NULL)->note)];
    snprintf(note, sizeof(note), "mode %04o, group %u", (unsigned)now->mode & 07777,
             (unsigned)now->gid);
    return refuse(applying, record, "read back", 0, note);
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

static uint32_t without_set_id(uint32_t mode)
{
    return mode & ~(uint32_t)SET_ID;
}

static bool is_now(const struct attributes *found, uint32_t mode, uint32_t gid)
{
    return found->mode == mode && found->gid == gid;
}

static bool is_between(uint32_t mode, const struct change *change)
{
    return mode == change->mode || mode == mode_stripped(change->mode) ||
           mode == without_set_id(change->mode);
}

static bool is_untouched(const struct attributes *found, const struct change *change)
{
    return found->size == change->size && found->mtime == change->mtime;
}

static bool is_other(const struct record *record)
{
    const struct attributes *found = &record->found;
    return found->fileid != record->change.inode || (found->mode ^ record->change.mode) & S_IFMT ||
           found->uid != record->change.uid;
}

static void stamp(struct nfs_applying *applying, const struct record *record)
{
    struct apply_stamp stamp = {(size_t)(record - applying->records), time_of(record->found.ctime)};
    if (buffer_put(&applying->result->stamps, &stamp, sizeof(stamp)) < 0)
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
                   .sets_mode = change->new_mode != change->mode || change->mode & SET_ID,
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
    return CHANGED;
}

static int forward(struct nfs_applying *applying, struct record *record)
{
    if (is_now(&record->found, record->change.mode, record->change.gid))
        return set_new(applying, record);
    if (record->is_again && is_now(&record->found, record->change.new_mode, applying->new_gid))
        return made(applying, record);
    return DIFFERENT;
}

/* ---- SETTLE and CHECK */

static int settled(struct nfs_applying *applying, struct record *record)
{
    struct apply_result *result = applying->result;
    int64_t ctime = time_of(record->found.ctime);
    if (result->first_ctime == 0 || ctime < result->first_ctime)
        result->first_ctime = ctime;
    if (record->change.flags & FLAG_SETID && is_untouched(&record->found, &record->change))
        stamp(applying, record);
    return CHANGED;
}

static int settle(struct nfs_applying *applying, struct record *record)
{
    const struct change *change = &record->change;
    const struct attributes *found = &record->found;
    if (is_now(found, change->new_mode, applying->new_gid))
        return settled(applying, record);
    if (is_now(found, change->mode, change->gid))
        return UNCHANGED;
    if (found->gid != applying->new_gid || !is_between(found->mode, change))
        return DIFFERENT;
    return set(applying, record, (struct setattr){.sets_mode = true, .mode = change->new_mode});
}

static int check(struct nfs_applying *applying, struct record *record)
{
    if (record->change.flags & FLAG_SETID && is_untouched(&record->found, &record->change))
        stamp(applying, record);
    return UNCHANGED;
}

/* ---- BACK: servers take set-id bits away when group and mode come together, so they come after */

static int given(const struct record *record)
{
    return record->gives_off ? SETID_OFF : CHANGED;
}

static int give_back(struct nfs_applying *applying, struct record *record)
{
    const struct change *change = &record->change;
    uint32_t lost = change->mode & ~change->new_mode & SET_ID;
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
    uint32_t bare = without_set_id(change->mode);
    if (is_now(found, change->mode, change->gid))
        return record->is_again || record->is_bare ? CHANGED : UNCHANGED;
    bool is_ours = found->gid == applying->new_gid &&
                   (found->mode == change->new_mode || is_between(found->mode, change));
    if (is_now(found, bare, change->gid)) {
        record->is_bare = true;
        return give_back(applying, record);
    }
    if (!is_ours)
        return DIFFERENT;
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
    if (!is_now(&record->found, without_set_id(record->change.mode), record->change.gid))
        return refuse_result(applying, record, &record->found);
    record->is_bare = true;
    return give_back(applying, record);
}

/* ---- all of them */

int act(struct nfs_applying *applying, struct record *record)
{
    if (is_other(record))
        return DIFFERENT;
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
        return GONE;
    if (error < 0)
        return refuse(applying, record, "setattr", error, "");
    if (was_raced(record, after))
        tell(applying, record, "raced", 0, "");
    if (!after->known) {
        if (needs_attributes(applying, record))
            return ask_look(applying, record, AWAITS_BACK);
        return record->is_bare ? given(record) : CHANGED;
    }
    record->found = *after;
    return after_set(applying, record);
}
