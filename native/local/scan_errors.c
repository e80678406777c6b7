/*
 * What a walk could not look at. It is counted as vanished if it is gone, put into `again` if the
 * error is transient, and is a failure otherwise.
 */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>

bool walk_is_no_directory(int error)
{
    return error == -ENOTDIR || error == -ELOOP;
}

static bool is_retried(const struct walk *walk, int error)
{
    return error_is_transient(error) && !walk->request->last_try;
}

/* The entry at the path that was built last fails. */
static int fail(struct walk *walk, const char *operation, int error)
{
    return scan_put_failure(walk->found, &walk->path, operation, error);
}

int walk_fail_group(struct walk *walk, const struct group_reader *group, int error)
{
    if (error == -ENOENT || walk_is_no_directory(error)) {
        walk->found->tally.vanished += (int64_t)group->count;
        return 0;
    }
    return scan_put_lost_group(walk->found, group, error, is_retried(walk, error),
                               walk->is_counting, &walk->path);
}

int walk_fail_entry(struct walk *walk, struct walk_entry entry, enum hint hint, int error)
{
    if (error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    if (!is_retried(walk, error)) {
        int result = walk_build_path(walk, entry);
        return result < 0 ? result : fail(walk, hint_operation(hint), error);
    }
    const struct dirchain *chain = &walk->chain;
    return group_put_one(&walk->found->again[true], &chain->path,
                         chain->levels[chain->depth - 1].inode, hint, entry.name, entry.length);
}

int walk_fail_directory(struct walk *walk, struct walk_entry directory, int error, bool retries)
{
    if (error == -ENOENT) {
        walk->found->tally.vanished++;
        return 0;
    }
    int result = walk_build_path(walk, directory);
    if (result < 0)
        return result;
    if (!retries || !is_retried(walk, error))
        return fail(walk, "readdir", error);
    return group_put_one(&walk->found->again[true], &walk->path, 0, HINT_WALK, "", 0);
}
