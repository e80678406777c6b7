/*
 * Moving of objects (move.h).
 *
 *     struct moving   one call: the directory that the last object left stays pinned
 */

#define _GNU_SOURCE
#include "objects/move.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

struct moving {
    const struct objects_move_request *request;
    struct objects_move_result *result;
    struct objects_root roots[ROOTS];
    int source; /* -1: none is pinned */
    enum root source_root;
    uint8_t source_path[UINT8_MAX];
    size_t source_length;
    int64_t refused;
    bool succeeded;
    bool ended;
};

static bool is_refusal(int error)
{
    return error == -EPERM || error == -EACCES || error == -EXDEV;
}

static bool is_absent(int error)
{
    return error == -EINVAL || error == -ENOSYS || error == -EOPNOTSUPP;
}

/* Leave a move to Python, for this error; after too many refusals all that come, too. */
static int leave(struct moving *moving, int error)
{
    int64_t limit = moving->request->deny_limit;
    moving->refused += is_refusal(error);
    if (limit && moving->refused >= limit && !moving->succeeded)
        moving->ended = true;
    return OUTCOME_LEFT;
}

/* Pin the directory that an object leaves: the same one as before, mostly, where it has several. */
static int pin_source(struct moving *moving, enum root root, const uint8_t *path, size_t length)
{
    if (moving->source >= 0 && moving->source_root == root && moving->source_length == length &&
        memcmp(moving->source_path, path, length) == 0)
        return moving->source;
    if (moving->source >= 0)
        close(moving->source);
    moving->source = sys_open_beneath(moving->roots[root].fd, (const char *)path, length,
                                      PIN_DIRECTORY, &moving->request->features);
    moving->source_root = root;
    memcpy(moving->source_path, path, length);
    moving->source_length = length;
    return moving->source;
}

static bool is_object(const struct stat *found, const struct move *move)
{
    return found->st_ino == move->inode && S_ISREG(found->st_mode);
}

/* Check that it was the object that moved; what somebody put in its place goes back. */
static int check_moved(struct moving *moving, const struct move *move, const char *name, int target)
{
    struct stat found;
    int error = sys_entry_status(target, name, &found);
    if (error == -ENOENT)
        return OUTCOME_GONE;
    if (error == 0 && is_object(&found, move)) {
        moving->succeeded = true;
        moving->result->changed[move->root]++;
        return OUTCOME_CHANGED;
    }
    if (error == 0)
        error = sys_rename_exclusive(target, moving->source, name);
    if (error == 0)
        return OUTCOME_DIFFERENT;
    moving->result->error = error;
    moving->ended = true;
    return OUTCOME_FAILED;
}

static int shift(struct moving *moving, const struct move *move)
{
    struct objects_root *root = &moving->roots[move->root];
    bool back = moving->request->back;
    const struct features *features = &moving->request->features;
    char name[NAME_MAX + 1], place[PLACE_LENGTH + 1];
    memcpy(name, move->name, move->name_length);
    name[move->name_length] = '\0';
    move_place_path(move->place, place);
    int source = back ? pin_source(moving, move->root, (const uint8_t *)place, PLACE_LENGTH)
                      : pin_source(moving, move->root, move->directory, move->directory_length);
    struct stat found;
    int error = source < 0 ? source : sys_entry_status(source, name, &found);
    if (error < 0 || !is_object(&found, move))
        return leave(moving, error);
    int target = back ? objects_pin_whole(root, move->directory, move->directory_length, features)
                      : objects_pin_made(root, move->place, features);
    if (target < 0)
        return leave(moving, target);
    int outcome = OUTCOME_LEFT;
    error = sys_rename_exclusive(source, target, name);
    if (error == 0)
        outcome = check_moved(moving, move, name, target);
    else if (is_absent(error))
        root->renames = false;
    else
        leave(moving, error);
    close(target);
    return outcome;
}

static int check_moves(const struct objects_move_request *request, size_t *count)
{
    struct move move;
    int result = 0;
    *count = 0;
    for (size_t at = 0; result == 0 && at < request->length; ++*count)
        result = move_read(request->moves, request->length, &at, &move);
    return result;
}

int objects_move(const struct objects_move_request *request, struct objects_move_result *result)
{
    struct moving moving = {.request = request, .result = result, .source = -1};
    memcpy(moving.roots, request->roots, sizeof(moving.roots));
    size_t count;
    int status = check_moves(request, &count);
    if (status == 0)
        status = buffer_reserve(&result->outcomes, count);
    if (status < 0)
        return status;
    for (size_t at = 0; at < request->length;) {
        struct move move;
        int outcome = OUTCOME_LEFT;
        move_read(request->moves, request->length, &at, &move); /* it was checked */
        moving.ended |= *request->stop != 0;
        if (!moving.ended && move.verb == MOVE_VERB_MOVE && move.root <= ROOT_MAPS &&
            moving.roots[move.root].renames)
            outcome = shift(&moving, &move);
        result->outcomes.bytes[result->outcomes.length++] = (uint8_t)outcome;
    }
    if (moving.source >= 0)
        close(moving.source);
    return 0;
}

void objects_move_result_free(struct objects_move_result *result)
{
    buffer_free(&result->outcomes);
}
