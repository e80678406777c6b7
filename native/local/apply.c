/*
 * What apply does with each frame. Its structures, beside those of setattr.h:
 *
 *     struct applying   one call of apply
 *     struct pinned     an entry that is pinned, as it was found, and its record
 *
 * A verb returns an outcome, or -ENOMEM.
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
    const struct local_apply_request *ask;
    struct apply_result *result;
    struct levels levels;
    size_t entered; /* directories so far */
    uint32_t new_gid;
    int64_t denied;
    bool succeeded;
    bool ended;
    /* Below a directory that cannot be entered: how deep, and what that means for what is in it. */
    size_t lost_depth;
    enum outcome lost;
    int lost_error; /* with OUTCOME_FAILED */
};

struct pinned {
    int fd;
    bool is_pin; /* O_PATH; else a directory that is open for reading */
    struct stat found;
    const struct change *record;
};

typedef int verb(struct applying *applying, struct pinned *pinned);

/* ---- what goes wrong */

/* Note that an operation on the current entry failed; OUTCOME_FAILED is its outcome. */
static int refuse(struct applying *applying, const char *operation, int error, const char *note)
{
    int result =
        apply_put_failure(applying->result, applying->result->count, operation, error, note);
    if (result < 0)
        return result;
    if (!note[0]) /* else it is this entry that is protected, and others may not be */
        applying->ended |=
            refusal_ends(error, applying->succeeded, applying->ask->deny_limit, &applying->denied);
    return OUTCOME_FAILED;
}

static int refuse_change(struct applying *applying, const char *operation, int error, int fd)
{
    const char *note = error == -EPERM ? sys_protection(fd, &applying->ask->features) : "";
    return refuse(applying, operation, error, note);
}

static bool is_gone(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -ELOOP;
}

/* ---- what a record says */

static enum change_state state_of(const struct applying *applying, const struct pinned *pinned)
{
    return change_state(applying->ask->verb, pinned->record, applying->new_gid,
                        pinned->found.st_mode, pinned->found.st_gid);
}

/* Say whether nobody wrote to the file since its record was made. */
static bool is_untouched(const struct pinned *pinned)
{
    const struct stat *found = &pinned->found;
    return change_is_untouched(pinned->record, (uint64_t)found->st_size,
                               sys_nanoseconds(found->st_mtim));
}

static int stamp(struct applying *applying, const struct stat *found)
{
    return apply_put_stamp(applying->result, applying->result->count,
                           sys_nanoseconds(found->st_ctim));
}

/* ---- the verbs */

/* Look at what the first change made of its entry, and when a set-id file lost its bits. */
static int read_back(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    struct stat now;
    int error = sys_pinned_status(pinned->fd, &now);
    if (error < 0)
        return refuse(applying, "stat", error, "");
    if (!applying->succeeded) {
        if (now.st_mode != record->new_mode || now.st_gid != applying->new_gid) {
            struct apply_result *result = applying->result;
            int status = apply_put_misread(result, result->count, now.st_mode, now.st_gid);
            applying->ended = true;
            return status < 0 ? status : OUTCOME_FAILED;
        }
        applying->result->first_ctime = sys_nanoseconds(now.st_ctim);
    }
    int result = record->flags & FLAG_SETID ? stamp(applying, &now) : 0;
    return result < 0 ? result : OUTCOME_CHANGED;
}

static int forward(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    if (state_of(applying, pinned) != STATE_OLD)
        return OUTCOME_DIFFERENT;
    if (record->gid != applying->new_gid) {
        int error = sys_change_group(pinned->fd, pinned->is_pin, applying->new_gid);
        if (error < 0)
            return refuse_change(applying, "chown", error, pinned->fd);
    }
    if (change_sets_mode(record)) {
        int error =
            sys_change_mode(pinned->fd, pinned->is_pin, record->new_mode, &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
    }
    if (!applying->succeeded || record->flags & FLAG_SETID)
        return read_back(applying, pinned);
    return OUTCOME_CHANGED;
}

static int settle(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    switch (state_of(applying, pinned)) {
    case STATE_NEW:
        break;
    case STATE_OLD:
        return OUTCOME_UNCHANGED;
    case STATE_BETWEEN: {
        int error =
            sys_change_mode(pinned->fd, pinned->is_pin, record->new_mode, &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
        error = sys_pinned_status(pinned->fd, &pinned->found);
        if (error < 0)
            return refuse(applying, "stat", error, "");
        break;
    }
    default:
        return OUTCOME_DIFFERENT;
    }
    apply_note_ctime(applying->result, sys_nanoseconds(pinned->found.st_ctim));
    int stamped = 0;
    if (record->flags & FLAG_SETID && is_untouched(pinned))
        stamped = stamp(applying, &pinned->found);
    return stamped < 0 ? stamped : OUTCOME_CHANGED;
}

/* Stamp the set-id files to which nobody wrote, by size and mtime. */
static int check(struct applying *applying, struct pinned *pinned)
{
    int stamped = 0;
    if (pinned->record->flags & FLAG_SETID && is_untouched(pinned))
        stamped = stamp(applying, &pinned->found);
    return stamped < 0 ? stamped : OUTCOME_UNCHANGED;
}

/* Give back the bits that a change took, if that is safe. */
static int give_back(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    uint32_t lost = change_lost_bits(record);
    if (lost && record->flags & FLAG_GRANTED) {
        int error = sys_pinned_status(pinned->fd, &pinned->found);
        if (error < 0)
            return refuse(applying, "stat", error, "");
        if (is_untouched(pinned))
            lost = 0;
    }
    if ((record->mode & ~lost) != mode_without_set_id(record->mode)) {
        int error = sys_change_mode(pinned->fd, pinned->is_pin, record->mode & ~lost,
                                    &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
    }
    return lost ? OUTCOME_SETID_OFF : OUTCOME_CHANGED;
}

static int back(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    const struct stat *found = &pinned->found;
    uint32_t bare = mode_without_set_id(record->mode);
    switch (state_of(applying, pinned)) {
    case STATE_OLD:
        return OUTCOME_UNCHANGED;
    case STATE_FOREIGN:
        return OUTCOME_DIFFERENT;
    default:
        break;
    }
    if (found->st_mode != bare) {
        int error = sys_change_mode(pinned->fd, pinned->is_pin, bare, &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
    }
    if (found->st_gid != record->gid) {
        int error = sys_change_group(pinned->fd, pinned->is_pin, record->gid);
        if (error < 0)
            return refuse_change(applying, "chown", error, pinned->fd);
    }
    return give_back(applying, pinned);
}

static verb *const VERBS[] = {
    [VERB_FORWARD] = forward,
    [VERB_SETTLE] = settle,
    [VERB_CHECK] = check,
    [VERB_BACK] = back,
};

/* ---- frames */

/* Take the descriptor of the next directory, if scan kept it open; else -1. */
static int take_held(struct applying *applying)
{
    const struct local_apply_request *ask = applying->ask;
    size_t number = applying->entered++;
    if (number >= ask->open_dirs_count)
        return -1;
    int fd = ask->open_dirs[number];
    ask->open_dirs[number] = -1;
    return fd;
}

static int enter(struct applying *applying, const struct frame *frame)
{
    int held = take_held(applying);
    if (applying->lost_depth || applying->ended) {
        applying->lost_depth++;
        if (held >= 0)
            close(held);
        return 0;
    }
    if (held >= 0)
        return levels_push(&applying->levels, frame->name, frame->length, frame->inode, held,
                           false);
    int directory = levels_fd(&applying->levels);
    int fd = directory;
    if (directory >= 0)
        fd = sys_open_beneath(directory, (const char *)frame->name, frame->length, PIN_DIRECTORY,
                              &applying->ask->features);
    struct stat found;
    int error = fd < 0 ? fd : sys_pinned_status(fd, &found);
    if (error >= 0 && found.st_ino == frame->inode)
        return levels_push(&applying->levels, frame->name, frame->length, frame->inode, fd, true);
    if (fd >= 0)
        close(fd);
    applying->lost_depth = 1;
    applying->lost = error >= 0       ? OUTCOME_DIFFERENT
                     : is_gone(error) ? OUTCOME_GONE
                                      : OUTCOME_FAILED;
    applying->lost_error = error;
    return 0;
}

static void leave(struct applying *applying)
{
    if (applying->lost_depth)
        applying->lost_depth--;
    else
        levels_pop(&applying->levels);
}

/* Pin an entry of the deepest directory, or (no name) that itself. */
static int pin(struct applying *applying, const struct frame *frame)
{
    int directory = levels_fd(&applying->levels);
    if (directory < 0 || frame->length == 0)
        return directory;
    char name[NAME_MAX + 1];
    memcpy(name, frame->name, frame->length);
    name[frame->length] = '\0';
    return sys_open_entry(directory, name, PIN);
}

/* Say whether what is pinned is another entry than that of the record. */
static bool is_other(const struct applying *applying, const struct pinned *pinned)
{
    const struct stat *found = &pinned->found;
    const struct change *record = pinned->record;
    int64_t born_before = applying->ask->born_before;
    return !change_is_for(record, found->st_ino, found->st_mode, found->st_uid) ||
           (born_before && sys_birth_time(pinned->fd, &applying->ask->features) >= born_before);
}

static int pin_and_act(struct applying *applying, const struct frame *frame)
{
    struct pinned pinned = {.fd = pin(applying, frame), .record = &frame->change};
    pinned.is_pin = frame->length > 0 || levels_is_pin(&applying->levels);
    if (is_gone(pinned.fd))
        return OUTCOME_GONE;
    if (pinned.fd < 0)
        return refuse(applying, "open", pinned.fd, "");
    int outcome;
    int error = sys_pinned_status(pinned.fd, &pinned.found);
    if (error < 0)
        outcome = refuse(applying, "stat", error, "");
    else if (!pinned.is_pin && pinned.found.st_nlink == 0) /* removed, but scan kept it open */
        outcome = OUTCOME_GONE;
    else if (is_other(applying, &pinned))
        outcome = OUTCOME_DIFFERENT;
    else
        outcome = VERBS[applying->ask->verb](applying, &pinned);
    if (frame->length > 0)
        close(pinned.fd);
    return outcome;
}

/* Deal with one record and add its outcome. */
static int change(struct applying *applying, const struct frame *frame)
{
    struct apply_result *result = applying->result;
    int outcome;
    if (frame->change.flags & FLAG_DROPPED)
        outcome = OUTCOME_DROPPED;
    else if (applying->ended)
        outcome = OUTCOME_UNTRIED;
    else if (applying->lost_depth && applying->lost == OUTCOME_FAILED)
        outcome = refuse(applying, "open", applying->lost_error, "");
    else if (applying->lost_depth)
        outcome = (int)applying->lost;
    else
        outcome = pin_and_act(applying, frame);
    if (outcome < 0)
        return outcome;
    result->outcomes[result->count++] = (uint8_t)outcome;
    if (outcome_is_success(outcome))
        applying->succeeded = true;
    return 0;
}

static int apply_frames(struct applying *applying, size_t at)
{
    const struct local_apply_request *ask = applying->ask;
    while (at < ask->length) {
        struct frame frame;
        int result = frame_read(ask->changes, ask->length, &at, &frame);
        applying->ended |= *ask->stop != 0;
        if (result == 0 && frame.kind == KIND_ENTER)
            result = enter(applying, &frame);
        else if (result == 0 && frame.kind != KIND_LEAVE)
            result = change(applying, &frame);
        if (result < 0)
            return result;
        if (frame.kind == KIND_LEAVE || frame.kind == KIND_OWN)
            leave(applying);
    }
    return 0;
}

int local_apply(const struct local_apply_request *request, struct apply_result *result)
{
    struct applying applying = {.ask = request, .result = result};
    *result = (struct apply_result){0};
    size_t first, count;
    int status =
        changes_check(request->changes, request->length, &applying.new_gid, &first, &count);
    if (status < 0)
        return status;
    status = levels_init(&applying.levels, request->root, request->descriptors, &request->features);
    result->outcomes = malloc(count ? count : 1);
    if (status == 0)
        status = result->outcomes ? apply_frames(&applying, first) : -ENOMEM;
    levels_free(&applying.levels);
    return status;
}
