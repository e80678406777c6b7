#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>

static bool is_transient(int error)
{
    switch (error) {
    case -EIO:
    case -ETIMEDOUT:
    case -ENOSPC:
    case -EDQUOT:
    case -ESTALE:
        return true;
    default:
        return false;
    }
}

bool is_no_directory(int error)
{
    return error == -ENOTDIR || error == -ELOOP;
}

/* Say whether what went wrong may pass, so that it is worth another look. */
static bool passes(const struct walk *walk, int error)
{
    return is_transient(error) && !walk->ask->last_try;
}

static int fail(struct walk *walk, const char *operation, int error)
{
    struct scan_failure failure = {.operation = operation, .error = -error};
    int result = put_text(walk, &failure.path);
    walk->found->tally.failed++;
    return result < 0 ? result : buffer_put(&walk->found->failures, &failure, sizeof(failure));
}

/* Each name of a group fails, and is counted if it was not yet: in no later look is it found again. */
static int fail_names(struct walk *walk, const struct group_reader *group, int error)
{
    struct tally *tally = &walk->found->tally;
    struct name name;
    const uint8_t *at = group->names, *end = at + group->names_length;
    int result = 0;
    while (result == 0 && group_next_name(&at, end, &name)) {
        result = group_name_path(group, &name, &walk->path);
        if (name.hint == HINT_ENTRY || name.hint == HINT_DIRECTORY)
            count(walk, name.hint == HINT_ENTRY ? &tally->files : &tally->directories,
                  walk->counting);
        if (result == 0)
            result = fail(walk, hint_operation(name.hint), error);
    }
    return result;
}

int lost_group(struct walk *walk, const struct group_reader *group, int error)
{
    if (error == -ENOENT || is_no_directory(error)) {
        walk->found->tally.vanished += (int64_t)group->count;
        return 0;
    }
    if (group->walks)
        count(walk, &walk->found->tally.directories, walk->counting);
    if (!passes(walk, error))
        return fail_names(walk, group, error);
    struct group_writer *again = &walk->found->again[group->walks || !walk->counting];
    int result = group_begin(again, group->path.bytes, group->path.length, 0, group->inode);
    if (result == 0)
        result = group_names(again, group->names, group->names_length, group->count);
    if (result == 0)
        group_end(again);
    return result;
}

int lost_entry(struct walk *walk, struct entry entry, enum hint hint, int error)
{
    if (error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    if (!passes(walk, error)) {
        int result = build_path(walk, entry);
        return result < 0 ? result : fail(walk, hint_operation(hint), error);
    }
    struct group_writer *again = &walk->found->again[true];
    const struct levels *levels = &walk->levels;
    int result = group_begin(again, levels->path.bytes, levels->path.length, 0,
                             levels->chain[levels->depth - 1].inode);
    if (result == 0)
        result = group_name(again, hint, entry.name, entry.length);
    if (result == 0)
        group_end(again);
    return result;
}

int lost_directory(struct walk *walk, struct entry directory, int error, bool again)
{
    if (error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    int result = build_path(walk, directory);
    if (result < 0)
        return result;
    if (!again || !passes(walk, error))
        return fail(walk, "readdir", error);
    struct group_writer *groups = &walk->found->again[true];
    result = group_begin(groups, walk->path.bytes, walk->path.length, 0, 0);
    if (result == 0)
        result = group_name(groups, HINT_WALK, "", 0);
    if (result == 0)
        group_end(groups);
    return result;
}
