/*
 * Replies that a scan gets: listings and answers to questions, and what to do about errors
 * (scan_tree.h has the structures).
 *
 *     gone        the entry is counted as vanished
 *     transient   it goes to `again`, unless this was the last try
 *     other       it is counted, and is a failure
 */

#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/names.h"

#define MAX_RESTARTS 3 /* of a listing whose cookie the server no longer accepts */

/* Keep an error of a callback until the loop sees it. */
static void note(struct nfs_scan *scan, int error)
{
    if (error < 0)
        scan->error = error;
}

/* ---- errors */

/* Return an error whose text does not mislead: errno has none for what is wrong with a listing. */
static int plain_error(int error)
{
    return error == -EILSEQ || error == -EMSGSIZE ? -EIO : error;
}

static int fail(struct nfs_scan *scan, const char *operation, int error)
{
    return scan_put_failure(scan->found, &scan->path, operation, plain_error(error));
}

/* Put a name below scan->path into `again`. */
static int try_again(struct nfs_scan *scan, bool counted, uint64_t inode, enum hint hint,
                     const void *name, size_t length)
{
    return group_put_one(&scan->found->again[counted], &scan->path, inode, hint, name, length);
}

int nfs_scan_fail_group(struct nfs_scan *scan, const struct group_reader *group, int error)
{
    struct tally *tally = &scan->found->tally;
    scan->looks++;
    if (nfs_error_is_gone(error)) {
        tally->vanished += (int64_t)group->count;
        return 0;
    }
    bool retries = error_is_transient(error) && !scan->request->last_try;
    return scan_put_lost_group(scan->found, group, plain_error(error), retries, scan->is_counting,
                               &scan->path);
}

static int fail_node(struct nfs_scan *scan, struct node *node, int error)
{
    bool may_retry = error_is_transient(error) && !scan->request->last_try && !node->is_cursor;
    nfs_scan_discard(node);
    if (nfs_error_is_gone(error) && !node->is_cursor) {
        scan->found->tally.vanished++;
        return 0;
    }
    int result = nfs_scan_build_path(scan, node, "", 0);
    if (result < 0)
        return result;
    if (error == -ESTALE) {
        nfs_client_forget(scan->client, node->inode);
        if (may_retry) /* not counted yet, because it may be gone */
            return try_again(scan, !node->is_counting, 0, HINT_WALK, "", 0);
    }
    if (!node->is_cursor)
        nfs_scan_count_directory(scan, node->is_counting);
    return may_retry ? try_again(scan, true, 0, HINT_WALK, "", 0) : fail(scan, "readdir", error);
}

static int fail_entry(struct nfs_scan *scan, const struct question *question, int error)
{
    struct node *node = question->node;
    bool is_directory = question->hint == HINT_DIRECTORY;
    if (nfs_error_is_gone(error)) {
        node->tally.vanished++;
        return 0;
    }
    bool is_counting = question->about == ABOUT_ENTRY || scan->is_counting;
    node->tally.entries += is_counting;
    *(is_directory ? &node->tally.directories : &node->tally.files) += is_counting;
    if (error == -ESTALE)
        nfs_client_forget(scan->client, node->inode);
    if (error_is_transient(error) && !scan->request->last_try) {
        int result = nfs_scan_build_path(scan, node, "", 0);
        return result < 0 ? result
                          : try_again(scan, true, node->inode, question->hint, question->name,
                                      question->length);
    }
    int result = nfs_scan_build_path(scan, node, question->name, question->length);
    return result < 0 ? result : fail(scan, hint_operation(question->hint), error);
}

/* ---- entries */

/*
 * Return why a directory is not entered, NULL: it is. One with the name of a directory of snapshots
 * is one in the share's root, or if it is on another filesystem than what it is in.
 */
static const char *reason_to_skip(const struct nfs_scan *scan, const struct node *node,
                                  const struct proto_entry *entry)
{
    const struct nfs_scan_request *request = scan->request;
    if (excludes_have(request->excludes, request->excludes_length, entry->name, entry->length))
        return SKIPPED_EXCLUDED;
    bool is_in_root = !node->parent && node->length == 0;
    if (excludes_have(request->snapshots, request->snapshots_length, entry->name, entry->length) &&
        (is_in_root || entry->attrs.fsid != node->fsid))
        return SKIPPED_SNAPSHOT;
    return nfs_scan_is_outside(scan, &entry->attrs) ? SKIPPED_FILESYSTEM : NULL;
}

/* Judge a file; make a node of a directory. */
static void accept_entry(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry,
                         bool is_counting)
{
    const struct proto_attrs *attrs = &entry->attrs;
    if (!S_ISDIR(attrs->mode)) {
        nfs_scan_judge_entry(scan, node, entry, is_counting);
        return;
    }
    const char *reason = reason_to_skip(scan, node, entry);
    if (reason) {
        node->tally.entries += is_counting;
        node->tally.directories += is_counting;
        nfs_scan_remark(scan, node, entry, reason);
    } else {
        struct node *child = nfs_scan_add_node(scan, node, entry->name, entry->length);
        if (!child)
            return;
        child->handle = entry->handle;
        child->inode = attrs->fileid;
        child->fsid = attrs->fsid;
        child->attrs = *attrs;
        child->is_counting = is_counting;
        if (node->is_named)
            nfs_scan_push(scan, child);
    }
}

/*
 * An entry whose name is too long for a call fails alone. It is not looked up again, and its
 * failure waits until its directory is complete: that may be read anew.
 */
static void refuse_name(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry)
{
    bool is_directory = entry->attrs.known && S_ISDIR(entry->attrs.mode);
    node->tally.entries++;
    *(is_directory ? &node->tally.directories : &node->tally.files) += 1;
    nfs_scan_remark(scan, node, entry, NULL);
}

void nfs_scan_complete(struct nfs_scan *scan, struct node *node)
{
    if (!node->at_end || node->questions > 0)
        return;
    nfs_scan_commit(scan, node);
    note(scan, nfs_scan_report(scan, node));
    if (node->is_named)
        return;
    if (!node->is_cursor) {
        nfs_scan_count_directory(scan, node->is_counting);
        nfs_scan_judge_node(scan, node);
    }
    for (struct node *child = node->children; child; child = child->sibling)
        nfs_scan_push(scan, child);
}

/* ---- questions */

static void put_question(struct questions *questions, struct question *question)
{
    question->next = NULL;
    if (questions->last)
        questions->last->next = question;
    else
        questions->first = question;
    questions->last = question;
}

bool nfs_scan_ask(struct nfs_scan *scan, struct node *node, enum about about, enum hint hint,
                  const void *name, size_t length)
{
    struct question *question = nfs_scan_alloc(scan, sizeof(*question));
    if (!question)
        return false;
    question->node = node;
    question->attempt = node->attempt;
    question->about = about;
    question->hint = (uint8_t)hint;
    question->length = (uint8_t)length;
    memcpy(question->name, name, length);
    if (about == ABOUT_OWN)
        question->handle = node->handle;
    node->questions++;
    put_question(about == ABOUT_NAME ? &scan->unit_questions : &scan->questions, question);
    return true;
}

static int answer_question(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    (void)resent;
    struct nfs_scan *scan = owner;
    struct question *question = (struct question *)(uintptr_t)tag; /* NOLINT */
    struct node *node = question->node;
    struct proto_entry entry = {.name = (const uint8_t *)question->name,
                                .length = question->length};
    if (error == -ECANCELED)
        return 0;
    if (error == 0)
        error = scan->protocol->read_status(reply);
    if (error == PROTO_DELAY)
        return NFS_DELAY;
    scan->in_progress -= question->about == ABOUT_NAME;
    scan->window++;
    if (question->attempt != node->attempt)
        return 0;
    if (error == 0)
        error = question->handle.length
                    ? scan->protocol->read_getattr(reply, &entry.attrs)
                    : scan->protocol->read_lookup(reply, &question->handle, &entry.attrs);
    if (error == 0 && !entry.attrs.known) {
        put_question(&scan->questions, question);
        scan->in_progress += question->about == ABOUT_NAME;
        return 0;
    }
    node->questions--;
    entry.handle = question->handle;
    if (question->about == ABOUT_OWN) {
        if (error == 0 && !S_ISDIR(entry.attrs.mode))
            error = -EBADMSG;
        node->attrs = entry.attrs;
        if (error < 0) {
            note(scan, fail_node(scan, node, error));
            return 0;
        }
    } else if (error < 0) {
        note(scan, fail_entry(scan, question, error));
    } else {
        struct segment segment = nfs_scan_open_segment(scan);
        accept_entry(scan, node, &entry, question->about == ABOUT_ENTRY || scan->is_counting);
        nfs_scan_close_segment(scan, node, segment);
    }
    if (question->about == ABOUT_OWN && !node->at_end)
        nfs_scan_push(scan, node);
    else
        nfs_scan_complete(scan, node);
    return 0;
}

void nfs_scan_send_question(struct nfs_scan *scan, struct questions *questions)
{
    struct question *question = questions->first;
    questions->first = question->next;
    if (!questions->first)
        questions->last = NULL;
    if (question->attempt != question->node->attempt)
        return;
    enum proto_procedure procedure = question->handle.length ? PROTO_GETATTR : PROTO_LOOKUP;
    if (procedure == PROTO_GETATTR)
        scan->protocol->call_getattr(scan->rpc, &question->handle);
    else
        scan->protocol->call_lookup(scan->rpc, &question->node->handle, question->name,
                                    question->length);
    scan->looks += question->about == ABOUT_NAME;
    scan->in_progress += question->about == ABOUT_NAME && procedure == PROTO_LOOKUP;
    nfs_client_send(scan->client, scan->rpc, procedure, answer_question, scan, (uintptr_t)question);
}

/* ---- listings */

/*
 * The key that identifies a name in its directory (FNV-1a). Two of a million names have the same
 * key with a probability of 10^-7.
 */
static uint64_t key_of(const struct proto_entry *entry)
{
    uint64_t key = 0xcbf29ce484222325;
    for (size_t i = 0; i < entry->length; i++)
        key = (key ^ entry->name[i]) * 0x100000001b3;
    return key;
}

static int compare_keys(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

/* Return whether the other version has read a name; and keep its key, if the request wants keys. */
static bool is_passed(struct nfs_scan *scan, const struct node *node,
                      const struct proto_entry *entry)
{
    const struct nfs_scan_request *request = scan->request;
    if (!node->is_cursor || !(request->wants_keys || request->passed_count))
        return false;
    uint64_t key = key_of(entry);
    if (request->wants_keys)
        note(scan, buffer_put(&scan->result->keys, &key, sizeof(key)));
    return request->passed_count &&
           bsearch(&key, request->passed, request->passed_count, sizeof(key), compare_keys);
}

static void read_entry(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry)
{
    bool has_handle = entry->handle.length > 0;
    scan->looks++;
    if (is_passed(scan, node, entry))
        return;
    if (entry->length > PROTO_MAX_NAME)
        refuse_name(scan, node, entry);
    else if (entry->attrs.known && (has_handle || !S_ISDIR(entry->attrs.mode)))
        accept_entry(scan, node, entry, true);
    else
        nfs_scan_ask(scan, node, ABOUT_ENTRY, HINT_ENTRY, entry->name, entry->length);
}

/* Return whether cookies repeat (Brent's algorithm): then the listing would never end. */
static bool has_cycle(struct node *node, uint64_t cookie)
{
    if (cookie == node->cookie || cookie == node->cycle_cookie)
        return true;
    if (++node->cycle_steps > node->cycle_power) {
        node->cycle_cookie = cookie;
        node->cycle_power = 2 * node->cycle_steps;
        node->cycle_steps = 0;
    }
    return false;
}

static int read_listing(struct nfs_scan *scan, struct node *node, struct xdr_in *reply)
{
    struct proto_listing listing = {.is_plain = node->is_plain};
    int error = scan->protocol->read_listing(reply, &listing);
    if (error < 0)
        return error;
    const struct proto_attrs *directory = &listing.directory;
    if (directory->known && !S_ISDIR(directory->mode))
        return -EBADMSG;
    if (directory->known && node->inode && directory->fileid != node->inode)
        return -ESTALE;
    if (directory->known)
        node->fsid = directory->fsid;
    if (directory->known && node->cookie == 0)
        node->attrs = *directory;
    struct segment segment = nfs_scan_open_segment(scan);
    struct proto_entry entry;
    uint64_t cookie = node->cookie;
    while ((error = scan->protocol->read_entry(reply, &listing, &entry)) > 0) {
        cookie = entry.cookie;
        node->name_count++; /* also dots, which a hostile server may send without end */
        if (!name_is_dots(entry.name, entry.length))
            read_entry(scan, node, &entry);
    }
    nfs_scan_close_segment(scan, node, segment);
    if (error < 0)
        return error;
    memcpy(node->verifier, listing.verifier, sizeof(node->verifier));
    node->at_end = listing.is_last;
    if (!node->at_end && has_cycle(node, cookie))
        return -ELOOP;
    node->cookie = cookie;
    return 0;
}

static void restart(struct node *node)
{
    nfs_scan_discard(node);
    node->cookie = node->cycle_cookie = node->cycle_steps = node->cycle_power = 0;
    memset(node->verifier, 0, sizeof(node->verifier));
}

/* Leave the rest of a wide directory, from the node's cookie on, to another unit. */
static int put_wide(struct nfs_scan *scan, const struct node *node)
{
    struct nfs_scan_result *result = scan->result;
    result->is_wide = true;
    result->wide.handle = node->handle;
    result->wide.inode = node->inode;
    result->wide.cookie = node->cookie;
    memcpy(result->wide.verifier, node->verifier, PROTO_VERIFIER);
    int error = nfs_scan_build_path(scan, node, "", 0);
    return error < 0 ? error : scan_put_text(scan->found, &scan->path, &result->wide_path);
}

/*
 * Leave a directory that is not at its end, if it is wide or a limit is reached; true if it was
 * left.
 */
static bool leave_wide(struct nfs_scan *scan, struct node *node)
{
    if (node->is_cursor) {
        if (node->name_count < scan->request->wide && !nfs_scan_is_over(scan))
            return false;
        note(scan, put_wide(scan, node));
        node->at_end = true;
        nfs_scan_complete(scan, node);
        return true;
    }
    if (node->name_count <= scan->request->wide)
        return false;
    restart(node);
    if (!node->attrs.known) { /* needed to judge it: read it again when they are known */
        nfs_scan_ask(scan, node, ABOUT_OWN, HINT_SELF, "", 0);
        return true;
    }
    if (scan->result->is_wide) {
        nfs_scan_push(scan,
                      node); /* a unit can leave one wide directory: this one goes to `rest` */
        return true;
    }
    nfs_scan_count_directory(scan, node->is_counting);
    nfs_scan_judge_node(scan, node);
    note(scan, put_wide(scan, node));
    return true;
}

static int answer_listing(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool resent)
{
    (void)resent;
    struct nfs_scan *scan = owner;
    struct node *node = (struct node *)(uintptr_t)tag; /* NOLINT */
    if (error == -ECANCELED)
        return 0;
    if (error == 0)
        error = scan->protocol->read_status(reply);
    if (error == PROTO_DELAY)
        return NFS_DELAY;
    bool lists_else = error == -EOPNOTSUPP
                          ? !node->is_plain && nfs_client_list_plainly(scan->client)
                          : error == -EMSGSIZE && nfs_client_list_more(scan->client, node->room);
    if (lists_else) {
        nfs_scan_send_listing(scan, node);
        return 0;
    }
    scan->window++;
    if (error == 0)
        error = read_listing(scan, node, reply);
    if (error == -EILSEQ && !node->is_cursor && node->restarts++ < MAX_RESTARTS) {
        restart(node);
        nfs_scan_send_listing(scan, node);
        return 0;
    }
    if (error == 0 && !node->at_end) {
        if (leave_wide(scan, node))
            scan->in_progress--;
        else
            nfs_scan_send_listing(scan, node);
        return 0;
    }
    scan->in_progress--;
    if (error < 0)
        note(scan, fail_node(scan, node, error));
    else if (!node->attrs.known && !node->is_cursor)
        nfs_scan_ask(scan, node, ABOUT_OWN, HINT_SELF, "", 0);
    else
        nfs_scan_complete(scan, node);
    return 0;
}

void nfs_scan_send_listing(struct nfs_scan *scan, struct node *node)
{
    node->is_plain = nfs_client_lists_plainly(scan->client);
    node->room = nfs_client_listing(scan->client);
    scan->protocol->call_listing(scan->rpc, &node->handle, node->cookie, node->verifier, node->room,
                                 node->is_plain);
    nfs_client_send(scan->client, scan->rpc, node->is_plain ? PROTO_READDIR : PROTO_READDIRPLUS,
                    answer_listing, scan, (uintptr_t)node);
}
