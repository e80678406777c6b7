/*
 * Shows what packed bytes mean to native/core and native/mapfile, and packs them again; and the
 * status of a file. Bytes are arguments and output in hex.
 *
 *     show_packed changes|groups BYTES     their values, a line each; last, packed again
 *     show_packed known CAME IDENTITIES    identity, mode, owner and group for each one
 *     show_packed convert VERSION ENTRIES  v2 entries
 *     show_packed check ENTRIES            the first that is malformed
 *     show_packed status DIRECTORY NAME    size and mtime (ns), by each call that tells
 *
 * Exits with 1 and the errno if the bytes are refused, or a call fails.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "core/groups.h"
#include "core/known.h"
#include "core/system.h"
#include "mapfile/entries.h"

static int must(int result)
{
    if (result < 0) {
        printf("%s\n", strerrorname_np(-result));
        exit(1);
    }
    return result;
}

static struct buffer bytes_of(const char *hex)
{
    struct buffer bytes = {0};
    must(buffer_reserve(&bytes, strlen(hex) / 2 + 1));
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        bytes.bytes[bytes.length++] = (uint8_t)byte;
    return bytes;
}

static void show(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

static void show_frame(const struct frame *frame, struct buffer *again)
{
    const struct change *change = &frame->change;
    switch (frame->kind) {
    case KIND_ENTER:
        printf("enter %" PRIu64 " ", frame->inode);
        show(frame->name, frame->length);
        must(changes_put_enter(again, frame->name, frame->length, frame->inode));
        break;
    case KIND_LEAVE:
        printf("leave\n");
        must(changes_put_leave(again));
        break;
    default:
        printf("change %u %u %u %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRId64 " ",
               change->flags, change->mode, change->new_mode, change->uid, change->gid,
               change->inode, change->size, change->mtime);
        show(frame->name, frame->length);
        must(changes_put_change(again, frame->kind, change, frame->name, frame->length));
    }
}

static void show_changes(struct buffer changes)
{
    struct buffer again = {0};
    struct ids ids;
    size_t at, count;
    must(changes_check(changes.bytes, changes.length, &ids, &at, &count));
    bool is_bounded = changes_are_bounded(changes.bytes);
    printf("%d %" PRIu32 " %" PRIu32 " %zu\n", is_bounded, ids.uid, ids.gid, count);
    must(changes_put_header(&again, is_bounded, ids));
    while (at < changes.length) {
        struct frame frame;
        must(frame_read(changes.bytes, changes.length, &at, &frame));
        show_frame(&frame, &again);
    }
    show(again.bytes, again.length);
}

static void show_groups(struct buffer groups)
{
    struct group_reader reader = {.body = groups.bytes, .length = groups.length};
    struct group_writer again = {0};
    while (must(group_read(&reader))) {
        printf("group %" PRIu64 " ", reader.inode);
        show(reader.path.bytes, reader.path.length);
        must(group_begin(&again, reader.path.bytes, reader.path.length, 0, reader.inode));
        const uint8_t *at = reader.names;
        for (struct name name; group_next_name(&at, reader.names + reader.names_length, &name);) {
            printf("%c ", name.hint);
            show(name.bytes, name.length);
            must(group_name(&again, name.hint, name.bytes, name.length));
        }
        group_end(&again);
    }
    show(again.body.bytes, again.body.length);
}

static void show_known(struct buffer came, struct buffer identities)
{
    struct known known = {
        .came = came.bytes,
        .came_length = came.length,
        .identities = identities.bytes,
        .identities_length = identities.length,
    };
    must(known_is_valid(&known) ? 0 : -EINVAL);
    for (size_t i = 0; i < identities.length / 8; i++) {
        struct attrs attrs = {0};
        known_came(&known, i, &attrs);
        printf("%" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", known_identity(&known, i),
               attrs.mode, attrs.uid, attrs.gid);
    }
}

static void convert(int version, struct buffer entries)
{
    size_t count;
    must(mapfile_count_entries(version, entries.length, &count));
    uint8_t *converted = malloc(count * ENTRY_BYTES + 1);
    must(converted ? 0 : -ENOMEM);
    must(mapfile_convert_entries(version, entries.bytes, entries.length, converted));
    show(converted, count * ENTRY_BYTES);
}

static void check(struct buffer entries)
{
    size_t first;
    must(mapfile_check_entries(entries.bytes, entries.length, &first));
    printf("%zu\n", first);
}

static void show_stat(const struct stat *status)
{
    printf("%" PRId64 " %" PRId64 "\n", (int64_t)status->st_size, sys_nanoseconds(status->st_mtim));
}

static void show_status(const char *directory, const char *name)
{
    struct features newest = sys_probe_features(), oldest = {0};
    struct stat found;
    struct status status;
    int parent = must(sys_open_entry(AT_FDCWD, directory, READ_DIRECTORY));
    int fd = must(sys_open_beneath(parent, name, strlen(name), PIN, &newest));
    must(sys_entry_status(parent, name, &found));
    show_stat(&found);
    must(sys_pinned_status(fd, &found));
    show_stat(&found);
    must(sys_status(fd, &newest, &status));
    printf("%" PRIu64 " %" PRId64 "\n", status.size, status.mtime);
    must(sys_status(fd, &oldest, &status));
    printf("%" PRIu64 " %" PRId64 "\n", status.size, status.mtime);
}

int main(int argc, char **argv)
{
    const char *what = argc < 3 ? "" : argv[1];
    if (strcmp(what, "changes") == 0)
        show_changes(bytes_of(argv[2]));
    else if (strcmp(what, "groups") == 0)
        show_groups(bytes_of(argv[2]));
    else if (strcmp(what, "check") == 0)
        check(bytes_of(argv[2]));
    else if (strcmp(what, "known") == 0 && argc == 4)
        show_known(bytes_of(argv[2]), bytes_of(argv[3]));
    else if (strcmp(what, "convert") == 0 && argc == 4)
        convert(atoi(argv[2]), bytes_of(argv[3]));
    else if (strcmp(what, "status") == 0 && argc == 4)
        show_status(argv[2], argv[3]);
    else
        return 2;
    return 0;
}
