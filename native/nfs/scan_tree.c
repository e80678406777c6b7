/*
 * Directories as a tree of nodes, entries against the policy, and the frames of changes
 * (scan_tree.h has the structures).
 *
 *     struct memory_block   a piece of the memory that lives until the end of the scan
 */

#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/attrs.h"

#define BLOCK_BYTES ((size_t)256 * 1024)
#define MAX_MEMORY  ((size_t)1 << 30)

/* ---- memory */

struct memory_block {
    struct memory_block *before;
    size_t used;
    size_t total; /* bytes of this block and those before */
    _Alignas(16) uint8_t bytes[];
};

void *nfs_scan_alloc(struct nfs_scan *scan, size_t size)
{
    struct memory_block *block = scan->memory;
    size = (size + 15) & ~(size_t)15;
    if (!block || size > BLOCK_BYTES - block->used) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        size_t total = (block ? block->total : 0) + room;
        struct memory_block *next = total > MAX_MEMORY ? NULL : malloc(sizeof(*next) + room);
        if (!next) {
            scan->error = -ENOMEM;
            return NULL;
        }
        *next = (struct memory_block){.before = block, .total = total};
        block = scan->memory = next;
    }
    void *memory = block->bytes + block->used;
    block->used += size;
    return memset(memory, 0, size);
}

void nfs_scan_free(struct nfs_scan *scan)
{
    while (scan->memory) {
        struct memory_block *block = scan->memory;
        scan->memory = block->before;
        free(block);
    }
    buffer_free(&scan->changes);
    buffer_free(&scan->handles);
    buffer_free(&scan->links);
    buffer_free(&scan->path);
    buffer_free(&scan->way);
    buffer_free(&scan->known);
}

/* ---- nodes */

struct node *nfs_scan_add_node(struct nfs_scan *scan, struct node *parent, const void *name,
                               size_t length)
{
    struct node *node = nfs_scan_alloc(scan, sizeof(*node));
    char *copy = node ? nfs_scan_alloc(scan, length + 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, name, length);
    node->name = copy;
    node->length = length;
    node->parent = parent;
    node->fsid = nfs_client_fsid(scan->client);
    node->is_counting = true;
    if (parent) {
        node->sibling = parent->children;
        parent->children = node;
    } else if (scan->last_top) {
        scan->last_top = scan->last_top->sibling = node;
    } else {
        scan->tops = scan->last_top = node;
    }
    return node;
}

void nfs_scan_push(struct nfs_scan *scan, struct node *node)
{
    node->below = scan->stack;
    scan->stack = node;
}

bool nfs_scan_is_outside(const struct nfs_scan *scan, const struct proto_attrs *attrs)
{
    return !scan->request->cross && attrs->fsid != nfs_client_fsid(scan->client);
}

void nfs_scan_remark(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry,
                     const char *skipped)
{
    struct remark *remark = nfs_scan_alloc(scan, sizeof(*remark) + entry->length);
    if (!remark)
        return;
    node->tally.skipped += skipped != NULL;
    remark->skipped = skipped;
    remark->length = entry->length;
    memcpy(remark->name, entry->name, entry->length);
    remark->next = node->remarks;
    node->remarks = remark;
}

int nfs_scan_report(struct nfs_scan *scan, struct node *node)
{
    const struct remark *remark = node->remarks;
    int error = 0;
    for (; remark && error == 0; remark = remark->next) {
        error = nfs_scan_build_path(scan, node, remark->name, remark->length);
        if (error == 0 && remark->skipped)
            error = scan_put_notice(scan->found, &scan->path, remark->skipped);
        else if (error == 0)
            error = scan_put_failure(scan->found, &scan->path, "lookup", -ENAMETOOLONG);
    }
    node->remarks = NULL;
    return error;
}

void nfs_scan_count_directory(struct nfs_scan *scan, bool is_counting)
{
    scan->found->tally.entries += is_counting;
    scan->found->tally.directories += is_counting;
}

/* ---- the policy (policy.py) */

static struct attrs attrs_of(const struct proto_attrs *attrs)
{
    return (struct attrs){attrs->mode, attrs->uid, attrs->gid};
}

/* Return the change of an entry as it was attrs, for it to be completed. */
static struct change change_of(const struct proto_attrs *attrs)
{
    return (struct change){
        .mode = (uint16_t)attrs->mode,
        .uid = attrs->uid,
        .gid = attrs->gid,
        .inode = attrs->fileid,
        .size = attrs->size,
        .mtime = attrs->mtime,
    };
}

static void mark(struct node *node)
{
    for (; node && !node->is_marked; node = node->parent)
        node->is_marked = true;
}

void nfs_scan_judge_node(struct nfs_scan *scan, struct node *node)
{
    const struct proto_attrs *attrs = &node->attrs;
    if (attrs_comply(&scan->request->policy, attrs_of(attrs))) {
        scan->found->tally.compliant++;
        return;
    }
    node->must_change = true;
    node->own = change_of(attrs);
    change_complete(&scan->request->policy, &node->own, false);
}

void nfs_scan_cut(struct node *node)
{
    for (; node && !node->is_cut; node = node->parent)
        node->is_cut = true;
}

/* Unless other filesystems are entered: then inodes do not identify directories. */
void nfs_scan_remember(const struct nfs_scan *scan, const struct node *node)
{
    if (!scan->request->cross)
        nfs_client_remember(scan->client, node->inode, &node->handle);
}

/* Return the node after this one, parents before children. */
static struct node *following(const struct node *node)
{
    if (node->children)
        return node->children;
    while (!node->sibling && node->parent)
        node = node->parent;
    return node->sibling;
}

int nfs_scan_sort_own(struct nfs_scan *scan)
{
    for (struct node *node = scan->tops; node; node = following(node)) {
        if (!node->must_change)
            continue;
        if (!node->is_cut) {
            scan->found->count++;
            mark(node);
            continue;
        }
        node->must_change = false;
        nfs_scan_remember(scan, node);
        int error = nfs_scan_build_path(scan, node, "", 0);
        if (error == 0)
            error =
                scan_put_deferred(scan->found, scan->path.bytes, scan->path.length, 0, node->inode);
        if (error < 0)
            return error;
    }
    return 0;
}

struct segment nfs_scan_open_segment(const struct nfs_scan *scan)
{
    return (struct segment){
        .from = scan->changes.length,
        .handles_from = scan->handles.length,
        .link_from = scan->links.length / sizeof(struct scan_link),
        .count = -scan->gathered,
    };
}

void nfs_scan_close_segment(struct nfs_scan *scan, struct node *node, struct segment segment)
{
    segment.to = scan->changes.length;
    segment.handles_to = scan->handles.length;
    segment.link_to = scan->links.length / sizeof(struct scan_link);
    segment.count += scan->gathered;
    if (segment.count == 0)
        return;
    struct segment *copy = nfs_scan_alloc(scan, sizeof(*copy));
    if (!copy)
        return;
    *copy = segment;
    if (node->last)
        node->last->next = copy;
    else
        node->segments = copy;
    node->last = copy;
}

static int put_handle(struct buffer *handles, const struct proto_handle *handle,
                      const struct proto_attrs *attrs)
{
    int error = buffer_put(handles, &handle->length, 1);
    if (error == 0)
        error = buffer_put(handles, handle->bytes, handle->length);
    if (error == 0)
        error = buffer_put(handles, &attrs->guard, sizeof(attrs->guard));
    if (error == 0)
        error = buffer_put(handles, &attrs->mtime, sizeof(attrs->mtime));
    return error < 0 ? error : buffer_put(handles, &attrs->birth, sizeof(attrs->birth));
}

static int put_change(struct nfs_scan *scan, const struct proto_entry *entry)
{
    const struct proto_attrs *attrs = &entry->attrs;
    bool is_linked = attrs->links > 1;
    struct change change = change_of(attrs);
    change_complete(&scan->request->policy, &change, is_linked);
    struct scan_link link = {scan->changes.length, attrs->fsid & INT64_MAX, attrs->fileid};
    int error =
        changes_put_change(&scan->changes, KIND_CHANGE, &change, entry->name, entry->length);
    if (error == 0 && is_linked)
        error = buffer_put(&scan->links, &link, sizeof(link));
    scan->gathered++;
    return error < 0 ? error : put_handle(&scan->handles, &entry->handle, attrs);
}

void nfs_scan_judge_entry(struct nfs_scan *scan, struct node *node, const struct proto_entry *entry,
                          bool is_counting)
{
    const struct proto_attrs *attrs = &entry->attrs;
    struct tally *tally = &node->tally;
    tally->entries += is_counting;
    if (!S_ISREG(attrs->mode)) {
        tally->others += is_counting;
        return;
    }
    bool is_linked = attrs->links > 1;
    tally->files += is_counting;
    tally->hard_linked += is_linked && is_counting;
    int error = 0;
    switch (attrs_judge(&scan->request->policy, attrs_of(attrs), is_linked)) {
    case VERDICT_SKIPPED:
        nfs_scan_remark(scan, node, entry, SKIPPED_LINKED);
        break;
    case VERDICT_COMPLIANT:
        tally->compliant++;
        break;
    default:
        error = put_change(scan, entry);
    }
    if (error < 0)
        scan->error = error;
}

/* ---- discard and commit */

void nfs_scan_discard(struct node *node)
{
    node->attempt++;
    node->questions = node->name_count = 0;
    node->tally = (struct tally){0};
    node->segments = node->last = NULL;
    node->remarks = NULL;
    node->children = NULL;
}

void nfs_scan_commit(struct nfs_scan *scan, struct node *node)
{
    tally_add(&scan->found->tally, &node->tally);
    for (struct segment *segment = node->segments; segment; segment = segment->next)
        scan->found->count += segment->count;
    if (node->segments)
        mark(node);
    node->tally = (struct tally){0};
}

/* ---- paths */

int nfs_scan_build_path(struct nfs_scan *scan, const struct node *node, const void *name,
                        size_t length)
{
    size_t size = length;
    for (const struct node *at = node; at; at = at->parent)
        size += at->length + 1;
    scan->path.length = 0;
    int error = buffer_reserve(&scan->path, size + 1);
    if (error < 0)
        return error;
    /* From its end to its beginning. */
    uint8_t *begin = scan->path.bytes, *to = begin + size;
    if (length > 0)
        memcpy(to -= length, name, length);
    for (const struct node *at = node; at; at = at->parent) {
        if (to != begin + size && at->length > 0)
            *--to = '/';
        to -= at->length;
        memcpy(to, at->name, at->length);
    }
    scan->path.length = (size_t)(begin + size - to);
    memmove(begin, to, scan->path.length);
    return 0;
}

/* ---- frames */

static int write_segment(struct nfs_scan *scan, const struct segment *segment)
{
    struct scan_result *found = scan->found;
    size_t start = found->changes.length;
    int error = buffer_put(&found->changes, scan->changes.bytes + segment->from,
                           segment->to - segment->from);
    if (error == 0 && scan->request->retain)
        error = buffer_put(&scan->result->handles, scan->handles.bytes + segment->handles_from,
                           segment->handles_to - segment->handles_from);
    const struct scan_link *links = (const void *)scan->links.bytes;
    for (size_t i = segment->link_from; error == 0 && i < segment->link_to; i++) {
        struct scan_link link = links[i];
        link.offset = link.offset - segment->from + start;
        error = buffer_put(&found->links, &link, sizeof(link));
    }
    return error;
}

static int write_enter(struct nfs_scan *scan, const struct node *node)
{
    struct buffer *changes = &scan->found->changes;
    int error = changes_put_enter(changes, node->name, node->length, node->inode);
    for (struct segment *at = node->segments; error == 0 && at; at = at->next)
        error = write_segment(scan, at);
    return error;
}

static int write_leave(struct nfs_scan *scan, const struct node *node)
{
    struct buffer *changes = &scan->found->changes;
    if (!node->must_change)
        return changes_put_leave(changes);
    int error = changes_put_change(changes, KIND_OWN, &node->own, "", 0);
    if (error == 0 && scan->request->retain)
        error = put_handle(&scan->result->handles, &node->handle, &node->attrs);
    return error;
}

static struct node *next_marked(struct node *node)
{
    while (node && !node->is_marked)
        node = node->sibling;
    return node;
}

int nfs_scan_write_frames(struct nfs_scan *scan)
{
    if (scan->found->count == 0)
        return 0;
    const struct nfs_scan_request *request = scan->request;
    int error = changes_put_header(&scan->found->changes, !request->cross, request->policy.ids);
    struct node *node = next_marked(scan->tops);
    while (node && error == 0) {
        error = write_enter(scan, node);
        struct node *child = next_marked(node->children);
        if (child) {
            node = child;
            continue;
        }
        while (node && error == 0) {
            error = write_leave(scan, node);
            struct node *next = next_marked(node->sibling);
            node = next ? next : node->parent;
            if (next)
                break;
        }
    }
    return error;
}
