/* Functions of archipmigrate._native that choose among changes (python/chosen.c). Include Python.h
   before this. */

#ifndef ARCHIPMIGRATE_PYTHON_CHOSEN_H
#define ARCHIPMIGRATE_PYTHON_CHOSEN_H

extern PyMethodDef chosen_methods[];

#endif
