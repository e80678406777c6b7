/* Filling and freeing of results (result.h). */

#include "core/result.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
    buffer_free(&result->failures);
    buffer_free(&result->stamps);
}

int apply_put_failure(struct apply_result *result, size_t index, const char *operation, int error,
                      const char *note)
{
    struct apply_failure failure = {.index = index, .operation = operation, .error = -error};
    snprintf(failure.note, sizeof(failure.note), "%s", note);
    return buffer_put(&result->failures, &failure, sizeof(failure));
}

int apply_put_misread(struct apply_result *result, size_t index, uint32_t mode, uint32_t gid)
{
    char note[sizeof(((struct apply_failure *)NULL)->note)];
    snprintf(note, sizeof(note), "mode %04o, group %u", (unsigned)mode & 07777, (unsigned)gid);
    return apply_put_failure(result, index, "read back", 0, note);
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
