/*
 * The functions of archipmigrate._native that work on the files of maps (include Python's header
 * before this).
 */

#ifndef ARCHIPMIGRATE_PYTHON_MAPS_H
#define ARCHIPMIGRATE_PYTHON_MAPS_H

extern PyMethodDef maps_methods[];

#endif
