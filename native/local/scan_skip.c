/*
 * What a walk skips, with a notice of each: directories of excluded names, snapshots, and what is
 * on another filesystem.
 *
 * A border is another mount, judged on directories. The device would not do: files of an overlay
 * have those of its layers, and subvolumes of btrfs, which are no mounts, have their own. It
 * decides only where the kernel does not tell mounts (before Linux 5.8).
 */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <string.h>

#include "core/names.h"

static bool is_on_other_mount(const struct walk *walk, const struct status *one,
                              const struct status *other)
{
    return walk->is_bounded ? one->mount != other->mount : one->device != other->device;
}

static bool has_name_of_snapshot(const struct walk *walk, struct walk_entry name)
{
    const struct local_scan_request *request = walk->request;
    return excludes_have(request->snapshots, request->snapshots_length, name.name, name.length);
}

/* Say whether an entry of the deepest level, by name or path, is in the share's root. */
static bool is_at_root(const struct walk *walk, struct walk_entry entry)
{
    return walk->chain.path.length == 0 && !memchr(entry.name, '/', entry.length);
}

static struct walk_entry last_name(struct walk_entry path)
{
    const char *slash = memrchr(path.name, '/', path.length);
    const char *name = slash ? slash + 1 : path.name;
    return (struct walk_entry){name, path.length - (size_t)(name - path.name)};
}

/*
 * Say whether an open directory is one of snapshots, and not just called so: it is in the root of
 * the share or of a mount, it is on another device or mount than what it is in, or it is read-only.
 */
static bool is_snapshot(const struct walk *walk, struct walk_entry entry, int fd,
                        const struct status *status)
{
    if (!has_name_of_snapshot(walk, last_name(entry)))
        return false;
    struct status parent;
    if (is_at_root(walk, entry))
        return true;
    if (sys_parent_status(fd, &walk->request->features, &parent) < 0)
        return false; /* it cannot be read either */
    return parent.is_mount_root || parent.device != status->device ||
           is_on_other_mount(walk, &parent, status) || sys_is_read_only(fd);
}

const char *walk_reason_to_pass(const struct walk *walk, struct walk_entry entry)
{
    const struct local_scan_request *request = walk->request;
    if (excludes_have(request->excludes, request->excludes_length, entry.name, entry.length))
        return SKIPPED_EXCLUDED;
    return is_at_root(walk, entry) && has_name_of_snapshot(walk, entry) ? SKIPPED_SNAPSHOT : NULL;
}

const char *walk_reason_to_skip(const struct walk *walk, struct walk_entry entry, int fd,
                                const struct status *status)
{
    const struct status root = {.device = walk->device, .mount = walk->mount};
    if (is_snapshot(walk, entry, fd, status))
        return SKIPPED_SNAPSHOT;
    bool is_outside = !walk->request->cross && is_on_other_mount(walk, status, &root);
    return is_outside ? SKIPPED_FILESYSTEM : NULL;
}

bool walk_is_mounted_file(const struct walk *walk, int directory, struct walk_entry entry)
{
    uint64_t mount;
    return walk->is_bounded && !walk->request->cross &&
           sys_mount(directory, entry.name, &walk->request->features, &mount) == 0 &&
           mount != walk->mount; /* if it is gone, apply will see */
}

int walk_skip(struct walk *walk, struct walk_entry entry, const char *reason)
{
    walk->found->tally.skipped++;
    int result = walk_build_path(walk, entry);
    return result < 0 ? result : scan_put_notice(walk->found, &walk->path, reason);
}
