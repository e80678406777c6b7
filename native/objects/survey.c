/*
 * The survey (survey.h).
 *
 *     struct survey   one call: the directories that wait, and the one that is read
 *     struct name     (core/groups.h) a name in it; its hint is HINT_ENTRY if its type is not known
 */

#define _GNU_SOURCE
#include "objects/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "core/listing.h"
#include "core/paths.h"
#include "objects/classify.h"
#include "objects/leaves.h"

struct survey {
    const struct objects_survey_request *request;
    struct objects_survey_result *result;
    uint64_t devices[ROOTS];
    struct buffer waiting; /* paths with their labels */
    /* The directory that is read: its path with and without the label. */
    enum root root;
    struct buffer path;
    size_t label;
    int fd;
    bool leaves;         /* it has a group in `left` */
    struct buffer names; /* u8 hint, u8 length, name; for each */
    size_t count;        /* of them */
};

static const char *const LABELS[ROOTS] = {[ROOT_BLOCKS] = "blocks", [ROOT_MAPS] = "maps"};

/* ---- directories that wait */

static int wait_for(struct survey *survey, const struct name *name)
{
    return paths_push(&survey->waiting, &survey->path, name ? name->bytes : NULL,
                      name ? name->length : 0);
}

/* Set the path of the directory that is read. -EINVAL if its label is unknown. */
static int set_path(struct survey *survey, const uint8_t *path, size_t length)
{
    survey->path.length = 0;
    survey->leaves = false;
    int result = buffer_put(&survey->path, path, length);
    if (result < 0)
        return result;
    for (int root = 0; root < ROOTS; root++) {
        size_t label = strlen(LABELS[root]);
        if (length < label || memcmp(path, LABELS[root], label) != 0)
            continue;
        if (length > label && path[label] != '/')
            continue;
        survey->root = (enum root)root;
        survey->label = length > label ? label + 1 : label;
        return 0;
    }
    return -EINVAL;
}

static int take_waiting(struct survey *survey)
{
    size_t length;
    const uint8_t *path = paths_pop(&survey->waiting, &length);
    return set_path(survey, path, length);
}

/* ---- what is left to Python */

static int leave_name(struct survey *survey, const struct name *name)
{
    struct group_writer *left = &survey->result->left;
    int result = 0;
    if (!survey->leaves)
        result = group_begin(left, survey->path.bytes, survey->path.length, 0, 0);
    survey->leaves = true;
    return result < 0 ? result : group_name(left, HINT_ENTRY, name->bytes, name->length);
}

static void end_names(struct survey *survey)
{
    if (survey->leaves)
        group_end(&survey->result->left);
    survey->leaves = false;
}

/* ---- files */

static int put_map(struct survey *survey, const struct object *object)
{
    struct buffer *maps = &survey->result->maps;
    if (!object_is_map(object))
        return 0;
    uint8_t length = (uint8_t)object->name_length;
    int result = buffer_put(maps, &length, 1);
    if (result == 0)
        result = buffer_put(maps, object->name, length);
    length = (uint8_t)object->directory_length;
    if (result == 0)
        result = buffer_put(maps, &length, 1);
    return result < 0 ? result : buffer_put(maps, object->directory, length);
}

/*
 * Look at the new place of an object: 0 if there is nothing of its name, -EEXIST if there is, or
 * -errno. `is_missing`: its directory is not there either.
 */
static int look_at_place(const struct survey *survey, const uint8_t *place, const char *name,
                         bool *is_missing)
{
    const struct objects_survey_request *request = survey->request;
    int root = request->roots[survey->root];
    char path[PLACE_LENGTH + 1];
    struct stat found;
    *is_missing = leaves_lack(request->leaves[survey->root], root, place, &request->features);
    if (*is_missing)
        return 0;
    move_place_path(place, path);
    int fd = sys_open_beneath(root, path, PLACE_LENGTH, PIN_DIRECTORY, &request->features);
    *is_missing = fd == -ENOENT;
    if (fd < 0)
        return *is_missing ? 0 : fd;
    int result = sys_entry_status(fd, name, &found);
    close(fd);
    return result == -ENOENT ? 0 : result < 0 ? result : -EEXIST;
}

static int put_move(struct survey *survey, const struct object *object, const uint8_t *place,
                    uint64_t inode)
{
    struct move move = {
        .root = object->root,
        .directory = object->directory,
        .directory_length = (uint8_t)object->directory_length,
        .name = object->name,
        .name_length = (uint8_t)object->name_length,
        .inode = inode,
    };
    memcpy(move.place, place, PLACE_BYTES);
    survey->result->move_count++;
    return move_put(&survey->result->moves, &move);
}

static int survey_file(struct survey *survey, const struct name *name, const char *path,
                       const struct stat *found)
{
    struct objects_survey_result *result = survey->result;
    struct object object = {
        .root = survey->root,
        .directory = survey->path.bytes + survey->label,
        .directory_length = survey->path.length - survey->label,
        .name = name->bytes,
        .name_length = name->length,
        .size = (uint64_t)found->st_size,
    };
    uint8_t place[PLACE_BYTES];
    bool is_missing;
    int status = 0;
    switch (object_classify(&object, place)) {
    case CLASS_CURRENT:
        result->current++;
        break;
    case CLASS_PITHOS:
        result->pithos++;
        break;
    case CLASS_MOVED:
        if (look_at_place(survey, place, path, &is_missing) < 0)
            return leave_name(survey, name);
        result->new_directories[survey->root] += is_missing;
        status = put_move(survey, &object, place, found->st_ino);
        break;
    default:
        return leave_name(survey, name);
    }
    return status < 0 ? status : put_map(survey, &object);
}

static int survey_name(struct survey *survey, const struct name *name)
{
    char path[NAME_MAX + 1];
    struct stat found;
    if (name->bytes[0] == '.') /* what a run keeps aside, perhaps */
        return leave_name(survey, name);
    if (name->hint == HINT_DIRECTORY)
        return wait_for(survey, name);
    memcpy(path, name->bytes, name->length);
    path[name->length] = '\0';
    int status = sys_entry_status(survey->fd, path, &found);
    if (status == 0 && S_ISDIR(found.st_mode) && found.st_dev == survey->devices[survey->root])
        return wait_for(survey, name);
    if (status < 0 || !S_ISREG(found.st_mode))
        return leave_name(survey, name);
    return survey_file(survey, name, path, &found);
}

/* ---- directories */

static int open_directory(struct survey *survey)
{
    const char *path = (const char *)survey->path.bytes + survey->label;
    size_t length = survey->path.length - survey->label;
    const struct features *features = &survey->request->features;
    int fd = listing_open(survey->request->roots[survey->root], path, length, features);
    uint64_t device;
    int status = fd < 0 ? fd : sys_device(fd, features, &device);
    if (status == 0 && device != survey->devices[survey->root])
        status = -EXDEV;
    if (status == 0 || fd < 0)
        return fd;
    close(fd);
    return status;
}

/* Return the path of the directory that is read if it is of the second level (aa/bb), or NULL. */
static const char *second_level(const struct survey *survey)
{
    const char *path = (const char *)survey->path.bytes + survey->label;
    return survey->path.length - survey->label == 5 && path[2] == '/' ? path : NULL;
}

static int put_name(void *context, const struct dirent64 *entry)
{
    struct survey *survey = context;
    size_t length = strlen(entry->d_name);
    uint8_t head[2] = {entry->d_type == DT_DIR ? HINT_DIRECTORY : HINT_ENTRY, (uint8_t)length};
    if (++survey->count > survey->request->wide || length > UINT8_MAX)
        return -EOVERFLOW;
    if (second_level(survey))
        leaves_note_name(survey->request->leaves[survey->root], second_level(survey),
                         entry->d_name);
    int result = buffer_put(&survey->names, head, sizeof(head));
    return result < 0 ? result : buffer_put(&survey->names, entry->d_name, length);
}

/* Read the names in the directory: 0, -ENOMEM, or an error for which it is left. */
static int read_names(struct survey *survey)
{
    survey->count = 0;
    survey->names.length = 0;
    int result = listing_read(survey->fd, put_name, survey);
    if (result == 0 && second_level(survey))
        leaves_note_all(survey->request->leaves[survey->root], second_level(survey));
    return result;
}

static int survey_names(struct survey *survey, const uint8_t *at, const uint8_t *end)
{
    struct name name;
    int result = 0;
    while (result == 0 && group_next_name(&at, end, &name))
        result = survey_name(survey, &name);
    end_names(survey);
    return result;
}

/* Look at what is in the next directory. */
static int survey_directory(struct survey *survey)
{
    int result = take_waiting(survey);
    if (result < 0)
        return result;
    survey->fd = open_directory(survey);
    result = survey->fd < 0 ? survey->fd : read_names(survey);
    if (result == 0)
        result =
            survey_names(survey, survey->names.bytes, survey->names.bytes + survey->names.length);
    else if (result != -ENOMEM)
        result = group_put_one(&survey->result->left, &survey->path, 0, HINT_WALK, "", 0);
    if (survey->fd >= 0)
        close(survey->fd);
    return result;
}

/* Look at names that a unit has, or, if it has none of a directory, let that wait. */
static int survey_group(struct survey *survey, const struct group_reader *group)
{
    int result = set_path(survey, group->path.bytes, group->path.length);
    if (result < 0 || group->walks)
        return result < 0 ? result : wait_for(survey, NULL);
    survey->fd = open_directory(survey);
    if (survey->fd < 0)
        return group_put_copy(&survey->result->left, group, 0);
    result = survey_names(survey, group->names, group->names + group->names_length);
    close(survey->fd);
    return result;
}

static bool is_full(const struct survey *survey, int64_t until)
{
    const struct objects_survey_request *request = survey->request;
    const struct objects_survey_result *found = survey->result;
    int64_t entries = found->move_count + found->current + found->pithos;
    return found->move_count >= request->moves || entries >= request->entries || *request->stop ||
           sys_monotonic_time() >= until;
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

static int run(struct survey *survey)
{
    const struct objects_survey_request *request = survey->request;
    struct group_reader group = {.body = request->body, .length = request->length};
    int64_t until = sys_deadline(request->seconds);
    int result;
    while ((result = group_read(&group)) > 0) {
        result = survey_group(survey, &group);
        if (result < 0)
            break;
    }
    group_reader_free(&group);
    for (bool first = true; result == 0 && survey->waiting.length > 0; first = false) {
        if (!first && is_full(survey, until))
            return put_rest(survey);
        result = survey_directory(survey);
    }
    return result;
}

int objects_survey(const struct objects_survey_request *request,
                   struct objects_survey_result *result)
{
    struct survey survey = {.request = request, .result = result};
    int status = 0;
    for (int i = 0; status == 0 && i < ROOTS; i++) {
        uint64_t *device = &survey.devices[i];
        status = sys_device(request->roots[i], &request->features, device);
    }
    if (status == 0)
        status = run(&survey);
    buffer_free(&survey.waiting);
    buffer_free(&survey.path);
    buffer_free(&survey.names);
    return status;
}

void objects_survey_result_free(struct objects_survey_result *result)
{
    buffer_free(&result->moves);
    buffer_free(&result->maps);
    group_writer_free(&result->rest);
    group_writer_free(&result->left);
}
