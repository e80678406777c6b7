/*
 * The NFS client (native/nfs/ and core/) against a server that is hostile, broken or both.
 *
 *     fuzz_nfs FILE...          (built with gcc) must succeed
 *     fuzz_nfs FILE steps N     the same with another limit of steps; must fail if it is too small
 *     fuzz_nfs overrun READER   gives a wrong length of a reply; the sanitizer must find it
 *
 * Built with libFuzzer (tests/fuzz/fuzz.py) it is the fuzzer's target. The input's first byte tells
 * how the rest is used:
 *
 *     decoders   one reader gets the input as a reply
 *     client     open, scan, apply against the server of fuzz_server.c; the input is its script
 *     raw        scan and apply, of units and changes that are made of the input
 *
 * Its highest bits tell whether the server has habits (fuzz_server.h), and whether memory is
 * scarce.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "fuzz_nfs.h"
#include "fuzz_server.h"
#include "nfs/apply.h"
#include "nfs/scan.h"

#define MAX_UNITS 8
#define EXCLUDED  "n3"
#define SNAPSHOT  "n4"

static bool may_fail;

bool is_excused(int error)
{
    return (error == -ENOMEM && may_fail) || (error == -EPROTOTYPE && script.deviates);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- what is done with an input */

static void read_input(void)
{
    uint8_t reader = take_below(READERS), how = take8();
    size_t length = (size_t)(script.end - script.at);
    uint8_t *copy = malloc(length + 1); /* of its exact size, for the sanitizer */
    check(copy, "no memory");
    copy = realloc(copy, length ? length : 1);
    memcpy(copy, script.at, length);
    read_reply(reader, how, copy, length);
    free(copy);
}

static int scan_share(const struct nfs_scan_request *request, struct nfs_scan_result *result)
{
    hears_stop = is_at_work = true;
    int error = nfs_scan(request, result);
    hears_stop = is_at_work = false;
    return error;
}

static bool are_all_changed(const struct apply_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        if (result->outcomes[i] != OUTCOME_CHANGED)
            return false;
    return true;
}

static void apply_once(struct nfs_client *client, enum verb verb, const uint8_t *changes,
                       size_t length, const uint8_t *handles, size_t handles_length, bool is_honest)
{
    struct nfs_apply_request request = {
        .client = client,
        .changes = changes,
        .length = length,
        .verb = verb,
        .deny_limit = 3,
        .known = {.born_before = 1, .changed_until = verb == VERB_BACK ? INT64_MAX : 0},
        .handles = handles,
        .handles_length = handles_length,
        .stop = &stop,
    };
    struct apply_result result = {0};
    hears_stop = is_at_work = true;
    int error = nfs_apply(&request, &result);
    hears_stop = is_at_work = false;
    check_apply(&request, &result, error);
    check(!is_honest || script.deviates || stop || are_all_changed(&result),
          "an honest server's failure");
    apply_result_free(&result);
}

/* ---- a session */

struct unit {
    struct group_writer groups;
    bool is_wide, counted, last_try;
    struct nfs_cursor cursor;
    uint8_t path[4096];
    size_t path_length;
};

struct session {
    struct nfs_client *client;
    struct nfs_scan_request scan;
    uint8_t verbs; /* bits: which follow FORWARD */
    bool retains;
    struct unit units[MAX_UNITS];
    size_t unit_count, done;
    bool is_complete; /* the units that were left over are done, too */
};

static struct session session;

static const uint8_t EXCLUDES[] = "\2" EXCLUDED "\4none";
static const uint8_t SNAPSHOTS[] = "\2" SNAPSHOT;

/* Return what the guide makes of each mode (policy.py, packed_modes). */
static const uint16_t *guide_modes(void)
{
    static uint16_t modes[2 * MODES];
    for (uint32_t mode = 0; mode < MODES; mode++) {
        uint32_t file = mode & ~(uint32_t)S_ISUID;
        if (mode & S_IXGRP)
            file &= ~(uint32_t)S_ISGID;
        modes[mode] = (uint16_t)(mode | 02070 | ((mode & 02070) == 02070 ? MODE_COMPLIES : 0));
        modes[MODES + mode] = (uint16_t)(file | 060 | ((mode & 060) == 060 ? MODE_COMPLIES : 0));
    }
    return modes;
}

static void set_scan(void)
{
    uint8_t options = take8();
    session.retains = options & 1;
    session.scan = (struct nfs_scan_request){
        .policy.ids = {options & 32 ? NEW_UID : NO_ID, NEW_GID},
        .policy.modes = guide_modes(),
        .excludes = EXCLUDES,
        .excludes_length = sizeof(EXCLUDES) - 1,
        .snapshots = SNAPSHOTS,
        .snapshots_length = sizeof(SNAPSHOTS) - 1,
        .policy.skip_links = options & 2,
        .cross = options & 4,
        .retain = session.retains,
        .seconds = options & 8 ? 1e9 : 3,
        .stop = &stop,
    };
    session.scan.entries = 1 + take8();
    session.scan.changes = 1 + take8();
    session.scan.wide = 1 + (size_t)take_below(32);
    session.verbs = take8();
    stop_at = options & 16 ? 1 + 2 * (long)take8() : 0;
}

static void add_groups(struct group_writer *groups, bool counted, bool last_try)
{
    if (groups->names == 0)
        return;
    if (session.unit_count == MAX_UNITS) {
        session.is_complete = false;
        return;
    }
    struct unit *unit = &session.units[session.unit_count++];
    *unit = (struct unit){.groups = *groups, .counted = counted, .last_try = last_try};
    *groups = (struct group_writer){0};
}

static void add_wide(const struct nfs_scan_result *result)
{
    if (!result->is_wide)
        return;
    if (session.unit_count == MAX_UNITS || result->wide_path.length > sizeof(session.units->path)) {
        session.is_complete = false;
        return;
    }
    struct unit *unit = &session.units[session.unit_count++];
    *unit = (struct unit){.is_wide = true, .cursor = result->wide};
    unit->path_length = result->wide_path.length;
    if (unit->path_length > 0)
        memcpy(unit->path, result->found.text.bytes + result->wide_path.at, unit->path_length);
}

static void apply_all(const struct nfs_scan_result *result)
{
    uint8_t *copy = malloc(result->found.changes.length),
            *handles = malloc(result->handles.length + 1);
    check(copy && handles, "no memory");
    memcpy(copy, result->found.changes.bytes, result->found.changes.length);
    if (result->handles.length > 0)
        memcpy(handles, result->handles.bytes, result->handles.length);
    bool forward = !(session.verbs & 1);
    if (forward)
        apply_once(session.client, VERB_FORWARD, copy, result->found.changes.length, handles,
                   result->handles.length, true);
    for (enum verb verb = VERB_SETTLE; verb <= VERB_BACK; verb++)
        if (session.verbs >> verb & 1)
            apply_once(session.client, verb, copy, result->found.changes.length, handles, 0, false);
    free(copy);
    free(handles);
}

static void scan_unit(struct unit *unit)
{
    struct nfs_scan_request request = session.scan;
    struct nfs_scan_result result;
    request.body = unit->groups.body.bytes;
    request.body_length = unit->groups.body.length;
    request.cursor = unit->is_wide ? &unit->cursor : NULL;
    request.cursor_path = unit->path;
    request.cursor_path_length = unit->path_length;
    request.counted = unit->counted;
    request.last_try = unit->last_try;
    int error = scan_share(&request, &result);
    check(error == 0 || is_excused(error), "scan failed");
    if (error) {
        nfs_scan_result_free(&result);
        group_writer_free(&unit->groups);
        return;
    }
    check_scan(&request, &result);
    check(script.deviates || result.found.tally.failed == 0, "an honest server's failure");
    add_groups(&result.found.again[false], false, true);
    add_groups(&result.found.again[true], true, true);
    add_groups(&result.found.rest, true, false);
    add_groups(&result.found.deferred, true, true);
    add_wide(&result);
    if (result.found.count > 0)
        apply_all(&result);
    nfs_scan_result_free(&result);
    group_writer_free(&unit->groups);
}

/* A unit of the whole share. */
static void add_root(void)
{
    struct group_writer groups = {0};
    check(group_begin(&groups, "", 0, 0, server_root_inode()) == 0 &&
              group_name(&groups, HINT_WALK, "", 0) == 0,
          "no memory");
    group_end(&groups);
    add_groups(&groups, false, false);
}

static void scan_all(void)
{
    session.is_complete = true;
    add_root();
    for (; session.done < session.unit_count; session.done++)
        scan_unit(&session.units[session.done]);
    if (session.is_complete && !script.deviates && !stop && session.verbs == 0 &&
        !session.scan.policy.skip_links && !session.scan.cross)
        check(server_complies(&session.scan.policy, (const char *const[]){EXCLUDED, SNAPSHOT}),
              "an honest server's share is not migrated");
}

static bool open_share(int version, uint8_t options)
{
    struct nfs_client_settings settings = {
        .server = "server",
        .path = SHARE,
        .version = version,
        .nfs_port = options & 1 ? 2049 : 0,
        .mount_port = options & 2 ? 20048 : 0,
        .calls = 1 + options / 4 % 8,
        .patience = options & 128 ? 2 : 60,
        /* With a domain, numbers that have a name here are refused. */
        .domain = script.deviates && options & 64 ? "example.org" : "",
    };
    const char *operation = NULL;
    max_unsent = (settings.calls * PROTO_BATCH + PROTO_MAX_BATCH + 8) * RPC_MAX_CALL;
    is_at_work = true;
    int error = nfs_client_open(&settings, &session.client, &operation);
    is_at_work = false;
    check(error <= 0 && operation, "an error that is none");
    check(script.deviates || error == 0, "an honest server's share did not open");
    return error == 0;
}

/* ---- units and changes that the input makes */

static void put_path_of_input(uint8_t *path, size_t *length)
{
    uint8_t how = take8();
    *length = 0;
    if (how < 8) {
        *length = (size_t)snprintf((char *)path, 16, "n%u", how);
    } else if (how < 16) {
        *length = (size_t)snprintf((char *)path, 32, "n%u/n%u", how % 8, how);
    } else if (how < 18) { /* the longest name, and one that is too long */
        *length = how == 16 ? 255 : 4000;
        memset(path, 'y', *length);
    } else if (how < 64) {
        *length = take_bytes(path, how);
    }
}

static void put_change_of_input(struct buffer *changes, enum kind kind)
{
    uint8_t name[4096];
    size_t length = 0;
    struct change change = {
        .flags = take8(),
        .mode = (uint16_t)(take8() << 8 | take8()),
        .new_mode = (uint16_t)(take8() << 8 | take8()),
        .uid = take8(),
        .gid = take8(),
        .inode = 100 + (uint64_t)take8(),
        .size = take8(),
        .mtime = take8(),
    };
    if (kind == KIND_CHANGE)
        put_path_of_input(name, &length);
    changes_put_change(changes, kind, &change, name, length);
}

static void apply_input(void)
{
    struct buffer changes = {0};
    uint8_t handles[512], path[4096], how = take8(), verb = how % (VERB_BACK + 1);
    size_t handles_length = take_bytes(handles, take8()), length;
    bool has_owner = how >= 128;
    changes_put_header(&changes, true, (struct ids){has_owner ? NEW_UID : NO_ID, NEW_GID});
    unsigned depth = 0;
    for (unsigned left = take_below(64); left > 0; left--) {
        uint8_t kind = take_below(8);
        if (kind < 3 || depth == 0) {
            put_path_of_input(path, &length);
            changes_put_enter(&changes, path, length, 100 + (uint64_t)take8());
            depth++;
        } else if (kind < 6) {
            put_change_of_input(&changes, KIND_CHANGE);
        } else {
            depth--;
            if (kind == 6)
                changes_put_leave(&changes);
            else
                put_change_of_input(&changes, KIND_OWN);
        }
    }
    while (depth-- > 0)
        changes_put_leave(&changes);
    uint8_t flips = take_below(4);
    for (; flips > 0 && changes.length > 0; flips--)
        changes.bytes[(size_t)(take8() << 8 | take8()) % changes.length] = take8();
    uint8_t *copy = malloc(changes.length);
    check(copy, "no memory");
    memcpy(copy, changes.bytes, changes.length);
    apply_once(session.client, verb, copy, changes.length, handles, handles_length, false);
    free(copy);
    buffer_free(&changes);
}

static void scan_input(void)
{
    static const uint8_t HINTS[] = {HINT_WALK, HINT_SELF, HINT_DIRECTORY, HINT_ENTRY};
    struct group_writer groups = {0};
    uint8_t path[4096], name[4096];
    size_t path_length, length;
    for (unsigned left = take_below(8); left > 0; left--) {
        put_path_of_input(path, &path_length);
        group_begin(&groups, path, path_length, 0, take_below(32) ? 100 + (uint64_t)take8() : 0);
        for (unsigned names = take_below(8); names > 0; names--) {
            uint8_t hint = HINTS[take_below(4)];
            put_path_of_input(name, &length);
            group_name(&groups, hint, name, hint == HINT_WALK || hint == HINT_SELF ? 0 : length);
        }
        group_end(&groups);
    }
    for (unsigned flips = take_below(4); flips > 0 && groups.body.length > 0; flips--)
        groups.body.bytes[(size_t)(take8() << 8 | take8()) % groups.body.length] = take8();
    struct nfs_scan_request request = session.scan;
    struct nfs_scan_result result;
    request.body = groups.body.bytes;
    request.body_length = groups.body.length;
    request.counted = take8();
    int error = scan_share(&request, &result);
    check(error == 0 || error == -EINVAL || is_excused(error), "scan failed");
    if (error == 0)
        check_scan(&request, &result);
    nfs_scan_result_free(&result);
    group_writer_free(&groups);
}

static void scan_cursor_of_input(void)
{
    struct nfs_cursor cursor = {.inode = take64(), .cookie = take64()};
    cursor.handle.length = take8();
    take_bytes(cursor.handle.bytes, take_below(129));
    struct nfs_scan_request request = session.scan;
    struct nfs_scan_result result;
    request.cursor = &cursor;
    request.cursor_path = (const uint8_t *)"n2";
    request.cursor_path_length = 2;
    int error = scan_share(&request, &result);
    bool is_good = cursor.handle.length > 0 && cursor.handle.length <= PROTO_MAX_HANDLE;
    check(error == (is_good ? 0 : -EINVAL) || is_excused(error), "scan of a place");
    if (error == 0)
        check_scan(&request, &result);
    nfs_scan_result_free(&result);
}

static void work(bool is_raw)
{
    session.scan.client = session.client;
    if (!is_raw) {
        scan_all();
        return;
    }
    script.deviates = true;
    uint8_t what = take_below(4);
    if (what == 0)
        scan_input();
    else if (what == 1)
        scan_cursor_of_input();
    else
        apply_input();
}

static void run_session(int version, bool has_habits, bool is_raw)
{
    session = (struct session){0};
    may_fail = until_failure >= 0;
    network_open(has_habits);
    server_open(version);
    set_scan();
    uint8_t options = take8();
    is_open = open_share(version, options);
    if (is_open) {
        work(is_raw);
        uint64_t used;
        check(nfs_client_used_inodes(session.client, &used) <= 0, "an error that is none");
        for (size_t i = session.done; i < session.unit_count; i++)
            group_writer_free(&session.units[i].groups);
        nfs_client_close(session.client);
    }
    network_close();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script = (struct script){.at = data, .end = data + size};
    uint8_t what = take8();
    until_failure = what & 64 && what % 8 ? take8() : -1;
    switch (what % 8) {
    case 0:
        read_input();
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        run_session(what % 2 ? 4 : 3, what & 128, false);
        break;
    default:
        run_session(what % 2 ? 4 : 3, what & 128, true);
    }
    return 0;
}

#ifndef LIBFUZZER

/* Let a reader believe in 8 bytes more than there are, for each length. */
static void overrun(uint8_t reader)
{
    for (uint8_t how = 0; how < 2; how++)
        for (size_t length = 0; length < 256; length++) {
            uint8_t *bytes = malloc(length + 1);
            check(bytes, "no memory");
            bytes = realloc(bytes, length ? length : 1);
            memset(bytes, 0, length);
            read_reply(reader, how, bytes, length + 8);
            free(bytes);
        }
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    check(file && fseek(file, 0, SEEK_END) == 0, path);
    size_t size = (size_t)ftell(file);
    uint8_t *bytes = malloc(size + 1);
    rewind(file);
    check(bytes && fread(bytes, 1, size, file) == size, path);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "overrun") == 0) {
        overrun((uint8_t)atoi(argv[2]));
        return 0;
    }
    if (argc == 4 && strcmp(argv[2], "steps") == 0) {
        max_steps = atol(argv[3]);
        argc = 2;
    }
    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    return 0;
}

#endif
