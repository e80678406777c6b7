/* Filling and freeing of results (result.h). */

#include "core/result.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/packing.h"

/* ---- scan */

void scan_result_free(struct scan_result *result)
{
    group_writer_free(&result->rest);
    group_writer_free(&result->again[false]);
    group_writer_free(&result->again[true]);
    group_writer_free(&result->deferred);
    buffer_free(&result->changes);
    buffer_free(&result->text);
    buffer_free(&result->failures);
    buffer_free(&result->links);
    buffer_free(&result->notices);
}

void tally_add(struct tally *tally, const struct tally *more)
{
    tally->entries += more->entries;
    tally->directories += more->directories;
    tally->files += more->files;
    tally->others += more->others;
    tally->compliant += more->compliant;
    tally->skipped += more->skipped;
    tally->vanished += more->vanished;
    tally->failed += more->failed;
    tally->hard_linked += more->hard_linked;
}

int scan_put_deferred(struct scan_result *result, const void *path, size_t length, size_t same,
                      uint64_t inode)
{
    int status = group_begin(&result->deferred, path, length, same, inode);
    if (status == 0)
        status = group_name(&result->deferred, HINT_SELF, "", 0);
    if (status == 0)
        group_end(&result->deferred);
    return status;
}

int scan_put_text(struct scan_result *result, const struct buffer *path, struct text *text)
{
    *text = (struct text){result->text.length, path->length};
    return buffer_put(&result->text, path->bytes, path->length);
}

int scan_put_failure(struct scan_result *result, const struct buffer *path, const char *operation,
                     int error)
{
    struct scan_failure failure = {.operation = operation, .error = -error};
    int status = scan_put_text(result, path, &failure.path);
    result->tally.failed++;
    return status < 0 ? status : buffer_put(&result->failures, &failure, sizeof(failure));
}

int scan_put_notice(struct scan_result *result, const struct buffer *path, const char *kind)
{
    struct scan_notice notice = {.kind = kind};
    int status = scan_put_text(result, path, &notice.path);
    return status < 0 ? status : buffer_put(&result->notices, &notice, sizeof(notice));
}

/*
 * Each name of a group fails, and is counted if it was not yet: no later look will find it again.
 */
static int fail_names(struct scan_result *result, const struct group_reader *group, int error,
                      bool is_counting, struct buffer *path)
{
    struct tally *tally = &result->tally;
    struct name name;
    const uint8_t *at = group->names, *end = at + group->names_length;
    int status = 0;
    while (status == 0 && group_next_name(&at, end, &name)) {
        bool is_directory = name.hint == HINT_DIRECTORY;
        if (is_counting && (is_directory || name.hint == HINT_ENTRY)) {
            tally->entries++;
            *(is_directory ? &tally->directories : &tally->files) += 1;
        }
        status = group_name_path(group, &name, path);
        if (status == 0)
            status = scan_put_failure(result, path, hint_operation(name.hint), error);
    }
    return status;
}

int scan_put_lost_group(struct scan_result *result, const struct group_reader *group, int error,
                        bool retries, bool is_counting, struct buffer *path)
{
    if (group->walks && is_counting) {
        result->tally.entries++;
        result->tally.directories++;
    }
    if (retries)
        return group_put_copy(&result->again[group->walks || !is_counting], group, 0);
    return fail_names(result, group, error, is_counting, path);
}

bool error_is_transient(int error)
{
    switch (error) {
    case -EIO:
    case -ETIMEDOUT:
    case -ENOSPC:
    case -EDQUOT:
    case -ESTALE:
        return true;
    default:
        return false;
    }
}

/* ---- apply */

void apply_result_free(struct apply_result *result)
{
    free(result->outcomes);
    free(result->identities);
    buffer_free(&result->failures);
    buffer_free(&result->stamps);
    buffer_free(&result->came);
}

int apply_result_reserve(struct apply_result *result, size_t count)
{
    result->outcomes = malloc(count + 1);
    result->identities = calloc(count + 1, sizeof(uint64_t));
    return result->outcomes && result->identities ? 0 : -ENOMEM;
}

void apply_set_identity(struct apply_result *result, size_t index, uint64_t identity)
{
    set64(result->identities + index * sizeof(identity), identity);
}

int apply_put_failure(struct apply_result *result, size_t index, const char *operation, int error,
                      const char *note)
{
    struct apply_failure failure = {.index = index, .operation = operation, .error = -error};
    snprintf(failure.note, sizeof(failure.note), "%s", note);
    return buffer_put(&result->failures, &failure, sizeof(failure));
}

/* Return the aspects in which the attributes of an entry differ. */
static unsigned differences(struct attrs one, struct attrs other)
{
    uint32_t bits = one.mode ^ other.mode;
    uint32_t setgid = S_ISDIR(one.mode) ? S_ISGID : 0;
    return (one.uid != other.uid ? ASPECT_OWNER : 0) | (one.gid != other.gid ? ASPECT_GROUP : 0) |
           (bits & setgid ? ASPECT_SETGID : 0) | (bits & ~setgid ? ASPECT_MODE : 0);
}

int apply_read_back(struct apply_result *result, size_t index, struct attrs before,
                    struct attrs wanted, struct attrs came)
{
    unsigned set = differences(before, wanted), lost = differences(wanted, came);
    if (S_ISDIR(wanted.mode) && wanted.mode & S_ISGID)
        set |= ASPECT_SETGID; /* what chmod leaves it as may be dropped, too */
    if (!lost) {
        result->kept |= (uint8_t)set;
        return OUTCOME_CHANGED;
    }
    result->is_mismatch |= (set & lost & ~(unsigned)result->kept) != 0;
    struct apply_came put = {index, came};
    int status = apply_put_failure(result, index, "read back", 0, "");
    if (status == 0)
        status = buffer_put(&result->came, &put, sizeof(put));
    return status < 0 ? status : OUTCOME_FAILED;
}

int apply_put_stamp(struct apply_result *result, size_t index, int64_t ctime)
{
    struct apply_stamp stamp = {index, ctime};
    return buffer_put(&result->stamps, &stamp, sizeof(stamp));
}

void apply_note_ctime(struct apply_result *result, int64_t ctime)
{
    if (result->first_ctime == 0 || ctime < result->first_ctime)
        result->first_ctime = ctime;
}

bool outcome_is_success(int outcome)
{
    return outcome == OUTCOME_CHANGED || outcome == OUTCOME_SETID_OFF;
}

bool refusal_ends(int error, const char *note, bool succeeded, int64_t limit, int64_t *denied)
{
    bool is_noted = note[0] != '\0';
    if (error == -EROFS && !is_noted)
        return true;
    bool is_denied = error == -EROFS || ((error == -EPERM || error == -EACCES) && !is_noted);
    return is_denied && !succeeded && ++*denied == limit;
}
