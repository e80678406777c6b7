/*
 * Functions of archipmigrate._native that work on objects (python/objects.h).
 * archipmigrate/_native.pyi has the signatures.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/objects.h"

#include "objects/check.h"
#include "objects/leaves.h"
#include "objects/move.h"
#include "objects/survey.h"
#include "python/basics.h"

/* ---- roots */

/* Parse a root, (fd, umask, uid, gid, renames, parents): `parents` is to be released. */
static int parse_root(PyObject *value, struct objects_root *root, Py_buffer *parents)
{
    int renames;
    long long uid, gid;
    if (!PyArg_ParseTuple(value, "iILLpw*:root", &root->fd, &root->umask, &uid, &gid, &renames,
                          parents))
        return 1;
    root->uid = uid;
    root->gid = gid;
    root->renames = renames;
    root->parents = parents->buf;
    return parents->len >= PARENTS ? 0 : -EINVAL;
}

/* ---- move */

static PyObject *move_value(const struct objects_move_result *result)
{
    return Py_BuildValue("(N(LL)i)", bytes_of(result->outcomes.bytes, result->outcomes.length),
                         (long long)result->changed[ROOT_BLOCKS],
                         (long long)result->changed[ROOT_MAPS], -result->error);
}

PyDoc_STRVAR(move_doc, "Move objects in one step each; leave what is not the plain case.");

static PyObject *native_move_objects(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"blocks", "maps", "moves", "back", "deny_limit", "stop", NULL};
    struct objects_move_request request = {.features = allowed_features(module)};
    struct objects_move_result result = {0};
    PyObject *roots[ROOTS];
    Py_buffer moves, stop, parents[ROOTS] = {0};
    int back;
    long long deny_limit;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$O!O!y*pLy*:move_objects", names,
                                     &PyTuple_Type, &roots[ROOT_BLOCKS], &PyTuple_Type,
                                     &roots[ROOT_MAPS], &moves, &back, &deny_limit, &stop))
        return NULL;
    int status = stop.len >= 1 ? 0 : -EINVAL;
    for (int i = 0; status == 0 && i < ROOTS; i++)
        status = parse_root(roots[i], &request.roots[i], &parents[i]);
    if (status == 0) {
        request.moves = moves.buf;
        request.length = (size_t)moves.len;
        request.back = back;
        request.deny_limit = deny_limit;
        request.stop = stop.buf;
        Py_BEGIN_ALLOW_THREADS;
        status = objects_move(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value = status > 0 ? NULL : status < 0 ? raise_error(status) : move_value(&result);
    objects_move_result_free(&result);
    for (int i = 0; i < ROOTS; i++)
        PyBuffer_Release(&parents[i]);
    PyBuffer_Release(&moves);
    PyBuffer_Release(&stop);
    return value;
}

/* ---- survey */

static PyObject *maps_of(const struct buffer *maps)
{
    PyObject *list = PyList_New(0);
    for (size_t at = 0; list && at < maps->length;) {
        const uint8_t *name = maps->bytes + at + 1;
        const uint8_t *directory = name + name[-1] + 1;
        if (!list_append(list, Py_BuildValue("(NN)", bytes_of(name, name[-1]),
                                             bytes_of(directory, directory[-1]))))
            Py_CLEAR(list);
        at += 2 + (size_t)name[-1] + directory[-1];
    }
    return list;
}

static PyObject *survey_value(const struct objects_survey_result *result)
{
    return Py_BuildValue("(NL(LL)NLLNN)", bytes_of(result->moves.bytes, result->moves.length),
                         (long long)result->move_count,
                         (long long)result->new_directories[ROOT_BLOCKS],
                         (long long)result->new_directories[ROOT_MAPS], maps_of(&result->maps),
                         (long long)result->current, (long long)result->pithos,
                         bytes_of(result->rest.body.bytes, result->rest.body.length),
                         bytes_of(result->left.body.bytes, result->left.body.length));
}

PyDoc_STRVAR(survey_doc, "Look at directories until done or a limit is reached; leave what is not "
                         "a plain case.");

static PyObject *native_survey_objects(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"blocks",  "maps",  "blocks_leaves", "maps_leaves", "body", "seconds",
                            "entries", "moves", "wide",          "stop",        NULL};
    struct objects_survey_request request = {.features = allowed_features(module)};
    struct objects_survey_result result = {0};
    Py_buffer leaves[ROOTS], body, stop;
    long long entries, moves;
    Py_ssize_t wide;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$iiw*w*y*dLLny*:survey_objects", names,
                                     &request.roots[ROOT_BLOCKS], &request.roots[ROOT_MAPS],
                                     &leaves[ROOT_BLOCKS], &leaves[ROOT_MAPS], &body,
                                     &request.seconds, &entries, &moves, &wide, &stop))
        return NULL;
    int status = -EINVAL;
    bool is_known = leaves[ROOT_BLOCKS].len >= LEAVES && leaves[ROOT_MAPS].len >= LEAVES;
    if (stop.len >= 1 && wide >= 1 && is_known) {
        for (int i = 0; i < ROOTS; i++)
            request.leaves[i] = leaves[i].buf;
        request.body = body.buf;
        request.length = (size_t)body.len;
        request.entries = entries;
        request.moves = moves;
        request.wide = (size_t)wide;
        request.stop = stop.buf;
        Py_BEGIN_ALLOW_THREADS;
        status = objects_survey(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value = status < 0 ? raise_error(status) : survey_value(&result);
    objects_survey_result_free(&result);
    for (int i = 0; i < ROOTS; i++)
        PyBuffer_Release(&leaves[i]);
    PyBuffer_Release(&body);
    PyBuffer_Release(&stop);
    return value;
}

/* ---- check */

PyDoc_STRVAR(check_doc,
             "Look for the objects of a v1 map: (how many are found, indices of the others).");

static PyObject *native_check_objects(PyObject *module, PyObject *arguments)
{
    int root;
    Py_buffer entries;
    struct buffer left = {0};
    if (!PyArg_ParseTuple(arguments, "iy*:check_objects", &root, &entries))
        return NULL;
    struct features features = allowed_features(module);
    size_t count = (size_t)entries.len / MAP_ENTRY_SIZE;
    size_t looked;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = objects_check(root, entries.buf, count, &features, &looked, &left);
    Py_END_ALLOW_THREADS;
    PyObject *value = status < 0 ? raise_error(status) : PyList_New(0);
    const uint32_t *index = (const void *)left.bytes;
    for (size_t i = 0; value && i < left.length / sizeof(*index); i++)
        if (!list_append(value, PyLong_FromUnsignedLong(index[i])))
            Py_CLEAR(value);
    buffer_free(&left);
    PyBuffer_Release(&entries);
    return value ? Py_BuildValue("(nN)", (Py_ssize_t)looked, value) : NULL;
}

PyMethodDef objects_methods[] = {
    {"check_objects", native_check_objects, METH_VARARGS, check_doc},
    {"survey_objects", (PyCFunction)(void (*)(void))native_survey_objects,
     METH_VARARGS | METH_KEYWORDS, survey_doc},
    {"move_objects", (PyCFunction)(void (*)(void))native_move_objects, METH_VARARGS | METH_KEYWORDS,
     move_doc},
    {0},
};
