/*
 * Apply, frame by frame (apply.h). A change's outcome is decided as soon as its frame is read.
 *
 *     struct applying   one call of apply
 *     struct pinned     an entry that is pinned, as it was found, and its change
 *     apply_verb        what a verb does with a pinned entry; returns an outcome, or -ENOMEM
 */

#define _GNU_SOURCE
#include "local/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/attrs.h"
#include "core/changes.h"
#include "local/dirchain.h"

struct applying {
    const struct local_apply_request *request;
    struct apply_result *result;
    struct dirchain chain;
    size_t entered; /* directories so far */
    struct ids ids; /* that entries get */
    struct status root;
    bool is_bounded; /* entries on other mounts than the root are not changed */
    bool has_links;  /* directories have link counts here: 0 means removed */
    enum identity_kind identity_kind;
    int64_t denied;
    bool succeeded;
    bool ended;
    /* In a directory that cannot be entered: how deep, and the outcome of all changes in it. */
    size_t lost_depth;
    enum outcome lost;
    int lost_error; /* with OUTCOME_FAILED */
};

struct pinned {
    int fd;
    bool is_pin; /* O_PATH; else a directory that is open for reading */
    struct status found;
    const struct change *change;
};

typedef int apply_verb(struct applying *applying, struct pinned *pinned);

/* ---- refusals */

/* Put the failure of an operation on the current entry; its outcome is OUTCOME_FAILED. */
static int put_refusal(struct applying *applying, const char *operation, int error,
                       const char *note)
{
    int result =
        apply_put_failure(applying->result, applying->result->count, operation, error, note);
    if (result < 0)
        return result;
    const struct local_apply_request *request = applying->request;
    applying->ended |=
        refusal_ends(error, note, applying->succeeded, request->deny_limit, &applying->denied);
    return OUTCOME_FAILED;
}

static int put_refused_change(struct applying *applying, const char *operation, int error, int fd)
{
    const struct local_apply_request *request = applying->request;
    const char *note = "";
    if (error == -EPERM)
        note = sys_protection(fd, &request->features);
    else if (error == -EROFS && !sys_is_read_only(request->root))
        note = READ_ONLY_PART;
    return put_refusal(applying, operation, error, note);
}

static bool is_gone(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -ELOOP;
}

/* ---- what a change allows */

static struct attrs attrs_of(const struct applying *applying, const struct pinned *pinned)
{
    const struct status *found = &pinned->found;
    return attrs_compared(applying->ids, (struct attrs){found->mode, found->uid, found->gid});
}

static enum change_state state_of(const struct applying *applying, const struct pinned *pinned)
{
    struct attrs came;
    bool has_come = known_came(&applying->request->known, applying->result->count, &came);
    return change_state(applying->request->verb, pinned->change, applying->ids,
                        attrs_of(applying, pinned), has_come ? &came : NULL);
}

/* Say whether nobody wrote to the file since the pre-image was taken. */
static bool is_untouched(const struct applying *applying, const struct pinned *pinned)
{
    const struct status *found = &pinned->found;
    return change_is_untouched(pinned->change, applying->ids, found->size, found->mtime);
}

static int put_stamp(struct applying *applying, const struct status *found)
{
    return apply_put_stamp(applying->result, applying->result->count, found->ctime);
}

/* Stamp a file that lost set-id bits, if nobody wrote to it. */
static int stamp_untouched(struct applying *applying, const struct pinned *pinned)
{
    if (!(pinned->change->flags & FLAG_SETID) || !is_untouched(applying, pinned))
        return 0;
    return put_stamp(applying, &pinned->found);
}

static uint64_t identity_of(enum identity_kind kind, const struct pinned *pinned)
{
    switch (kind) {
    case IDENTITY_BIRTH:
        return (uint64_t)pinned->found.born;
    case IDENTITY_HANDLE:
        return sys_handle_identity(pinned->fd);
    default:
        return 0;
    }
}

static void note_identity(struct applying *applying, const struct pinned *pinned)
{
    apply_set_identity(applying->result, applying->result->count,
                       identity_of(applying->identity_kind, pinned));
}

/* ---- calls: 0, or else OUTCOME_FAILED or -ENOMEM */

static int look_again(struct applying *applying, struct pinned *pinned)
{
    int error = sys_status(pinned->fd, &applying->request->features, &pinned->found);
    return error < 0 ? put_refusal(applying, "stat", error, "") : 0;
}

static int set_mode(struct applying *applying, const struct pinned *pinned, uint32_t mode)
{
    const struct features *features = &applying->request->features;
    int error = sys_change_mode(pinned->fd, pinned->is_pin, mode, features);
    return error < 0 ? put_refused_change(applying, "chmod", error, pinned->fd) : 0;
}

/* Set owner and group, if they are others, by one call. */
static int set_ids(struct applying *applying, const struct pinned *pinned, struct attrs wanted)
{
    struct ids set = ids_to_set(attrs_of(applying, pinned), wanted);
    if (set.uid == NO_ID && set.gid == NO_ID)
        return 0;
    int error = sys_change_ids(pinned->fd, pinned->is_pin, set.uid, set.gid);
    return error < 0 ? put_refused_change(applying, "chown", error, pinned->fd) : 0;
}

/* Look what came of a change to `wanted`: OUTCOME_CHANGED, OUTCOME_FAILED or -ENOMEM. */
static int read_back(struct applying *applying, struct pinned *pinned, struct attrs wanted)
{
    struct attrs before = attrs_of(applying, pinned);
    int result = look_again(applying, pinned);
    if (result)
        return result;
    return apply_read_back(applying->result, applying->result->count, before, wanted,
                           attrs_of(applying, pinned));
}

/* ---- the verbs */

static int make_change(struct applying *applying, struct pinned *pinned)
{
    const struct change *change = pinned->change;
    const struct attrs wanted = change_new(change, applying->ids);
    if (state_of(applying, pinned) != STATE_OLD)
        return OUTCOME_DIFFERENT;
    int result = set_ids(applying, pinned, wanted);
    if (result)
        return result;
    if (change_sets_mode(change))
        result = set_mode(applying, pinned, change->new_mode);
    if (!result)
        result = read_back(applying, pinned, wanted);
    else if (sys_status(pinned->fd, &applying->request->features, &pinned->found) < 0)
        return result; /* half done, and not known what it is by now */
    note_identity(applying, pinned);
    applying->ended |= applying->result->is_mismatch;
    if (result != OUTCOME_CHANGED)
        return result;
    if (applying->result->first_ctime == 0)
        applying->result->first_ctime = pinned->found.ctime;
    if (change->flags & FLAG_SETID)
        result = put_stamp(applying, &pinned->found);
    return result < 0 ? result : OUTCOME_CHANGED;
}

static int settle_change(struct applying *applying, struct pinned *pinned)
{
    const struct attrs wanted = change_new(pinned->change, applying->ids);
    enum change_state state = state_of(applying, pinned);
    if (state == STATE_OLD)
        return OUTCOME_UNCHANGED;
    if (state == STATE_FOREIGN)
        return OUTCOME_DIFFERENT;
    note_identity(applying, pinned);
    int result = 0;
    if (state == STATE_BETWEEN) {
        result = set_mode(applying, pinned, wanted.mode);
        if (!result)
            result = read_back(applying, pinned, wanted);
        if (result != OUTCOME_CHANGED)
            return result;
    }
    apply_note_ctime(applying->result, pinned->found.ctime);
    result = stamp_untouched(applying, pinned);
    return result < 0 ? result : OUTCOME_CHANGED;
}

/*
 * Put mode, owner and group back: first without any set-id bits, then with those that come back.
 * OUTCOME_CHANGED, OUTCOME_FAILED or -ENOMEM.
 */
static int set_old(struct applying *applying, struct pinned *pinned)
{
    const struct change *change = pinned->change;
    uint32_t bare = mode_without_set_id(change->mode), restored = change_restored_mode(change);
    struct attrs wanted = change_old(change, applying->ids);
    wanted.mode = restored;
    if (state_of(applying, pinned) == STATE_BARE && pinned->found.mode == restored)
        return OUTCOME_CHANGED;
    int result = 0;
    if (pinned->found.mode != bare)
        result = set_mode(applying, pinned, bare);
    if (!result)
        result = set_ids(applying, pinned, wanted);
    if (!result && restored != bare)
        result = set_mode(applying, pinned, restored);
    if (!result)
        result = read_back(applying, pinned, wanted);
    applying->ended |= applying->result->is_mismatch;
    return result;
}

static int put_back(struct applying *applying, struct pinned *pinned)
{
    enum change_state state = state_of(applying, pinned);
    if (state == STATE_OLD)
        return OUTCOME_UNCHANGED;
    if (state == STATE_FOREIGN)
        return OUTCOME_DIFFERENT;
    int result = set_old(applying, pinned);
    if (result != OUTCOME_CHANGED)
        return result;
    return change_lost_bits(pinned->change) ? OUTCOME_SETID_OFF : OUTCOME_CHANGED;
}

static apply_verb *const VERBS[] = {
    [VERB_FORWARD] = make_change,
    [VERB_SETTLE] = settle_change,
    [VERB_BACK] = put_back,
};

/* ---- frames */

/* Take the descriptor of the next directory, if scan left it open; else -1. */
static int take_open_dir(struct applying *applying)
{
    const struct local_apply_request *request = applying->request;
    size_t number = applying->entered++;
    if (number >= request->open_dirs_count)
        return -1;
    int fd = request->open_dirs[number];
    request->open_dirs[number] = -1;
    return fd;
}

static int enter_directory(struct applying *applying, const struct frame *frame)
{
    struct dirchain *chain = &applying->chain;
    int fd = take_open_dir(applying);
    if (applying->lost_depth || applying->ended) {
        applying->lost_depth++;
        if (fd >= 0)
            close(fd);
        return 0;
    }
    if (fd >= 0 && !applying->has_links) { /* whether it was removed is told by its path only */
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        return dirchain_push(chain, frame->name, frame->length, frame->inode, fd, false);
    int above = dirchain_fd(chain);
    fd = above < 0 ? above
                   : sys_open_beneath(above, (const char *)frame->name, frame->length,
                                      PIN_DIRECTORY, &applying->request->features);
    struct stat found;
    int error = fd < 0 ? fd : sys_pinned_status(fd, &found);
    if (error >= 0 && found.st_ino == frame->inode)
        return dirchain_push(chain, frame->name, frame->length, frame->inode, fd, true);
    if (fd >= 0)
        close(fd);
    applying->lost_depth = 1;
    applying->lost = error >= 0       ? OUTCOME_DIFFERENT
                     : is_gone(error) ? OUTCOME_GONE
                                      : OUTCOME_FAILED;
    applying->lost_error = error;
    return 0;
}

static void leave_directory(struct applying *applying)
{
    if (applying->lost_depth)
        applying->lost_depth--;
    else
        dirchain_pop(&applying->chain);
}

/* Pin an entry of the deepest directory, or (no name) that directory itself. */
static int pin_entry(struct applying *applying, const struct frame *frame)
{
    int directory = dirchain_fd(&applying->chain);
    if (directory < 0 || frame->length == 0)
        return directory;
    char name[NAME_MAX + 1];
    memcpy(name, frame->name, frame->length);
    name[frame->length] = '\0';
    return sys_open_entry(directory, name, PIN);
}

/* Say whether the pinned entry has the inode number of the change's entry, and is another one. */
static bool has_other_identity(const struct applying *applying, const struct pinned *pinned)
{
    const struct known *known = &applying->request->known;
    if (known->kind != IDENTITY_BIRTH && known->kind != IDENTITY_HANDLE)
        return known->born_before && pinned->found.born >= known->born_before;
    uint64_t then = known_identity(known, applying->result->count);
    uint64_t now = then ? identity_of(known->kind, pinned) : 0;
    return now && now != then;
}

/* Say whether the pinned entry is not the one that the change is for. */
static bool is_another_entry(const struct applying *applying, const struct pinned *pinned)
{
    const struct status *found = &pinned->found;
    const struct attrs attrs = {found->mode, found->uid, found->gid};
    return !change_is_for(pinned->change, applying->ids, found->inode, attrs) ||
           (applying->is_bounded && found->has_mount && found->mount != applying->root.mount) ||
           has_other_identity(applying, pinned);
}

static int pin_and_change(struct applying *applying, const struct frame *frame)
{
    struct pinned pinned = {.fd = pin_entry(applying, frame), .change = &frame->change};
    pinned.is_pin = frame->length > 0 || dirchain_is_pin(&applying->chain);
    if (is_gone(pinned.fd))
        return OUTCOME_GONE;
    if (pinned.fd < 0)
        return put_refusal(applying, "open", pinned.fd, "");
    int outcome;
    int error = sys_status(pinned.fd, &applying->request->features, &pinned.found);
    if (error < 0)
        outcome = put_refusal(applying, "stat", error, "");
    else if (!pinned.is_pin && pinned.found.links == 0) /* removed, but scan left it open */
        outcome = OUTCOME_GONE;
    else if (is_another_entry(applying, &pinned))
        outcome = OUTCOME_DIFFERENT;
    else
        outcome = VERBS[applying->request->verb](applying, &pinned);
    if (frame->length > 0)
        close(pinned.fd);
    return outcome;
}

/* Apply the change of a frame and add its outcome. */
static int apply_change(struct applying *applying, const struct frame *frame)
{
    struct apply_result *result = applying->result;
    int outcome;
    if (frame->change.flags & FLAG_DROPPED)
        outcome = OUTCOME_DROPPED;
    else if (applying->ended)
        outcome = OUTCOME_UNTRIED;
    else if (applying->lost_depth && applying->lost == OUTCOME_FAILED)
        outcome = put_refusal(applying, "open", applying->lost_error, "");
    else if (applying->lost_depth)
        outcome = (int)applying->lost;
    else
        outcome = pin_and_change(applying, frame);
    if (outcome < 0)
        return outcome;
    result->outcomes[result->count++] = (uint8_t)outcome;
    if (outcome_is_success(outcome))
        applying->succeeded = true;
    return 0;
}

static int apply_frames(struct applying *applying, size_t at)
{
    const struct local_apply_request *request = applying->request;
    while (at < request->length) {
        struct frame frame;
        int result = frame_read(request->changes, request->length, &at, &frame);
        applying->ended |= *request->stop != 0;
        if (result == 0 && frame.kind == KIND_ENTER)
            result = enter_directory(applying, &frame);
        else if (result == 0 && frame.kind != KIND_LEAVE)
            result = apply_change(applying, &frame);
        if (result < 0)
            return result;
        if (frame.kind == KIND_LEAVE || frame.kind == KIND_OWN)
            leave_directory(applying);
    }
    return 0;
}

/* Return what can tell the inodes of a filesystem apart; `root` is on it. */
static enum identity_kind identity_kind_of(int root, const struct status *status)
{
    if (status->born)
        return IDENTITY_BIRTH;
    bool has_handles = sys_has_stable_handles(root) && sys_handle_identity(root);
    return has_handles ? IDENTITY_HANDLE : IDENTITY_NONE;
}

int local_apply(const struct local_apply_request *request, struct apply_result *result)
{
    struct applying applying = {.request = request, .result = result};
    struct status *root = &applying.root;
    size_t first, count;
    int status = changes_check(request->changes, request->length, &applying.ids, &first, &count);
    if (status < 0)
        return status;
    if (sys_status(request->root, &request->features, root) < 0)
        *root = (struct status){0};       /* the entries will tell */
    applying.has_links = root->links > 0; /* some filesystems tell 0 of all, also of the root */
    applying.is_bounded =
        request->verb == VERB_FORWARD && changes_are_bounded(request->changes) && root->has_mount;
    if (request->verb == VERB_FORWARD || request->verb == VERB_SETTLE)
        applying.identity_kind = result->identity_kind = identity_kind_of(request->root, root);
    status =
        dirchain_init(&applying.chain, request->root, request->descriptors, &request->features);
    if (status == 0)
        status = apply_result_reserve(result, count);
    if (status == 0)
        status = apply_frames(&applying, first);
    dirchain_free(&applying.chain);
    return status;
}
