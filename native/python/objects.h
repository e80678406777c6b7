/*
 * The functions of archipmigrate._native that work on objects (include Python's header before
 * this).
 */

#ifndef ARCHIPMIGRATE_PYTHON_OBJECTS_H
#define ARCHIPMIGRATE_PYTHON_OBJECTS_H

#include "core/system.h"

/* Return what the kernel has and FEATURES allows: tests see there what other kernels would do. */
struct features allowed_features(PyObject *module);

extern PyMethodDef objects_methods[];

#endif
