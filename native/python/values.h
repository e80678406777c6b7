/*
 * Python values of what scan and apply find, for the two modules (include Python's header before
 * this). Functions return a new reference, or NULL with an exception; named.h gives the fields of
 * the results their names.
 */

#ifndef ARCHIPMIGRATE_PYTHON_VALUES_H
#define ARCHIPMIGRATE_PYTHON_VALUES_H

#include <stdbool.h>

#include "core/result.h"
#include "python/basics.h"

static inline PyObject *text_of(const struct buffer *text, struct text part)
{
    return bytes_of(text->bytes + part.at, part.length);
}

/* ---- scan */

static inline PyObject *tally_of(const struct tally *tally)
{
    return Py_BuildValue(
        "{s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L}", "entries", (long long)tally->entries,
        "directories", (long long)tally->directories, "files", (long long)tally->files, "others",
        (long long)tally->others, "compliant", (long long)tally->compliant, "skipped",
        (long long)tally->skipped, "vanished", (long long)tally->vanished, "failed",
        (long long)tally->failed, "hard_linked", (long long)tally->hard_linked);
}

/* (body, number of names), or None if there are no names. */
static inline PyObject *groups_of(const struct group_writer *groups)
{
    if (groups->names == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("(Nn)", bytes_of(groups->body.bytes, groups->body.length),
                         (Py_ssize_t)groups->names);
}

static inline PyObject *again_of(const struct group_writer *again)
{
    PyObject *list = PyList_New(0);
    for (int counted = 0; list && counted < 2; counted++) {
        const struct group_writer *groups = &again[counted];
        if (groups->names == 0)
            continue;
        PyObject *body = bytes_of(groups->body.bytes, groups->body.length);
        PyObject *flag = counted ? Py_True : Py_False;
        if (!list_append(list, Py_BuildValue("(NnO)", body, (Py_ssize_t)groups->names, flag)))
            Py_CLEAR(list);
    }
    return list;
}

static inline PyObject *failures_of(const struct buffer *failures, const struct buffer *text)
{
    PyObject *list = PyList_New(0);
    const struct scan_failure *at = (const void *)failures->bytes;
    size_t count = failures->length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, Py_BuildValue("(Nsi)", text_of(text, at[i].path), at[i].operation,
                                             at[i].error)))
            Py_CLEAR(list);
    return list;
}

static inline PyObject *links_of(const struct buffer *links)
{
    PyObject *list = PyList_New(0);
    const struct scan_link *at = (const void *)links->bytes;
    size_t count = links->length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, Py_BuildValue("(nKK)", (Py_ssize_t)at[i].offset,
                                             (unsigned long long)at[i].device,
                                             (unsigned long long)at[i].inode)))
            Py_CLEAR(list);
    return list;
}

static inline PyObject *notices_of(const struct buffer *notices, const struct buffer *text)
{
    PyObject *list = PyList_New(0);
    const struct scan_notice *at = (const void *)notices->bytes;
    size_t count = notices->length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, Py_BuildValue("(Ns)", text_of(text, at[i].path), at[i].kind)))
            Py_CLEAR(list);
    return list;
}

/* ---- apply */

/* What is known of the entries: (came, identity kind, identities, born before, changed until). */
struct known_buffers {
    Py_buffer came, identities;
    int kind;
    long long born_before, changed_until;
};

/* Parse such a tuple, as a converter (O&) whose buffers are released if another argument fails. */
static int parse_known(PyObject *value, void *to)
{
    struct known_buffers *known = to;
    if (!value) {
        PyBuffer_Release(&known->came);
        PyBuffer_Release(&known->identities);
        return 0;
    }
    if (!PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "known is a tuple");
        return 0;
    }
    return PyArg_ParseTuple(value, "y*iy*LL:known", &known->came, &known->kind, &known->identities,
                            &known->born_before, &known->changed_until)
               ? Py_CLEANUP_SUPPORTED
               : 0;
}

static inline struct known known_of(const struct known_buffers *known)
{
    return (struct known){
        .came = known->came.buf,
        .came_length = (size_t)known->came.len,
        .kind = (enum identity_kind)known->kind,
        .identities = known->identities.buf,
        .identities_length = (size_t)known->identities.len,
        .born_before = known->born_before,
        .changed_until = known->changed_until,
    };
}

static inline void release_known(struct known_buffers *known)
{
    PyBuffer_Release(&known->came);
    PyBuffer_Release(&known->identities);
}

static inline PyObject *apply_failures_of(const struct apply_result *result)
{
    PyObject *list = PyList_New(0);
    const struct apply_failure *at = (const void *)result->failures.bytes;
    size_t count = result->failures.length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list, Py_BuildValue("(nsis)", (Py_ssize_t)at[i].index, at[i].operation,
                                             at[i].error, at[i].note)))
            Py_CLEAR(list);
    return list;
}

static inline PyObject *stamps_of(const struct apply_result *result)
{
    PyObject *list = PyList_New(0);
    const struct apply_stamp *at = (const void *)result->stamps.bytes;
    size_t count = result->stamps.length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list,
                         Py_BuildValue("(nL)", (Py_ssize_t)at[i].index, (long long)at[i].ctime)))
            Py_CLEAR(list);
    return list;
}

static inline PyObject *came_of(const struct apply_result *result)
{
    PyObject *list = PyList_New(0);
    const struct apply_came *at = (const void *)result->came.bytes;
    size_t count = result->came.length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!list_append(list,
                         Py_BuildValue("(nIII)", (Py_ssize_t)at[i].index, (unsigned)at[i].came.mode,
                                       (unsigned)at[i].came.uid, (unsigned)at[i].came.gid)))
            Py_CLEAR(list);
    return list;
}

static inline PyObject *identities_of(const struct apply_result *result)
{
    size_t count = result->identity_kind == IDENTITY_NONE ? 0 : result->count;
    return bytes_of(result->identities, count * sizeof(uint64_t));
}

/* Say whether this is a table of modes (policy.py, packed_modes). */
static inline bool are_modes(const Py_buffer *modes)
{
    return modes->len == 2 * MODES * sizeof(uint16_t) &&
           (uintptr_t)modes->buf % _Alignof(uint16_t) == 0;
}

#define APPLY_RESULT_FIELDS 9
static PyStructSequence_Field apply_result_fields[] = {
    {"outcomes", "one byte a change: model.Outcome"},
    {"failures", "[(index, operation, errno, note)]"},
    {"stamps", "[(index, ctime in ns)] of files that lost set-id bits"},
    {"first_ctime", "of the first change, ns; or 0"},
    {"came", "[(index, mode, uid, gid)] of changes that read back differently"},
    {"identity_kind", "model.IdentityKind"},
    {"identities", "u64 a change; empty if they are of no kind"},
    {"mismatch", "whether the first change of its kind read back differently, and ended it"},
    {"kept", "what changes have shown to be kept: enum aspect"},
    {0},
};

/* The fields of an ApplyResult, as a tuple. */
static inline PyObject *apply_value(const struct apply_result *result)
{
    return Py_BuildValue("(NNNLNiNOi)", bytes_of(result->outcomes, result->count),
                         apply_failures_of(result), stamps_of(result),
                         (long long)result->first_ctime, came_of(result),
                         (int)result->identity_kind, identities_of(result),
                         result->is_mismatch ? Py_True : Py_False, (int)result->kept);
}

#endif
