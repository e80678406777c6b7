#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/names.h"

#define MOST_RESTARTS 3

static void note(struct nfs_walk *walk, int error)
{
    if (error < 0)
        walk->error = error;
}

/* ---- what went wrong */

static bool is_gone(int error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

/* Return an error that errno has a word for; it has none for a cookie. */
static int plain_error(int error)
{
    return error == -EILSEQ ? -EIO : error;
}

static int fail(struct nfs_walk *walk, const char *operation, int error)
{
    return scan_put_failure(walk->found, &walk->path, operation, plain_error(error));
}

/* Have the path that was built last looked at again. */
static int try_again(struct nfs_walk *walk, bool counted, uint64_t inode, enum hint hint,
                     const void *name, size_t length)
{
    return group_put_one(&walk->found->again[counted], &walk->path, inode, hint, name, length);
}

int lost_group(struct nfs_walk *walk, const struct group_reader *group, int error)
{
    struct tally *tally = &walk->found->tally;
    walk->looks++;
    if (is_gone(error)) {
        tally->vanished += (int64_t)group->count;
        return 0;
    }
    bool retries = error_is_transient(error) && !walk->ask->last_try;
    return scan_lose_group(walk->found, group, plain_error(error), retries, walk->counting,
                           &walk->path);
}

static int lost_node(struct nfs_walk *walk, struct node *node, int error)
{
    bool may_pass = error_is_transient(error) && !walk->ask->last_try && !node->is_cursor;
    give_up(node);
    if (is_gone(error) && !node->is_cursor) {
        walk->found->tally.vanished++;
        return 0;
    }
    int result = node_path(walk, node, "", 0);
    if (result < 0)
        return result;
    if (error == -ESTALE) {
        nfs_forget(walk->nfs, node->inode);
        if (may_pass) /* it may well be gone: then it is not counted */
            return try_again(walk, !node->counting, 0, HINT_WALK, "", 0);
    }
    if (!node->is_cursor)
        count_directory(walk, node->counting);
    return may_pass ? try_again(walk, true, 0, HINT_WALK, "", 0) : fail(walk, "readdir", error);
}

static int lost_entry(struct nfs_walk *walk, const struct question *question, int error)
{
    struct node *node = question->node;
    bool is_directory = question->hint == HINT_DIRECTORY;
    if (is_gone(error)) {
        node->tally.vanished++;
        return 0;
    }
    bool counting = question->about == ABOUT_ENTRY || walk->counting;
    node->tally.entries += counting;
    *(is_directory ? &node->tally.directories : &node->tally.files) += counting;
    if (error == -ESTALE)
        nfs_forget(walk->nfs, node->inode);
    if (error_is_transient(error) && !walk->ask->last_try) {
        int result = node_path(walk, node, "", 0);
        return result < 0 ? result
                          : try_again(walk, true, node->inode, question->hint, question->name,
                                      question->length);
    }
    int result = node_path(walk, node, question->name, question->length);
    return result < 0 ? result : fail(walk, hint_operation(question->hint), error);
}

/* ---- entries */

static void sort_entry(struct nfs_walk *walk, struct node *node, const struct entry3 *entry,
                       bool counting)
{
    const struct attributes *found = &entry->attributes;
    struct tally *tally = &node->tally;
    if (!S_ISDIR(found->mode)) {
        judge_entry(walk, node, entry, counting);
    } else if (excludes_have(walk->ask->excludes, walk->ask->excludes_length, entry->name,
                             entry->length) ||
               is_outside(walk, found)) {
        tally->entries += counting;
        tally->directories += counting;
        tally->skipped++;
    } else {
        struct node *child = make_node(walk, node, entry->name, entry->length);
        if (!child)
            return;
        child->handle = entry->handle;
        child->inode = found->fileid;
        child->attributes = *found;
        child->counting = counting;
        if (node->named)
            push(walk, child);
    }
}

void complete(struct nfs_walk *walk, struct node *node)
{
    if (!node->at_end || node->questions > 0)
        return;
    keep(walk, node);
    if (node->named)
        return;
    if (!node->is_cursor) {
        count_directory(walk, node->counting);
        judge_node(walk, node);
    }
    for (struct node *child = node->children; child; child = child->sibling)
        push(walk, child);
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

bool ask_question(struct nfs_walk *walk, struct node *node, enum about about, enum hint hint,
                  const void *name, size_t length)
{
    struct question *question = walk_memory(walk, sizeof(*question));
    if (!question)
        return false;
    question->node = node;
    question->reading = node->reading;
    question->about = about;
    question->hint = (uint8_t)hint;
    question->length = (uint8_t)length;
    memcpy(question->name, name, length);
    if (about == ABOUT_OWN)
        question->handle = node->handle;
    node->questions++;
    put_question(about == ABOUT_NAME ? &walk->names : &walk->questions, question);
    return true;
}

static int answer_question(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    (void)again;
    struct nfs_walk *walk = owner;
    struct question *question = (struct question *)(uintptr_t)tag; /* NOLINT */
    struct node *node = question->node;
    struct entry3 entry = {.name = (const uint8_t *)question->name, .length = question->length};
    if (error == -ECANCELED)
        return 0;
    if (error == 0)
        error = walk->protocol->read_status(reply);
    if (error == JUKEBOX_ERROR)
        return LATER;
    walk->reading -= question->about == ABOUT_NAME;
    walk->window++;
    if (question->reading != node->reading)
        return 0;
    if (error == 0)
        error = question->handle.length
                    ? walk->protocol->read_getattr(reply, &entry.attributes)
                    : walk->protocol->read_lookup(reply, &question->handle, &entry.attributes);
    if (error == 0 && !entry.attributes.known) {
        put_question(&walk->questions, question);
        walk->reading += question->about == ABOUT_NAME;
        return 0;
    }
    node->questions--;
    entry.handle = question->handle;
    if (question->about == ABOUT_OWN) {
        if (error == 0 && !S_ISDIR(entry.attributes.mode))
            error = -EBADMSG;
        node->attributes = entry.attributes;
        if (error < 0) {
            note(walk, lost_node(walk, node, error));
            return 0;
        }
    } else if (error < 0) {
        note(walk, lost_entry(walk, question, error));
    } else {
        struct segment segment = put_open(walk);
        sort_entry(walk, node, &entry, question->about == ABOUT_ENTRY || walk->counting);
        put_close(walk, node, segment);
    }
    if (question->about == ABOUT_OWN && !node->at_end)
        push(walk, node);
    else
        complete(walk, node);
    return 0;
}

void send_question(struct nfs_walk *walk, struct questions *questions)
{
    struct question *question = questions->first;
    questions->first = question->next;
    if (!questions->first)
        questions->last = NULL;
    if (question->reading != question->node->reading)
        return;
    enum procedure3 procedure = question->handle.length ? GETATTR3 : LOOKUP3;
    if (procedure == GETATTR3)
        walk->protocol->call_getattr(walk->rpc, &question->handle);
    else
        walk->protocol->call_lookup(walk->rpc, &question->node->handle, question->name,
                                    question->length);
    walk->looks += question->about == ABOUT_NAME;
    walk->reading += question->about == ABOUT_NAME && procedure == LOOKUP3;
    nfs_send(walk->nfs, walk->rpc, procedure, answer_question, walk, (uintptr_t)question);
}

/* ---- listings */

static bool is_dot(const struct entry3 *entry)
{
    return entry->name[0] == '.' &&
           (entry->length == 1 || (entry->length == 2 && entry->name[1] == '.'));
}

/* What a name is known by within its directory (FNV-1a). Of a million names two share it once in 10^7 cases. */
static uint64_t key_of(const struct entry3 *entry)
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

/* Say whether a name was looked at before; if that is to be known, note that it is now. */
static bool is_passed(struct nfs_walk *walk, const struct node *node, const struct entry3 *entry)
{
    const struct nfs_scan_request *ask = walk->ask;
    if (!node->is_cursor || !(ask->notes_names || ask->passed_count))
        return false;
    uint64_t key = key_of(entry);
    if (ask->notes_names)
        note(walk, buffer_put(&walk->result->names, &key, sizeof(key)));
    return ask->passed_count &&
           bsearch(&key, ask->passed, ask->passed_count, sizeof(key), compare_keys);
}

static void take_entry(struct nfs_walk *walk, struct node *node, const struct entry3 *entry)
{
    bool has_handle = entry->handle.length > 0;
    walk->looks++;
    if (is_passed(walk, node, entry))
        return;
    if (entry->attributes.known && (has_handle || !S_ISDIR(entry->attributes.mode)))
        sort_entry(walk, node, entry, true);
    else
        ask_question(walk, node, ABOUT_ENTRY, HINT_ENTRY, entry->name, entry->length);
}

/* Look whether a reading goes round in a circle (Brent's algorithm, with cookies for steps). */
static bool goes_round(struct node *node, uint64_t cookie)
{
    if (cookie == node->cookie || cookie == node->mark)
        return true;
    if (++node->steps > node->power) {
        node->mark = cookie;
        node->power = 2 * node->steps;
        node->steps = 0;
    }
    return false;
}

static int take_listing(struct nfs_walk *walk, struct node *node, struct xdr_in *reply)
{
    struct listing3 listing = {0};
    int error = walk->protocol->read_listing(reply, &listing);
    if (error < 0)
        return error;
    const struct attributes *directory = &listing.directory;
    if (directory->known && !S_ISDIR(directory->mode))
        return -EBADMSG;
    if (directory->known && node->inode && directory->fileid != node->inode)
        return -ESTALE;
    if (directory->known && node->cookie == 0)
        node->attributes = *directory;
    struct segment segment = put_open(walk);
    struct entry3 entry;
    uint64_t cookie = node->cookie;
    while ((error = walk->protocol->read_entry(reply, &listing, &entry)) > 0) {
        cookie = entry.cookie;
        node->names++; /* dots as well: there may be no end of them */
        if (!is_dot(&entry))
            take_entry(walk, node, &entry);
    }
    put_close(walk, node, segment);
    if (error < 0)
        return error;
    memcpy(node->verifier, listing.verifier, sizeof(node->verifier));
    node->at_end = listing.is_last;
    if (!node->at_end && goes_round(node, cookie))
        return -ELOOP;
    node->cookie = cookie;
    return 0;
}

static void restart(struct node *node)
{
    give_up(node);
    node->cookie = node->mark = node->steps = node->power = 0;
    memset(node->verifier, 0, sizeof(node->verifier));
}

/* Leave the reading of a wide directory, from the node's cookie on, to another unit. */
static int put_wide(struct nfs_walk *walk, const struct node *node)
{
    struct nfs_scan_result *found = walk->result;
    found->is_wide = true;
    found->wide.handle = node->handle;
    found->wide.inode = node->inode;
    found->wide.cookie = node->cookie;
    memcpy(found->wide.verifier, node->verifier, VERIFIER_SIZE);
    int error = node_path(walk, node, "", 0);
    return error < 0 ? error : scan_put_text(walk->found, &walk->path, &found->wide_path);
}

/* See whether a directory, not at its end, is to be left for now; true if it is. */
static bool leave_wide(struct nfs_walk *walk, struct node *node)
{
    if (node->is_cursor) {
        if (node->names < walk->ask->wide && !is_over(walk))
            return false;
        note(walk, put_wide(walk, node));
        node->at_end = true;
        complete(walk, node);
        return true;
    }
    if (node->names <= walk->ask->wide)
        return false;
    restart(node);
    if (!node->attributes.known) { /* it is judged before it is left: read it again when they are */
        ask_question(walk, node, ABOUT_OWN, HINT_SELF, "", 0);
        return true;
    }
    if (walk->result->is_wide) {
        push(walk, node); /* one wide directory a unit: this one is left over */
        return true;
    }
    count_directory(walk, node->counting);
    judge_node(walk, node);
    note(walk, put_wide(walk, node));
    return true;
}

static int answer_listing(void *owner, uint64_t tag, int error, struct xdr_in *reply, bool again)
{
    (void)again;
    struct nfs_walk *walk = owner;
    struct node *node = (struct node *)(uintptr_t)tag; /* NOLINT */
    if (error == -ECANCELED)
        return 0;
    if (error == 0)
        error = walk->protocol->read_status(reply);
    if (error == JUKEBOX_ERROR)
        return LATER;
    walk->window++;
    if (error == 0)
        error = take_listing(walk, node, reply);
    if (error == -EILSEQ && !node->is_cursor && node->restarts++ < MOST_RESTARTS) {
        restart(node);
        read_on(walk, node);
        return 0;
    }
    if (error == 0 && !node->at_end) {
        if (leave_wide(walk, node))
            walk->reading--;
        else
            read_on(walk, node);
        return 0;
    }
    walk->reading--;
    if (error < 0)
        note(walk, lost_node(walk, node, error));
    else if (!node->attributes.known && !node->is_cursor)
        ask_question(walk, node, ABOUT_OWN, HINT_SELF, "", 0);
    else
        complete(walk, node);
    return 0;
}

void read_on(struct nfs_walk *walk, struct node *node)
{
    walk->protocol->call_listing(walk->rpc, &node->handle, node->cookie, node->verifier);
    nfs_send(walk->nfs, walk->rpc, READDIRPLUS3, answer_listing, walk, (uintptr_t)node);
}
