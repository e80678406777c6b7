#define _GNU_SOURCE
#include "nfs/scan_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/attrs.h"

#define CHUNK       ((size_t)256 * 1024)
#define MOST_MEMORY ((size_t)1 << 30)

/* ---- memory */

struct chunk {
    struct chunk *before;
    size_t used;
    size_t all; /* of this and those before */
    _Alignas(16) uint8_t bytes[];
};

void *walk_memory(struct nfs_walk *walk, size_t size)
{
    struct chunk *chunk = walk->memory;
    size = (size + 15) & ~(size_t)15;
    if (!chunk || size > CHUNK - chunk->used) {
        size_t room = size > CHUNK ? size : CHUNK;
        size_t all = (chunk ? chunk->all : 0) + room;
        struct chunk *next = all > MOST_MEMORY ? NULL : malloc(sizeof(*next) + room);
        if (!next) {
            walk->error = -ENOMEM;
            return NULL;
        }
        *next = (struct chunk){.before = chunk, .all = all};
        chunk = walk->memory = next;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += size;
    return memset(memory, 0, size);
}

void walk_free(struct nfs_walk *walk)
{
    while (walk->memory) {
        struct chunk *chunk = walk->memory;
        walk->memory = chunk->before;
        free(chunk);
    }
    buffer_free(&walk->records);
    buffer_free(&walk->held);
    buffer_free(&walk->links);
    buffer_free(&walk->path);
    buffer_free(&walk->way);
    buffer_free(&walk->steps);
}

/* ---- nodes */

struct node *make_node(struct nfs_walk *walk, struct node *parent, const void *name, size_t length)
{
    struct node *node = walk_memory(walk, sizeof(*node));
    char *copy = node ? walk_memory(walk, length + 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, name, length);
    node->name = copy;
    node->length = length;
    node->parent = parent;
    node->counting = true;
    if (parent) {
        node->sibling = parent->children;
        parent->children = node;
    } else if (walk->last_top) {
        walk->last_top = walk->last_top->sibling = node;
    } else {
        walk->tops = walk->last_top = node;
    }
    return node;
}

void push(struct nfs_walk *walk, struct node *node)
{
    node->below = walk->stack;
    walk->stack = node;
}

bool is_outside(const struct nfs_walk *walk, const struct attributes *found)
{
    return !walk->ask->cross && found->fsid != nfs_fsid(walk->nfs);
}

void count_directory(struct nfs_walk *walk, bool counting)
{
    walk->found->tally.entries += counting;
    walk->found->tally.directories += counting;
}

/* ---- the policy (policy.py) */

static bool complies(const struct nfs_walk *walk, uint32_t bits, const struct attributes *found)
{
    return attrs_comply(found->mode, found->gid, walk->ask->gid, bits);
}

/* Return the change of an entry as it was found, for it to be completed. */
static struct change change_of(const struct attributes *found)
{
    return (struct change){
        .mode = (uint16_t)found->mode,
        .uid = found->uid,
        .gid = found->gid,
        .inode = found->fileid,
        .size = found->size,
        .mtime = found->mtime,
    };
}

static void mark(struct node *node)
{
    for (; node && !node->is_marked; node = node->parent)
        node->is_marked = true;
}

void judge_node(struct nfs_walk *walk, struct node *node)
{
    uint32_t bits = walk->ask->directory_bits;
    const struct attributes *found = &node->attributes;
    if (complies(walk, bits, found)) {
        walk->found->tally.compliant++;
        return;
    }
    node->must_change = true;
    node->own = change_of(found);
    change_complete(&node->own, bits, false);
    walk->found->count++;
    mark(node);
}

struct segment put_open(const struct nfs_walk *walk)
{
    return (struct segment){
        .from = walk->records.length,
        .held_from = walk->held.length,
        .link_from = walk->links.length / sizeof(struct scan_link),
        .count = -walk->count,
    };
}

void put_close(struct nfs_walk *walk, struct node *node, struct segment segment)
{
    segment.to = walk->records.length;
    segment.held_to = walk->held.length;
    segment.link_to = walk->links.length / sizeof(struct scan_link);
    segment.count += walk->count;
    if (segment.count == 0)
        return;
    struct segment *copy = walk_memory(walk, sizeof(*copy));
    if (!copy)
        return;
    *copy = segment;
    if (node->last)
        node->last->next = copy;
    else
        node->segments = copy;
    node->last = copy;
}

static int put_held(struct buffer *held, const struct handle *handle,
                    const struct attributes *found)
{
    int error = buffer_put(held, &handle->length, 1);
    if (error == 0)
        error = buffer_put(held, handle->bytes, handle->length);
    if (error == 0)
        error = buffer_put(held, &found->guard, sizeof(found->guard));
    return error < 0 ? error : buffer_put(held, &found->mtime, sizeof(found->mtime));
}

static int put_record(struct nfs_walk *walk, const struct entry3 *entry)
{
    const struct attributes *found = &entry->attributes;
    bool is_linked = found->links > 1;
    struct change change = change_of(found);
    change_complete(&change, walk->ask->file_bits, is_linked);
    struct scan_link link = {walk->records.length, found->fsid & INT64_MAX, found->fileid};
    int error =
        changes_put_change(&walk->records, KIND_CHANGE, &change, entry->name, entry->length);
    if (error == 0 && is_linked)
        error = buffer_put(&walk->links, &link, sizeof(link));
    walk->count++;
    return error < 0 ? error : put_held(&walk->held, &entry->handle, found);
}

void judge_entry(struct nfs_walk *walk, struct node *node, const struct entry3 *entry,
                 bool counting)
{
    const struct attributes *found = &entry->attributes;
    struct tally *tally = &node->tally;
    tally->entries += counting;
    if (!S_ISREG(found->mode)) {
        tally->others += counting;
        return;
    }
    bool is_linked = found->links > 1;
    tally->files += counting;
    tally->hard_linked += is_linked && counting;
    if (is_outside(walk, found) || (is_linked && walk->ask->skip_links)) {
        tally->skipped++;
    } else if (complies(walk, walk->ask->file_bits, found)) {
        tally->compliant++;
    } else {
        int error = put_record(walk, entry);
        if (error < 0)
            walk->error = error;
    }
}

/* ---- what is kept, and what is not */

void give_up(struct node *node)
{
    node->reading++;
    node->questions = node->names = 0;
    node->tally = (struct tally){0};
    node->segments = node->last = NULL;
    node->children = NULL;
}

void keep(struct nfs_walk *walk, struct node *node)
{
    tally_add(&walk->found->tally, &node->tally);
    for (struct segment *segment = node->segments; segment; segment = segment->next)
        walk->found->count += segment->count;
    if (node->segments)
        mark(node);
    node->tally = (struct tally){0};
}

/* ---- paths */

int node_path(struct nfs_walk *walk, const struct node *node, const void *name, size_t length)
{
    size_t size = length;
    for (const struct node *at = node; at; at = at->parent)
        size += at->length + 1;
    walk->path.length = 0;
    int error = buffer_reserve(&walk->path, size + 1);
    if (error < 0)
        return error;
    /* From its end: */
    uint8_t *begin = walk->path.bytes, *to = begin + size;
    if (length > 0)
        memcpy(to -= length, name, length);
    for (const struct node *at = node; at; at = at->parent) {
        if (to != begin + size && at->length > 0)
            *--to = '/';
        to -= at->length;
        memcpy(to, at->name, at->length);
    }
    walk->path.length = (size_t)(begin + size - to);
    memmove(begin, to, walk->path.length);
    return 0;
}

/* ---- frames */

static int write_segment(struct nfs_walk *walk, const struct segment *segment)
{
    struct scan_result *found = walk->found;
    size_t start = found->changes.length;
    int error = buffer_put(&found->changes, walk->records.bytes + segment->from,
                           segment->to - segment->from);
    if (error == 0 && walk->ask->hold)
        error = buffer_put(&walk->result->held, walk->held.bytes + segment->held_from,
                           segment->held_to - segment->held_from);
    const struct scan_link *links = (const void *)walk->links.bytes;
    for (size_t i = segment->link_from; error == 0 && i < segment->link_to; i++) {
        struct scan_link link = links[i];
        link.offset = link.offset - segment->from + start;
        error = buffer_put(&found->links, &link, sizeof(link));
    }
    return error;
}

static int write_enter(struct nfs_walk *walk, const struct node *node)
{
    struct buffer *changes = &walk->found->changes;
    int error = changes_put_enter(changes, node->name, node->length, node->inode);
    for (struct segment *at = node->segments; error == 0 && at; at = at->next)
        error = write_segment(walk, at);
    return error;
}

static int write_leave(struct nfs_walk *walk, const struct node *node)
{
    struct buffer *changes = &walk->found->changes;
    if (!node->must_change)
        return changes_put_leave(changes);
    int error = changes_put_change(changes, KIND_OWN, &node->own, "", 0);
    if (error == 0 && walk->ask->hold)
        error = put_held(&walk->result->held, &node->handle, &node->attributes);
    return error;
}

static struct node *next_marked(struct node *node)
{
    while (node && !node->is_marked)
        node = node->sibling;
    return node;
}

int write_frames(struct nfs_walk *walk)
{
    if (walk->found->count == 0)
        return 0;
    int error = changes_put_header(&walk->found->changes, walk->ask->gid);
    struct node *node = next_marked(walk->tops);
    while (node && error == 0) {
        error = write_enter(walk, node);
        struct node *child = next_marked(node->children);
        if (child) {
            node = child;
            continue;
        }
        while (node && error == 0) {
            error = write_leave(walk, node);
            struct node *next = next_marked(node->sibling);
            node = next ? next : node->parent;
            if (next)
                break;
        }
    }
    return error;
}
