/*
 * Functions of archipmigrate._native that work on the files of maps (python/maps.h).
 * archipmigrate/_native.pyi has the signatures.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/maps.h"

#include "core/names.h"
#include "mapfile/files.h"
#include "mapfile/survey.h"
#include "python/basics.h"
#include "python/objects.h"

/* A path below the root, or a name in it: NULL with an exception if it could lead elsewhere. */
static bool is_good(const char *directory, Py_ssize_t directory_length, const char *name,
                    Py_ssize_t name_length)
{
    if (path_is_plain((const uint8_t *)directory, (size_t)directory_length, 0) &&
        name_is_component((const uint8_t *)name, (size_t)name_length))
        return true;
    raise_error(-EINVAL);
    return false;
}

/* Parse (fd, uid, gid). */
static int parse_root(PyObject *module, PyObject *value, struct files_root *root)
{
    long long uid, gid;
    if (!PyArg_ParseTuple(value, "iLL:root", &root->fd, &uid, &gid))
        return -1;
    root->uid = uid;
    root->gid = gid;
    root->features = allowed_features(module);
    return 0;
}

/* Allocate zeroed items, one for each of a tuple; never of no bytes. */
static void *items_of(PyObject *tuple, size_t size)
{
    void *items = PyMem_Calloc((size_t)PyTuple_GET_SIZE(tuple) + 1, size);
    if (!items)
        PyErr_NoMemory();
    return items;
}

/* ---- make */

static bool parse_new_file(PyObject *value, struct new_file *file)
{
    Py_ssize_t directory, name, length;
    const char *content;
    if (!PyArg_ParseTuple(value, "y#y#y#:file", &file->directory, &directory, &file->name, &name,
                          &content, &length) ||
        !is_good(file->directory, directory, file->name, name))
        return false;
    file->directory_length = (size_t)directory;
    file->content = (const uint8_t *)content;
    file->length = (size_t)length;
    return true;
}

static PyObject *made_files(const struct new_file *files, size_t count)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list,
                         Py_BuildValue("(iK)", files[i].error, (unsigned long long)files[i].inode)))
            Py_CLEAR(list);
    return list;
}

PyDoc_STRVAR(make_doc, "Make files together, durably: an errno and an inode of each.");

static PyObject *native_make_files(PyObject *module, PyObject *arguments)
{
    struct files_root root;
    PyObject *root_value, *tuple;
    int named;
    if (!PyArg_ParseTuple(arguments, "O!O!p:make_files", &PyTuple_Type, &root_value, &PyTuple_Type,
                          &tuple, &named) ||
        parse_root(module, root_value, &root) < 0)
        return NULL;
    struct new_file *files = items_of(tuple, sizeof(*files));
    if (!files)
        return NULL;
    size_t count = (size_t)PyTuple_GET_SIZE(tuple);
    PyObject *value = NULL;
    for (size_t i = 0; i < count; i++)
        if (!parse_new_file(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), &files[i]))
            goto done;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = files_make(&root, files, count, named);
    Py_END_ALLOW_THREADS;
    value = status < 0 ? raise_error(status) : made_files(files, count);
done:
    PyMem_Free(files);
    return value;
}

/* ---- link */

static bool parse_link(PyObject *value, struct part_link *link)
{
    Py_ssize_t directory, part, name;
    unsigned long long inode;
    if (!PyArg_ParseTuple(value, "y#y#y#K:link", &link->directory, &directory, &link->part, &part,
                          &link->name, &name, &inode) ||
        !is_good(link->directory, directory, link->part, part) ||
        !is_good(link->directory, directory, link->name, name))
        return false;
    link->directory_length = (size_t)directory;
    link->inode = inode;
    return true;
}

PyDoc_STRVAR(link_doc, "Link parts to their names together: an errno of each.");

static PyObject *native_link_files(PyObject *module, PyObject *arguments)
{
    struct files_root root;
    PyObject *root_value, *tuple;
    int durable;
    if (!PyArg_ParseTuple(arguments, "O!O!p:link_files", &PyTuple_Type, &root_value, &PyTuple_Type,
                          &tuple, &durable) ||
        parse_root(module, root_value, &root) < 0)
        return NULL;
    struct part_link *links = items_of(tuple, sizeof(*links));
    if (!links)
        return NULL;
    size_t count = (size_t)PyTuple_GET_SIZE(tuple);
    PyObject *list = NULL;
    for (size_t i = 0; i < count; i++)
        if (!parse_link(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), &links[i]))
            goto done;
    Py_BEGIN_ALLOW_THREADS;
    files_link(&root, links, count, durable);
    Py_END_ALLOW_THREADS;
    list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, PyLong_FromLong(links[i].error)))
            Py_CLEAR(list);
done:
    PyMem_Free(links);
    return list;
}

/* ---- remove */

static bool parse_old_file(PyObject *value, struct old_file *file)
{
    Py_ssize_t directory, name, length;
    const char *content;
    unsigned long long inode;
    long long size, mtime;
    if (!PyArg_ParseTuple(value, "y#y#KLLz#:file", &file->directory, &directory, &file->name, &name,
                          &inode, &size, &mtime, &content, &length) ||
        !is_good(file->directory, directory, file->name, name))
        return false;
    file->directory_length = (size_t)directory;
    file->inode = inode;
    file->length = size;
    file->mtime = mtime;
    file->content = (const uint8_t *)content;
    file->content_length = (size_t)length;
    return true;
}

PyDoc_STRVAR(remove_doc, "Remove files together: an errno of each.");

static PyObject *native_remove_files(PyObject *module, PyObject *arguments)
{
    struct files_root root;
    PyObject *root_value, *tuple;
    int durable;
    if (!PyArg_ParseTuple(arguments, "O!O!p:remove_files", &PyTuple_Type, &root_value,
                          &PyTuple_Type, &tuple, &durable) ||
        parse_root(module, root_value, &root) < 0)
        return NULL;
    struct old_file *files = items_of(tuple, sizeof(*files));
    if (!files)
        return NULL;
    size_t count = (size_t)PyTuple_GET_SIZE(tuple);
    PyObject *list = NULL;
    for (size_t i = 0; i < count; i++)
        if (!parse_old_file(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), &files[i]))
            goto done;
    Py_BEGIN_ALLOW_THREADS;
    files_remove(&root, files, count, durable);
    Py_END_ALLOW_THREADS;
    list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, PyLong_FromLong(files[i].error)))
            Py_CLEAR(list);
done:
    PyMem_Free(files);
    return list;
}

/* ---- survey */

/* A map's head as maps/survey/packed_head.py packs it; of other files nothing. */
static PyObject *packed_head(const struct maps_survey_file *file)
{
    const struct found_head *head = &file->head;
    if (file->name.role != FOUND_MAP)
        return PyUnicode_FromString("");
    return PyUnicode_FromFormat("[%u,%llu,%llu,%u,%u,%llu,\"\"]", head->version,
                                (unsigned long long)file->length, (unsigned long long)head->size,
                                head->block_size, head->flags, (unsigned long long)head->epoch);
}

static PyObject *row_of(const struct maps_survey_file *file)
{
    return Py_BuildValue("(NiiLiLLN)", bytes_of(file->name.volume, file->name.volume_length),
                         (int)file->name.role, (int)file->name.prefixed,
                         (long long)file->name.number, (int)file->name.placement,
                         (long long)file->inode, (long long)file->length, packed_head(file));
}

static PyObject *rows_of(const struct maps_survey_result *result)
{
    PyObject *list = PyList_New(0);
    struct maps_survey_file file;
    for (size_t at = 0; list && maps_survey_next(result, &at, &file);)
        if (!list_append(list, row_of(&file)))
            Py_CLEAR(list);
    return list;
}

PyDoc_STRVAR(survey_doc, "Look at directories until done or a limit is reached; leave what is not "
                         "a plain case.");

static PyObject *native_survey_maps(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"root", "body", "seconds", "entries", "wide", "stop", NULL};
    struct maps_survey_request request = {.features = allowed_features(module)};
    struct maps_survey_result result = {0};
    Py_buffer body, stop;
    long long entries;
    Py_ssize_t wide;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$iy*dLny*:survey_maps", names,
                                     &request.root, &body, &request.seconds, &entries, &wide,
                                     &stop))
        return NULL;
    int status = -EINVAL;
    if (stop.len >= 1 && wide >= 1) {
        request.body = body.buf;
        request.length = (size_t)body.len;
        request.entries = entries;
        request.wide = (size_t)wide;
        request.stop = stop.buf;
        Py_BEGIN_ALLOW_THREADS;
        status = maps_survey(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value =
        status < 0 ? raise_error(status)
                   : Py_BuildValue("(NLNN)", rows_of(&result), (long long)result.directories,
                                   bytes_of(result.rest.body.bytes, result.rest.body.length),
                                   bytes_of(result.left.body.bytes, result.left.body.length));
    maps_survey_result_free(&result);
    PyBuffer_Release(&body);
    PyBuffer_Release(&stop);
    return value;
}

PyMethodDef maps_methods[] = {
    {"survey_maps", (PyCFunction)(void (*)(void))native_survey_maps, METH_VARARGS | METH_KEYWORDS,
     survey_doc},
    {"make_files", native_make_files, METH_VARARGS, make_doc},
    {"link_files", native_link_files, METH_VARARGS, link_doc},
    {"remove_files", native_remove_files, METH_VARARGS, remove_doc},
    {0},
};
