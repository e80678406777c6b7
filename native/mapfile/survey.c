/*
 * The survey (survey.h).
 *
 *     struct survey   one call: the directories that wait, and the one that is read
 *     struct name     (core/groups.h) a name in it; its hint is its type, as dirents have it
 */

#define _GNU_SOURCE
#include "mapfile/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "core/listing.h"
#include "core/paths.h"

#define FILE_FLAGS (O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

struct survey {
    const struct maps_survey_request *request;
    struct maps_survey_result *result;
    uint64_t device;
    struct buffer waiting; /* paths */
    struct buffer path;    /* of the directory that is read */
    int fd;
    bool leaves;         /* it has a group in `left` */
    struct buffer names; /* u8 type, u8 length, name; for each */
    size_t count;        /* of them */
};

/* ---- files */

static int leave_name(struct survey *survey, const struct name *name)
{
    struct group_writer *left = &survey->result->left;
    int result = 0;
    if (!survey->leaves)
        result = group_begin(left, survey->path.bytes, survey->path.length, 0, 0);
    survey->leaves = true;
    return result < 0 ? result : group_name(left, HINT_ENTRY, name->bytes, name->length);
}

/* Read what a map is: false if it is not plain, or cannot be read. */
static bool read_map(int directory, const char *path, struct stat *status, struct found_head *head)
{
    uint8_t raw[FOUND_HEAD_BYTES];
    int fd = sys_open_entry(directory, path, FILE_FLAGS);
    if (fd < 0)
        return false;
    bool is_read = sys_pinned_status(fd, status) == 0 && S_ISREG(status->st_mode);
    ssize_t got = is_read ? pread(fd, raw, sizeof(raw), 0) : -1;
    close(fd);
    return got >= 0 && found_read_head(raw, (size_t)got, (uint64_t)status->st_size, head);
}

/* Put a file: 1, 0 if it is not plain, or -ENOMEM. */
static int put_file(struct survey *survey, const struct name *name, const char *path)
{
    struct maps_survey_file file = {0};
    struct buffer *files = &survey->result->files;
    struct stat status;
    if (!found_parse(survey->path.bytes, survey->path.length, name->bytes, name->length,
                     &file.name))
        return 0;
    bool is_plain = file.name.role == FOUND_MAP ? read_map(survey->fd, path, &status, &file.head)
                                                : sys_entry_status(survey->fd, path, &status) == 0;
    if (!is_plain || !S_ISREG(status.st_mode))
        return 0;
    const uint8_t *volume = file.name.volume;
    file.name.volume = NULL;
    file.inode = status.st_ino;
    file.length = (uint64_t)status.st_size;
    survey->result->file_count++;
    int result = buffer_put(files, &file, sizeof(file));
    if (result == 0)
        result = buffer_put(files, volume, file.name.volume_length);
    return result < 0 ? result : 1;
}

bool maps_survey_next(const struct maps_survey_result *result, size_t *at,
                      struct maps_survey_file *file)
{
    if (*at >= result->files.length)
        return false;
    memcpy(file, result->files.bytes + *at, sizeof(*file));
    *at += sizeof(*file);
    file->name.volume = result->files.bytes + *at;
    *at += file->name.volume_length;
    return true;
}

/* ---- names */

/* Say whether v0.3 and v0.4 have files, and no directories, in the directory that is read. */
static bool is_last_level(const struct survey *survey)
{
    size_t slashes = 0;
    for (size_t i = 0; i < survey->path.length; i++)
        slashes += survey->path.bytes[i] == '/';
    return slashes == 2;
}

static int survey_name(struct survey *survey, const struct name *name)
{
    char path[NAME_MAX + 1];
    struct stat status;
    int type = name->hint;
    if (name->bytes[0] == '.') /* what a run keeps aside, perhaps */
        return leave_name(survey, name);
    memcpy(path, name->bytes, name->length);
    path[name->length] = '\0';
    if (type == DT_UNKNOWN && sys_entry_status(survey->fd, path, &status) == 0)
        type = IFTODT(status.st_mode);
    if (type == DT_DIR && !is_last_level(survey))
        return paths_push(&survey->waiting, &survey->path, name->bytes, name->length);
    int result = type == DT_REG ? put_file(survey, name, path) : 0;
    return result == 0 ? leave_name(survey, name) : result < 0 ? result : 0;
}

/* ---- directories */

static int put_name(void *context, const struct dirent64 *entry)
{
    struct survey *survey = context;
    size_t length = strlen(entry->d_name);
    uint8_t head[2] = {entry->d_type, (uint8_t)length};
    if (++survey->count > survey->request->wide || length > UINT8_MAX)
        return -EOVERFLOW;
    int result = buffer_put(&survey->names, head, sizeof(head));
    return result < 0 ? result : buffer_put(&survey->names, entry->d_name, length);
}

static int survey_names(struct survey *survey)
{
    const uint8_t *at = survey->names.bytes, *end = at + survey->names.length;
    struct name name;
    int result = 0;
    survey->leaves = false;
    while (result == 0 && at < end && group_next_name(&at, end, &name))
        result = survey_name(survey, &name);
    if (survey->leaves)
        group_end(&survey->result->left);
    return result;
}

/* Leave a directory that is on another filesystem than the root as a name in the one above. */
static int leave_mounted(struct survey *survey)
{
    struct group_writer *left = &survey->result->left;
    struct buffer above = survey->path;
    const uint8_t *slash = memrchr(above.bytes, '/', above.length);
    const uint8_t *name = slash ? slash + 1 : above.bytes;
    size_t length = (size_t)(above.bytes + above.length - name);
    above.length = slash ? (size_t)(slash - above.bytes) : 0;
    return group_put_one(left, &above, 0, HINT_ENTRY, name, length);
}

static int read_directory(struct survey *survey)
{
    uint64_t device;
    int result = sys_device(survey->fd, &survey->request->features, &device);
    if (result == 0 && device != survey->device)
        return -EXDEV;
    survey->count = 0;
    survey->names.length = 0;
    return result < 0 ? result : listing_read(survey->fd, put_name, survey);
}

static int survey_directory(struct survey *survey)
{
    const char *path = (const char *)survey->path.bytes;
    const struct features *features = &survey->request->features;
    size_t length = survey->path.length;
    survey->fd = length >= PATH_MAX ? -ENAMETOOLONG
                                    : listing_open(survey->request->root, path, length, features);
    int result = survey->fd < 0 ? survey->fd : read_directory(survey);
    if (result == 0) {
        survey->result->directories++;
        result = survey_names(survey);
    } else if (result == -EXDEV && survey->path.length > 0) {
        result = leave_mounted(survey);
    } else if (result != -ENOMEM) {
        result = group_put_one(&survey->result->left, &survey->path, 0, HINT_WALK, "", 0);
    }
    if (survey->fd >= 0)
        close(survey->fd);
    return result;
}

static int set_path(struct survey *survey, const uint8_t *path, size_t length)
{
    survey->path.length = 0;
    return buffer_put(&survey->path, path, length);
}

static int take_groups(struct survey *survey)
{
    const struct maps_survey_request *request = survey->request;
    struct group_reader group = {.body = request->body, .length = request->length};
    int result;
    while ((result = group_read(&group)) > 0) {
        result = group.walks ? paths_push(&survey->waiting, &group.path, NULL, 0) : -EINVAL;
        if (result < 0)
            break;
    }
    group_reader_free(&group);
    return result;
}

static bool is_full(const struct survey *survey, int64_t until)
{
    const struct maps_survey_request *request = survey->request;
    int64_t entries = survey->result->file_count + (int64_t)survey->result->left.names;
    return entries >= request->entries || *request->stop || sys_monotonic_time() >= until;
}

/* Put the directories that wait into `rest`, in their order. */
static int put_rest(struct survey *survey)
{
    const uint8_t *path;
    size_t at = 0, length;
    int result = 0;
    while (result == 0 && paths_next(&survey->waiting, &at, &path, &length)) {
        result = set_path(survey, path, length);
        if (result == 0)
            result = group_put_one(&survey->result->rest, &survey->path, 0, HINT_WALK, "", 0);
    }
    return result;
}

int maps_survey(const struct maps_survey_request *request, struct maps_survey_result *result)
{
    struct survey survey = {.request = request, .result = result};
    int64_t until = sys_deadline(request->seconds);
    int status = sys_device(request->root, &request->features, &survey.device);
    if (status == 0)
        status = take_groups(&survey);
    for (bool first = true; status == 0 && survey.waiting.length > 0; first = false) {
        if (!first && is_full(&survey, until)) {
            status = put_rest(&survey);
            break;
        }
        size_t length;
        const uint8_t *path = paths_pop(&survey.waiting, &length);
        status = set_path(&survey, path, length);
        if (status == 0)
            status = survey_directory(&survey);
    }
    buffer_free(&survey.waiting);
    buffer_free(&survey.path);
    buffer_free(&survey.names);
    return status;
}

void maps_survey_result_free(struct maps_survey_result *result)
{
    buffer_free(&result->files);
    group_writer_free(&result->rest);
    group_writer_free(&result->left);
}
