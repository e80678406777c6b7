/*
 * What must hold for replies that were read, and for the results of scan and apply (fuzz_nfs.h).
 */

#include "fuzz_nfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "fuzz_server.h"
#include "nfs/proto/nfs3.h"
#include "nfs/proto/nfs4.h"

/* ---- the readers of replies */

static void check_handle(const struct proto_handle *handle)
{
    check(handle->length <= PROTO_MAX_HANDLE, "the length of a handle");
}

static void read_all_entries(const struct protocol *protocol, struct xdr_in *reply, bool is_plain)
{
    const uint8_t *begin = reply->at;
    struct proto_listing listing = {.is_plain = is_plain};
    struct proto_entry entry = {0};
    if (protocol->read_listing(reply, &listing) < 0)
        return;
    check(listing.verifier >= begin && listing.verifier + PROTO_VERIFIER <= reply->end,
          "a verifier outside of its reply");
    int more;
    while ((more = protocol->read_entry(reply, &listing, &entry)) > 0) {
        check(proto_check_name(entry.name, entry.length) == 0, "the name of an entry");
        check(entry.name >= begin && entry.name + entry.length <= reply->end,
              "a name outside of its reply");
        check_handle(&entry.handle);
        check(reply->at - begin > 8, "an entry of no bytes");
    }
    check(more == 0 || more == -EBADMSG, "the result of an entry");
}

static void read_changes(const struct protocol *protocol, struct xdr_in *reply, uint8_t how)
{
    struct proto_setattr sets[PROTO_MAX_BATCH];
    int errors[PROTO_MAX_BATCH];
    struct proto_attrs after = {0};
    size_t number = 1 + how % (protocol->version == 4 ? PROTO_MAX_BATCH : 1);
    for (size_t i = 0; i < PROTO_MAX_BATCH; i++) {
        sets[i] = (struct proto_setattr){.guarded = how >> (3 + i % 5) & 1};
        errors[i] = 1;
    }
    size_t tried = protocol->read_setattr(reply, sets, number, errors, &after);
    check(tried >= 1 && tried <= number, "how many changes were tried");
    for (size_t i = 0; i < tried; i++)
        check(errors[i] <= 0 || errors[i] == PROTO_DELAY, "the result of a change");
}

void read_reply(uint8_t reader, uint8_t how, const uint8_t *bytes, size_t length)
{
    const struct protocol *protocol = how & 1 ? &nfs4_protocol : &nfs3_protocol;
    struct xdr_in reply = {.at = bytes, .end = bytes + length};
    struct proto_handle handle = {0};
    struct proto_attrs found = {0};
    uint64_t used;
    uint16_t port;
    int error = 0;
    switch (reader) {
    case 0:
        error = protocol->read_status(&reply);
        error = error == PROTO_DELAY ? 0 : error;
        break;
    case 1:
        error = protocol->read_getattr(&reply, &found);
        break;
    case 2:
        error = protocol->read_lookup(&reply, &handle, &found);
        check_handle(&handle);
        check(error || handle.length > 0, "an entry without a handle");
        break;
    case 3:
        read_all_entries(protocol, &reply, how >> 1 & 1);
        break;
    case 4:
        read_changes(protocol, &reply, how >> 1);
        break;
    case 5:
        error = nfs3_read_mount(&reply, &handle);
        check_handle(&handle);
        break;
    case 6:
        error = nfs3_read_port(&reply, &port);
        break;
    default:
        error = nfs3_read_fsstat(&reply, &used);
    }
    check(error <= 0, "an error that is none");
    check(reply.at >= bytes && reply.at <= bytes + length, "read beyond the end");
}

/* ---- results of a scan */

static void check_text(const struct nfs_scan_result *result, struct text text)
{
    check(text.at <= result->found.text.length &&
              text.length <= result->found.text.length - text.at,
          "a path outside of the text");
}

static void check_groups(const struct group_writer *groups)
{
    struct group_reader reader = {.body = groups->body.bytes, .length = groups->body.length};
    size_t names = 0;
    int more;
    while ((more = group_read(&reader)) > 0)
        names += reader.count;
    check(more == 0 && names == groups->names, "groups that do not decode");
    group_reader_free(&reader);
}

/* Each change has its handle, guard, mtime and birth. */
static void check_handles(const struct nfs_scan_result *result, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        check(at < result->handles.length && result->handles.bytes[at] <= PROTO_MAX_HANDLE,
              "a change without its handle");
        at += 1 + (size_t)result->handles.bytes[at] + 3 * sizeof(uint64_t);
    }
    check(at == result->handles.length, "handles of no changes");
}

static void check_links(const struct nfs_scan_result *result)
{
    const struct scan_link *links = (const void *)result->found.links.bytes;
    for (size_t i = 0; i < result->found.links.length / sizeof(*links); i++) {
        struct frame frame;
        size_t at = links[i].offset;
        check(at < result->found.changes.length &&
                  frame_read(result->found.changes.bytes, result->found.changes.length, &at,
                             &frame) == 0,
              "a link that is nowhere");
        check(frame.kind == KIND_CHANGE && frame.change.flags & FLAG_LINKED &&
                  frame.change.inode == links[i].inode,
              "a link of something else");
    }
}

/*
 * Read the frames once more: what is changed is a file or, at its end, a directory; return how
 * many.
 */
static size_t check_frames(const struct buffer *changes)
{
    struct ids ids;
    size_t at, all, count = 0;
    struct frame frame;
    if (changes->length == 0)
        return 0;
    check(changes_check(changes->bytes, changes->length, &ids, &at, &all) == 0 &&
              (ids.uid == NO_ID || ids.uid == NEW_UID) && ids.gid == NEW_GID && all > 0,
          "changes that do not decode");
    while (at < changes->length) {
        check(frame_read(changes->bytes, changes->length, &at, &frame) == 0, "a frame");
        if (frame.kind != KIND_CHANGE && frame.kind != KIND_OWN)
            continue;
        check((frame.change.mode & S_IFMT) == (frame.kind == KIND_OWN ? S_IFDIR : S_IFREG),
              "a change of the wrong type");
        count++;
    }
    check(count == all, "frames that are not counted");
    return count;
}

void check_scan(const struct nfs_scan_request *request, const struct nfs_scan_result *result)
{
    const struct tally *tally = &result->found.tally;
    size_t count = check_frames(&result->found.changes);
    check((int64_t)count == result->found.count, "how many changes there are");
    check_handles(result, request->retain ? count : 0);
    check_links(result);
    check_groups(&result->found.rest);
    check_groups(&result->found.again[false]);
    check_groups(&result->found.again[true]);
    check_groups(&result->found.deferred);
    if (result->is_wide) {
        check_text(result, result->wide_path);
        check(result->wide.handle.length > 0, "a wide directory without a handle");
        check_handle(&result->wide.handle);
    }
    const struct scan_failure *failures = (const void *)result->found.failures.bytes;
    for (size_t i = 0; i < result->found.failures.length / sizeof(*failures); i++) {
        check_text(result, failures[i].path);
        check(failures[i].error > 0 && failures[i].operation, "a failure of no error");
    }
    check(tally->entries >= 0 && tally->directories >= 0 && tally->files >= 0 &&
              tally->others >= 0 && tally->skipped >= 0 && tally->compliant >= 0 &&
              tally->vanished >= 0 && tally->failed >= 0 && tally->hard_linked >= 0,
          "a tally below zero");
    check(tally->failed == (int64_t)(result->found.failures.length / sizeof(*failures)),
          "how many failures there are");
    const struct scan_notice *notices = (const void *)result->found.notices.bytes;
    size_t skipped = result->found.notices.length / sizeof(*notices);
    for (size_t i = 0; i < skipped; i++)
        check_text(result, notices[i].path);
    check(tally->skipped == (int64_t)skipped, "how many entries are skipped");
}

/* ---- results of an apply */

void check_apply(const struct nfs_apply_request *request, const struct apply_result *result,
                 int error)
{
    struct ids ids;
    size_t first, count;
    if (changes_check(request->changes, request->length, &ids, &first, &count) < 0) {
        check(error == -EINVAL, "changes that do not decode were applied");
        return;
    }
    check(error == 0 || (error == -EINVAL && request->handles_length > 0) || is_excused(error) ||
              (error == -ECANCELED && *request->stop),
          "apply failed");
    if (error)
        return;
    check(result->count == count, "how many outcomes there are");
    const struct apply_failure *failures = (const void *)result->failures.bytes;
    const struct apply_stamp *stamps = (const void *)result->stamps.bytes;
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        check(result->outcomes[i] <= OUTCOME_SETID_OFF, "a change without an outcome");
        check(request->verb == VERB_BACK || result->outcomes[i] != OUTCOME_SETID_OFF,
              "set-id bits that stay off, though nothing is put back");
        failed += result->outcomes[i] == OUTCOME_FAILED;
    }
    check(failed == result->failures.length / sizeof(*failures), "how many failures there are");
    for (size_t i = 0; i < failed; i++)
        check(failures[i].index < count && result->outcomes[failures[i].index] == OUTCOME_FAILED,
              "a failure of no change");
    for (size_t i = 0; i < result->stamps.length / sizeof(*stamps); i++)
        check(stamps[i].index < count, "a stamp of no change");
}
