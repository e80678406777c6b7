#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>

bool is_no_directory(int error)
{
    return error == -ENOTDIR || error == -ELOOP;
}

/* Say whether what went wrong may pass, so that it is worth another look. */
static bool passes(const struct walk *walk, int error)
{
    return error_is_transient(error) && !walk->ask->last_try;
}

static int fail(struct walk *walk, const char *operation, int error)
{
    return scan_put_failure(walk->found, &walk->path, operation, error);
}

int lost_group(struct walk *walk, const struct group_reader *group, int error)
{
    if (error == -ENOENT || is_no_directory(error)) {
        walk->found->tally.vanished += (int64_t)group->count;
        return 0;
    }
    return scan_lose_group(walk->found, group, error, passes(walk, error), walk->counting,
                           &walk->path);
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
    const struct levels *levels = &walk->levels;
    return group_put_one(&walk->found->again[true], &levels->path,
                         levels->chain[levels->depth - 1].inode, hint, entry.name, entry.length);
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
    return group_put_one(&walk->found->again[true], &walk->path, 0, HINT_WALK, "", 0);
}
