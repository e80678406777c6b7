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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local/dirchain.h"

#define SET_ID (S_ISUID | S_ISGID)

struct applying {
    const struct apply_request *ask;
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
    int lost_error; /* with FAILED */
};

struct pinned {
    int fd;
    bool is_pin; /* O_PATH; else a directory that is open for reading */
    struct stat found;
    const struct change *record;
};

typedef int verb(struct applying *applying, struct pinned *pinned);

/* ---- what goes wrong */

/* Note that an operation on the current entry failed; FAILED is its outcome. */
static int refuse(struct applying *applying, const char *operation, int error, const char *note)
{
    struct apply_failure failure = {
        .index = applying->result->count,
        .operation = operation,
        .error = -error,
    };
    snprintf(failure.note, sizeof(failure.note), "%s", note);
    int result = buffer_put(&applying->result->failures, &failure, sizeof(failure));
    if (result < 0)
        return result;
    if (error == -EROFS)
        applying->ended = true;
    if ((error == -EPERM || error == -EACCES) && !note[0] && !applying->succeeded) {
        applying->denied++;
        if (applying->denied == applying->ask->deny_limit)
            applying->ended = true;
    }
    return FAILED;
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

static uint32_t without_set_id(uint32_t mode)
{
    return mode & ~(uint32_t)SET_ID;
}

static bool is_now(const struct stat *found, uint32_t mode, uint32_t gid)
{
    return found->st_mode == mode && found->st_gid == gid;
}

/* Say whether an entry may have this mode between the calls that change it. */
static bool is_between(uint32_t mode, const struct change *record)
{
    return mode == record->mode || mode == mode_stripped(record->mode) ||
           mode == without_set_id(record->mode);
}

/* Say whether nobody wrote to the file since its record was made. */
static bool is_untouched(const struct stat *found, const struct change *record)
{
    return (uint64_t)found->st_size == record->size &&
           sys_nanoseconds(found->st_mtim) == record->mtime;
}

static int stamp(struct applying *applying, const struct stat *found)
{
    struct apply_stamp stamp = {applying->result->count, sys_nanoseconds(found->st_ctim)};
    return buffer_put(&applying->result->stamps, &stamp, sizeof(stamp));
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
        if (!is_now(&now, record->new_mode, applying->new_gid)) {
            char note[sizeof(((struct apply_failure *)NULL)->note)];
            applying->ended = true;
            snprintf(note, sizeof(note), "mode %04o, group %u", (unsigned)now.st_mode & 07777,
                     (unsigned)now.st_gid);
            return refuse(applying, "read back", 0, note);
        }
        applying->result->first_ctime = sys_nanoseconds(now.st_ctim);
    }
    int result = record->flags & FLAG_SETID ? stamp(applying, &now) : 0;
    return result < 0 ? result : CHANGED;
}

static int forward(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    if (!is_now(&pinned->found, record->mode, record->gid))
        return DIFFERENT;
    if (record->gid != applying->new_gid) {
        int error = sys_change_group(pinned->fd, pinned->is_pin, applying->new_gid);
        if (error < 0)
            return refuse_change(applying, "chown", error, pinned->fd);
    }
    if (record->new_mode != record->mode || record->mode & SET_ID) {
        int error =
            sys_change_mode(pinned->fd, pinned->is_pin, record->new_mode, &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
    }
    if (!applying->succeeded || record->flags & FLAG_SETID)
        return read_back(applying, pinned);
    return CHANGED;
}

static int settle(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    struct stat *found = &pinned->found;
    struct apply_result *result = applying->result;
    if (!is_now(found, record->new_mode, applying->new_gid)) {
        if (is_now(found, record->mode, record->gid))
            return UNCHANGED;
        if (found->st_gid != applying->new_gid || !is_between(found->st_mode, record))
            return DIFFERENT;
        int error =
            sys_change_mode(pinned->fd, pinned->is_pin, record->new_mode, &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
        error = sys_pinned_status(pinned->fd, found);
        if (error < 0)
            return refuse(applying, "stat", error, "");
    }
    int64_t ctime = sys_nanoseconds(found->st_ctim);
    if (result->first_ctime == 0 || ctime < result->first_ctime)
        result->first_ctime = ctime;
    int stamped = 0;
    if (record->flags & FLAG_SETID && is_untouched(found, record))
        stamped = stamp(applying, found);
    return stamped < 0 ? stamped : CHANGED;
}

/* Stamp the set-id files to which nobody wrote, by size and mtime. */
static int check(struct applying *applying, struct pinned *pinned)
{
    int stamped = 0;
    if (pinned->record->flags & FLAG_SETID && is_untouched(&pinned->found, pinned->record))
        stamped = stamp(applying, &pinned->found);
    return stamped < 0 ? stamped : UNCHANGED;
}

/* Give back the bits that a change took, if that is safe. */
static int give_back(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    uint32_t lost = record->mode & ~record->new_mode & SET_ID;
    if (lost && record->flags & FLAG_GRANTED) {
        int error = sys_pinned_status(pinned->fd, &pinned->found);
        if (error < 0)
            return refuse(applying, "stat", error, "");
        if (is_untouched(&pinned->found, record))
            lost = 0;
    }
    if ((record->mode & ~lost) != without_set_id(record->mode)) {
        int error = sys_change_mode(pinned->fd, pinned->is_pin, record->mode & ~lost,
                                    &applying->ask->features);
        if (error < 0)
            return refuse_change(applying, "chmod", error, pinned->fd);
    }
    return lost ? SETID_OFF : CHANGED;
}

static int back(struct applying *applying, struct pinned *pinned)
{
    const struct change *record = pinned->record;
    const struct stat *found = &pinned->found;
    if (is_now(found, record->mode, record->gid))
        return UNCHANGED;
    uint32_t bare = without_set_id(record->mode);
    bool is_ours = found->st_gid == applying->new_gid &&
                   (found->st_mode == record->new_mode || is_between(found->st_mode, record));
    if (!is_ours && !is_now(found, bare, record->gid))
        return DIFFERENT;
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
    const struct apply_request *ask = applying->ask;
    size_t number = applying->entered++;
    if (number >= ask->held_count)
        return -1;
    int fd = ask->held[number];
    ask->held[number] = -1;
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
    applying->lost = error >= 0 ? DIFFERENT : is_gone(error) ? GONE : FAILED;
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
    return found->st_ino != record->inode || (found->st_mode ^ record->mode) & S_IFMT ||
           found->st_uid != record->uid ||
           (born_before && sys_birth_time(pinned->fd, &applying->ask->features) >= born_before);
}

static int pin_and_act(struct applying *applying, const struct frame *frame)
{
    struct pinned pinned = {.fd = pin(applying, frame), .record = &frame->change};
    pinned.is_pin = frame->length > 0 || levels_is_pin(&applying->levels);
    if (is_gone(pinned.fd))
        return GONE;
    if (pinned.fd < 0)
        return refuse(applying, "open", pinned.fd, "");
    int outcome;
    int error = sys_pinned_status(pinned.fd, &pinned.found);
    if (error < 0)
        outcome = refuse(applying, "stat", error, "");
    else if (!pinned.is_pin && pinned.found.st_nlink == 0) /* removed, but scan kept it open */
        outcome = GONE;
    else if (is_other(applying, &pinned))
        outcome = DIFFERENT;
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
        outcome = DROPPED;
    else if (applying->ended)
        outcome = UNTRIED;
    else if (applying->lost_depth && applying->lost == FAILED)
        outcome = refuse(applying, "open", applying->lost_error, "");
    else if (applying->lost_depth)
        outcome = (int)applying->lost;
    else
        outcome = pin_and_act(applying, frame);
    if (outcome < 0)
        return outcome;
    result->outcomes[result->count++] = (uint8_t)outcome;
    if (outcome == CHANGED || outcome == SETID_OFF)
        applying->succeeded = true;
    return 0;
}

static int apply_frames(struct applying *applying, size_t at)
{
    const struct apply_request *ask = applying->ask;
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

int apply(const struct apply_request *request, struct apply_result *result)
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

void apply_result_free(struct apply_result *result)
{
    free(result->outcomes);
    buffer_free(&result->failures);
    buffer_free(&result->stamps);
}
