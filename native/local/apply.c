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
    uint32_t new_gid;
    bool is_bounded; /* entries on other mounts than `mount` are not changed */
    uint64_t mount;
    bool has_links; /* directories have link counts here: 0 means removed */
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
    struct stat found;
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

static enum change_state state_of(const struct applying *applying, const struct pinned *pinned)
{
    return change_state(applying->request->verb, pinned->change, applying->new_gid,
                        pinned->found.st_mode, pinned->found.st_gid);
}

/* Say whether nobody wrote to the file since the pre-image was taken. */
static bool is_untouched(const struct pinned *pinned)
{
    const struct stat *found = &pinned->found;
    return change_is_untouched(pinned->change, (uint64_t)found->st_size,
                               sys_nanoseconds(found->st_mtim));
}

static int put_stamp(struct applying *applying, const struct stat *found)
{
    return apply_put_stamp(applying->result, applying->result->count,
                           sys_nanoseconds(found->st_ctim));
}

/* Stamp a file that lost set-id bits, if nobody wrote to it. */
static int stamp_untouched(struct applying *applying, const struct pinned *pinned)
{
    if (!(pinned->change->flags & FLAG_SETID) || !is_untouched(pinned))
        return 0;
    return put_stamp(applying, &pinned->found);
}

/* ---- calls: 0, or else OUTCOME_FAILED or -ENOMEM */

static int look_again(struct applying *applying, struct pinned *pinned)
{
    int error = sys_pinned_status(pinned->fd, &pinned->found);
    return error < 0 ? put_refusal(applying, "stat", error, "") : 0;
}

static int set_mode(struct applying *applying, const struct pinned *pinned, uint32_t mode)
{
    const struct features *features = &applying->request->features;
    int error = sys_change_mode(pinned->fd, pinned->is_pin, mode, features);
    return error < 0 ? put_refused_change(applying, "chmod", error, pinned->fd) : 0;
}

static int set_group(struct applying *applying, const struct pinned *pinned, uint32_t gid)
{
    int error = sys_change_group(pinned->fd, pinned->is_pin, gid);
    return error < 0 ? put_refused_change(applying, "chown", error, pinned->fd) : 0;
}

/* ---- the verbs */

/* Check what the first change made of its entry; stamp a file that lost set-id bits. */
static int read_back(struct applying *applying, struct pinned *pinned)
{
    const struct change *change = pinned->change;
    const struct stat *now = &pinned->found;
    int result = look_again(applying, pinned);
    if (result)
        return result;
    if (!applying->succeeded) {
        if (now->st_mode != change->new_mode || now->st_gid != applying->new_gid) {
            applying->ended = true;
            result = apply_put_misread(applying->result, applying->result->count, now->st_mode,
                                       now->st_gid);
            return result < 0 ? result : OUTCOME_FAILED;
        }
        applying->result->first_ctime = sys_nanoseconds(now->st_ctim);
    }
    if (change->flags & FLAG_SETID)
        result = put_stamp(applying, now);
    return result < 0 ? result : OUTCOME_CHANGED;
}

static int make_change(struct applying *applying, struct pinned *pinned)
{
    const struct change *change = pinned->change;
    if (state_of(applying, pinned) != STATE_OLD)
        return OUTCOME_DIFFERENT;
    int result = 0;
    if (change->gid != applying->new_gid)
        result = set_group(applying, pinned, applying->new_gid);
    if (!result && change_sets_mode(change))
        result = set_mode(applying, pinned, change->new_mode);
    if (result)
        return result;
    if (!applying->succeeded || change->flags & FLAG_SETID)
        return read_back(applying, pinned);
    return OUTCOME_CHANGED;
}

static int settle_change(struct applying *applying, struct pinned *pinned)
{
    enum change_state state = state_of(applying, pinned);
    if (state == STATE_OLD)
        return OUTCOME_UNCHANGED;
    if (state == STATE_FOREIGN)
        return OUTCOME_DIFFERENT;
    int result = 0;
    if (state == STATE_BETWEEN) {
        result = set_mode(applying, pinned, pinned->change->new_mode);
        if (!result)
            result = look_again(applying, pinned);
        if (result)
            return result;
    }
    apply_note_ctime(applying->result, sys_nanoseconds(pinned->found.st_ctim));
    result = stamp_untouched(applying, pinned);
    return result < 0 ? result : OUTCOME_CHANGED;
}

/* Put mode and group back: first without any set-id bits, then with those that come back. */
static int set_old(struct applying *applying, const struct pinned *pinned)
{
    const struct change *change = pinned->change;
    uint32_t bare = mode_without_set_id(change->mode), restored = change_restored_mode(change);
    if (pinned->found.st_mode == restored && pinned->found.st_gid == change->gid)
        return 0;
    int result = 0;
    if (pinned->found.st_mode != bare)
        result = set_mode(applying, pinned, bare);
    if (!result && pinned->found.st_gid != change->gid)
        result = set_group(applying, pinned, change->gid);
    if (!result && restored != bare)
        result = set_mode(applying, pinned, restored);
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
    if (result)
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

/* Say whether the pinned entry is not the one that the change is for. */
static bool is_another_entry(const struct applying *applying, const struct pinned *pinned)
{
    const struct stat *found = &pinned->found;
    const struct change *change = pinned->change;
    const struct features *features = &applying->request->features;
    int64_t born_before = applying->request->born_before;
    uint64_t mount;
    return !change_is_for(change, found->st_ino, found->st_mode, found->st_uid) ||
           (applying->is_bounded && sys_mount(pinned->fd, "", features, &mount) == 0 &&
            mount != applying->mount) ||
           (born_before && sys_birth_time(pinned->fd, features) >= born_before);
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
    int error = sys_pinned_status(pinned.fd, &pinned.found);
    if (error < 0)
        outcome = put_refusal(applying, "stat", error, "");
    else if (!pinned.is_pin && pinned.found.st_nlink == 0) /* removed, but scan left it open */
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

/* Say whether directories have link counts: some filesystems tell 0 of all, also of the root. */
static bool has_links(int root)
{
    struct stat found;
    return sys_pinned_status(root, &found) == 0 && found.st_nlink > 0;
}

int local_apply(const struct local_apply_request *request, struct apply_result *result)
{
    struct applying applying = {.request = request, .result = result};
    applying.has_links = request->open_dirs_count > 0 && has_links(request->root);
    *result = (struct apply_result){0};
    size_t first, count;
    int status =
        changes_check(request->changes, request->length, &applying.new_gid, &first, &count);
    if (status < 0)
        return status;
    applying.is_bounded = request->verb == VERB_FORWARD && changes_are_bounded(request->changes) &&
                          sys_mount(request->root, "", &request->features, &applying.mount) == 0;
    status =
        dirchain_init(&applying.chain, request->root, request->descriptors, &request->features);
    result->outcomes = malloc(count ? count : 1);
    if (status == 0)
        status = result->outcomes ? apply_frames(&applying, first) : -ENOMEM;
    dirchain_free(&applying.chain);
    return status;
}
