/*
 * Finds the directories of an apply, each once, by their paths (apply_entry.h has the structures).
 *
 *     UNSOUGHT -> SOUGHT -> [its parent is found] -> LOOKUP -> FOUND: its entries are looked up
 *                                                        '---> LOST: its entries get its outcome
 */

#define _GNU_SOURCE
#include "nfs/apply_entry.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static void seek_directory(struct nfs_apply *apply, uint32_t number)
{
    struct directory *directory = &apply->directories[number];
    directory->next = apply->to_find;
    apply->to_find = number;
    directory->state = DIRECTORY_SOUGHT;
}

int nfs_apply_find_entry(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    struct directory *directory = &apply->directories[entry->directory];
    switch (directory->state) {
    case DIRECTORY_FOUND:
        if (entry->is_own) {
            entry->handle = directory->handle;
            return nfs_apply_send_getattr(apply, entry, AWAITS_LOOK);
        }
        return nfs_apply_send_lookup(apply, entry);
    case DIRECTORY_LOST:
        return directory->outcome == OUTCOME_FAILED
                   ? nfs_apply_fail(apply, entry, "open", directory->error, "")
                   : directory->outcome;
    case DIRECTORY_UNSOUGHT:
        seek_directory(apply, entry->directory);
        break;
    case DIRECTORY_SOUGHT:
        break;
    }
    entry->next = directory->entries;
    directory->entries = (uint32_t)(entry - apply->entries);
    return PENDING;
}

int nfs_apply_find_again(struct nfs_apply *apply, struct nfs_entry_change *entry)
{
    entry->is_stale = true;
    entry->is_checked = false;
    entry->handle.length = 0;
    return nfs_apply_find_entry(apply, entry);
}

/* A directory was found or lost: continue with what waits for it. */
static void resume_waiting(struct nfs_apply *apply, struct directory *directory)
{
    while (directory->entries != NOTHING) {
        struct nfs_entry_change *entry = &apply->entries[directory->entries];
        directory->entries = entry->next;
        nfs_apply_finish(apply, entry, nfs_apply_find_entry(apply, entry));
    }
    while (directory->directories != NOTHING) {
        uint32_t number = directory->directories;
        directory->directories = apply->directories[number].next;
        seek_directory(apply, number);
    }
}

static void directory_found(struct nfs_apply *apply, struct directory *directory)
{
    directory->state = DIRECTORY_FOUND;
    resume_waiting(apply, directory);
}

static void directory_lost(struct nfs_apply *apply, struct directory *directory, int outcome,
                           int error)
{
    directory->state = DIRECTORY_LOST;
    directory->outcome = outcome;
    directory->error = error;
    resume_waiting(apply, directory);
}

static void directory_failed(struct nfs_apply *apply, struct directory *directory, int error)
{
    directory_lost(apply, directory, nfs_error_is_gone(error) ? OUTCOME_GONE : OUTCOME_FAILED,
                   error);
}

/* Its inode tells whether it is the directory of the frame. */
static void check_directory(struct nfs_apply *apply, struct directory *directory, uint64_t inode)
{
    if (inode == directory->inode)
        directory_found(apply, directory);
    else
        directory_lost(apply, directory, OUTCOME_DIFFERENT, 0);
}

static int answer_directory(void *owner, uint64_t tag, int error, struct xdr_in *reply,
                            bool resent);

/* Look up the next component of a directory's path. `above` is the directory that it is in. */
static void step_down(struct nfs_apply *apply, struct directory *directory,
                      const struct proto_handle *above)
{
    const uint8_t *name = directory->name + directory->at;
    size_t left = directory->length - directory->at;
    const uint8_t *slash = memchr(name, '/', left);
    size_t length = slash ? (size_t)(slash - name) : left;
    directory->at += (uint32_t)(length + (slash != NULL));
    if (length > PROTO_MAX_NAME)
        directory_failed(apply, directory, -ENAMETOOLONG);
    else if (apply->protocol->call_lookup(apply->rpc, above, name, length))
        nfs_client_send(apply->client, apply->rpc, PROTO_LOOKUP, answer_directory, apply,
                        (uint64_t)(directory - apply->directories));
    else
        directory_failed(apply, directory, -EBUSY);
}

static int answer_directory(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    (void)resent;
    struct nfs_apply *apply = owner;
    struct directory *directory = &apply->directories[tag];
    struct proto_attrs attrs = {0};
    if (error == 0)
        error = apply->protocol->read_status(reply);
    if (error == PROTO_DELAY)
        return NFS_DELAY;
    if (error == 0)
        error = apply->protocol->read_lookup(reply, &directory->handle, &attrs);
    if (error == 0 && attrs.known && !S_ISDIR(attrs.mode))
        error = -ENOTDIR;
    if (error == 0 && directory->at < directory->length) {
        step_down(apply, directory, &directory->handle);
        return 0;
    }
    if (error < 0)
        directory_failed(apply, directory, error);
    else
        check_directory(apply, directory, attrs.known ? attrs.fileid : directory->inode);
    return 0;
}

void nfs_apply_find_directories(struct nfs_apply *apply)
{
    while (apply->to_find != NOTHING) {
        uint32_t number = apply->to_find;
        struct directory *directory = &apply->directories[number];
        apply->to_find = directory->next;
        struct directory *above =
            directory->parent == NOTHING ? NULL : &apply->directories[directory->parent];
        if (above && above->state == DIRECTORY_LOST) {
            directory_lost(apply, directory, above->outcome, above->error);
        } else if (above && above->state != DIRECTORY_FOUND) {
            directory->next = above->directories;
            above->directories = number;
            if (above->state == DIRECTORY_UNSOUGHT)
                seek_directory(apply, directory->parent);
        } else if (directory->length == 0) {
            directory->handle = *nfs_client_root(apply->client);
            check_directory(apply, directory, nfs_client_root_inode(apply->client));
        } else {
            step_down(apply, directory, above ? &above->handle : nfs_client_root(apply->client));
        }
    }
}
