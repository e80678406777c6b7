/* Entries, and directories themselves, against the policy: compliant, skipped, or a change. */

#define _GNU_SOURCE
#include "local/scan_stack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/attrs.h"

#define ANY_EXECUTE 0111

/* XATTR_LIST_MAX: the names of an entry's extended attributes go into the buffer of dirents. */
_Static_assert(LISTING_BYTES >= 65536, "a list of extended attributes must fit");

void walk_judge_directory(struct walk *walk, struct walk_level *level, const struct status *status)
{
    struct attrs found = {status->mode, status->uid, status->gid};
    if (attrs_comply(&walk->request->policy, found)) {
        walk->found->tally.compliant++;
        return;
    }
    level->must_change = true;
    level->own = (struct change){
        .mode = (uint16_t)status->mode,
        .uid = status->uid,
        .gid = status->gid,
        .inode = status->inode,
    };
    change_complete(&walk->request->policy, &level->own, false);
}

static int put_notice(struct walk *walk, struct walk_entry entry, const char *kind)
{
    int result = walk_build_path(walk, entry);
    return result < 0 ? result : scan_put_notice(walk->found, &walk->path, kind);
}

static bool has_attribute(const char *list, int length, const char *attribute)
{
    for (const char *at = list; at < list + length; at += strlen(at) + 1)
        if (strcmp(at, attribute) == 0)
            return true;
    return false;
}

int walk_look_at_xattrs(struct walk *walk, int directory, const char *name, struct walk_entry entry,
                        uint32_t mode)
{
    char *list = (char *)walk->listing;
    int length =
        sys_list_attributes(directory, name, list, LISTING_BYTES, &walk->request->features);
    if (length <= 0)
        return 0; /* none, none on this filesystem, or the entry is gone: apply will see */
    list[length] = '\0';
    int result = 0;
    if (has_attribute(list, length, "system.posix_acl_access"))
        result = put_notice(walk, entry, "acl");
    bool runs = S_ISREG(mode) && mode & ANY_EXECUTE;
    if (result == 0 && runs && has_attribute(list, length, "security.capability"))
        result = put_notice(walk, entry, "capability");
    return result;
}

static int change_file(struct walk *walk, int directory, struct walk_entry entry,
                       const struct stat *status)
{
    const struct local_scan_request *request = walk->request;
    struct scan_result *found = walk->found;
    struct change change = {
        .mode = (uint16_t)status->st_mode,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .inode = status->st_ino,
        .size = (uint64_t)status->st_size,
        .mtime = sys_nanoseconds(status->st_mtim),
    };
    change_complete(&request->policy, &change, status->st_nlink > 1);
    int result = walk_write_enters(walk);
    if (result < 0)
        return result;
    struct scan_link link = {found->changes.length, status->st_dev, status->st_ino};
    result = changes_put_change(&found->changes, KIND_CHANGE, &change, entry.name, entry.length);
    found->count++;
    if (result == 0 && status->st_nlink > 1)
        result = buffer_put(&found->links, &link, sizeof(link));
    if (result == 0 && request->xattrs)
        result = walk_look_at_xattrs(walk, directory, entry.name, entry, status->st_mode);
    return result;
}

static int judge_file(struct walk *walk, int directory, struct walk_entry entry,
                      const struct stat *status, bool is_counting)
{
    const struct local_scan_request *request = walk->request;
    struct tally *tally = &walk->found->tally;
    bool is_linked = status->st_nlink > 1;
    tally->hard_linked += is_linked && is_counting;
    struct attrs found = {status->st_mode, status->st_uid, status->st_gid};
    switch (attrs_judge(&request->policy, found, is_linked)) {
    case VERDICT_SKIPPED:
        return walk_skip(walk, entry, SKIPPED_LINKED);
    case VERDICT_COMPLIANT:
        tally->compliant++;
        return 0;
    default: /* the mount of what complies does not matter */
        if (walk_is_mounted_file(walk, directory, entry))
            return walk_skip(walk, entry, SKIPPED_FILESYSTEM);
        return change_file(walk, directory, entry, status);
    }
}

int walk_look_at(struct walk *walk, struct walk_entry entry, bool was_directory)
{
    struct tally *tally = &walk->found->tally;
    bool is_counting = walk->is_counting || !walk_deepest(walk)->is_named;
    walk->looks++;
    int directory = dirchain_fd(&walk->chain);
    struct stat status;
    int error = directory < 0 ? directory : sys_entry_status(directory, entry.name, &status);
    if (error < 0) {
        walk_count(walk, &tally->files, is_counting && error != -ENOENT);
        return walk_fail_entry(walk, entry, HINT_ENTRY, error);
    }
    if (S_ISDIR(status.st_mode)) {
        if (!was_directory)
            return walk_put_name(&walk->directories, entry.name, entry.length);
        tally->vanished++; /* it is being exchanged at this moment */
        return 0;
    }
    if (!S_ISREG(status.st_mode)) {
        walk_count(walk, &tally->others, is_counting);
        return 0;
    }
    walk_count(walk, &tally->files, is_counting);
    return judge_file(walk, directory, entry, &status, is_counting);
}
