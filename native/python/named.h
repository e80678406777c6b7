/*
 * Named results: struct sequences, whose fields Python reads by name (include Python's header
 * before this). Their types are heap types that belong to one instance of a module.
 */

#ifndef ARCHIPMIGRATE_PYTHON_NAMED_H
#define ARCHIPMIGRATE_PYTHON_NAMED_H

#include <stddef.h>

/* Make a type and add it to a module. Returns a new reference, or NULL with an exception. */
static inline PyTypeObject *named_type(PyObject *module, PyStructSequence_Desc *description)
{
    PyTypeObject *type = PyStructSequence_NewType(description);
    if (type && PyModule_AddType(module, type) < 0)
        Py_CLEAR(type);
    return type;
}

/* Make a value of a tuple, whose reference is taken over. NULL with an exception, or for NULL. */
static inline PyObject *named_value(PyTypeObject *type, PyObject *tuple)
{
    PyObject *value = tuple ? PyObject_CallOneArg((PyObject *)type, tuple) : NULL;
    Py_XDECREF(tuple);
    return value;
}

#endif
