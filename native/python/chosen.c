/*
 * Functions of archipmigrate._native that choose among changes (python/chosen.h).
 * archipmigrate/_native.pyi has the signatures.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/chosen.h"

#include "core/chosen.h"
#include "python/basics.h"

static struct chosen chosen_of(const Py_buffer *changes, const Py_buffer *is_chosen)
{
    return (struct chosen){
        .changes = changes->buf,
        .length = (size_t)changes->len,
        .is_chosen = is_chosen->buf,
        .count = (size_t)is_chosen->len,
    };
}

PyDoc_STRVAR(drop_doc, "Drop all changes but those that are chosen; count these, and directories.");

static PyObject *native_drop_others(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer changes, is_chosen;
    if (!PyArg_ParseTuple(arguments, "y*y*:drop_others", &changes, &is_chosen))
        return NULL;
    struct chosen chosen = chosen_of(&changes, &is_chosen);
    struct chosen_number number = {0};
    PyObject *packed = PyBytes_FromStringAndSize(NULL, changes.len);
    int status = packed ? 0 : 1;
    if (packed) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(packed); /* nobody else has it yet */
        Py_BEGIN_ALLOW_THREADS;
        status = chosen_check(&chosen);
        if (status == 0)
            number = chosen_drop_others(&chosen, to);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&changes);
    PyBuffer_Release(&is_chosen);
    if (status == 0)
        return Py_BuildValue("(Nnn)", packed, (Py_ssize_t)number.changes,
                             (Py_ssize_t)number.directories);
    Py_XDECREF(packed);
    return status < 0 ? raise_error(status) : NULL;
}

PyDoc_STRVAR(with_inodes_doc, "Choose fewer changes: those of some inodes.");

static PyObject *native_with_inodes(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer changes, is_chosen, inodes;
    if (!PyArg_ParseTuple(arguments, "y*y*y*:with_inodes", &changes, &is_chosen, &inodes))
        return NULL;
    struct chosen chosen = chosen_of(&changes, &is_chosen);
    PyObject *fewer = PyBytes_FromStringAndSize(NULL, is_chosen.len);
    int status = fewer ? 0 : 1;
    if (fewer) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(fewer); /* nobody else has it yet */
        Py_BEGIN_ALLOW_THREADS;
        status = inodes.len % sizeof(uint64_t) == 0 ? chosen_check(&chosen) : -EINVAL;
        if (status == 0)
            chosen_with_inodes(&chosen, inodes.buf, (size_t)inodes.len / sizeof(uint64_t), to);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&changes);
    PyBuffer_Release(&is_chosen);
    PyBuffer_Release(&inodes);
    if (status == 0)
        return fewer;
    Py_XDECREF(fewer);
    return status < 0 ? raise_error(status) : NULL;
}

/* The fields of a Change (archipmigrate/packed/changes.py), as a tuple. */
static PyObject *change_value(const struct chosen_reader *reader)
{
    const struct change *change = &reader->frame.change;
    const struct ids *ids = &reader->chosen->ids;
    return Py_BuildValue(
        "(nnNNIIIIIIIKKKL)", (Py_ssize_t)reader->index - 1, (Py_ssize_t)reader->offset,
        bytes_of(reader->path.bytes, reader->path.length), PyBool_FromLong(reader->is_own),
        (unsigned)change->flags, (unsigned)change->mode, (unsigned)change->new_mode,
        (unsigned)change->uid, (unsigned)change->gid, (unsigned)ids->uid, (unsigned)ids->gid,
        (unsigned long long)change->inode, (unsigned long long)reader->within,
        (unsigned long long)change->size, (long long)change->mtime);
}

PyDoc_STRVAR(read_doc, "Return the changes that are chosen.");

static PyObject *native_read_chosen(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer changes, is_chosen;
    if (!PyArg_ParseTuple(arguments, "y*y*:read_chosen", &changes, &is_chosen))
        return NULL;
    struct chosen chosen = chosen_of(&changes, &is_chosen);
    struct chosen_reader reader;
    int status = chosen_check(&chosen);
    PyObject *list = status == 0 ? PyList_New(0) : NULL;
    chosen_begin(&reader, &chosen);
    while (list && (status = chosen_next(&reader)) > 0)
        if (!list_append(list, change_value(&reader)))
            Py_CLEAR(list);
    if (status < 0) {
        Py_CLEAR(list);
        raise_error(status);
    }
    chosen_reader_free(&reader);
    PyBuffer_Release(&changes);
    PyBuffer_Release(&is_chosen);
    return list;
}

PyMethodDef chosen_methods[] = {
    {"drop_others", native_drop_others, METH_VARARGS, drop_doc},
    {"with_inodes", native_with_inodes, METH_VARARGS, with_inodes_doc},
    {"read_chosen", native_read_chosen, METH_VARARGS, read_doc},
    {0},
};
