/*
 * Python values and exceptions for all modules (include Python's header before this). Functions
 * return a new reference, or NULL with an exception.
 */

#ifndef ARCHIPMIGRATE_PYTHON_BASICS_H
#define ARCHIPMIGRATE_PYTHON_BASICS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static inline PyObject *raise_error(int status)
{
    if (status == -ENOMEM)
        return PyErr_NoMemory();
    if (status == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, "malformed unit, changes, entries or options");
        return NULL;
    }
    errno = -status;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static inline PyObject *bytes_of(const void *bytes, size_t length)
{
    return PyBytes_FromStringAndSize(length ? bytes : "", (Py_ssize_t)length);
}

/* Append an item, whose reference is taken over, to a list; false if either failed. */
static inline bool list_append(PyObject *list, PyObject *item)
{
    if (!item)
        return false;
    int status = PyList_Append(list, item);
    Py_DECREF(item);
    return status == 0;
}

#endif
