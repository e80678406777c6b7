/*
 * The Python module archipmigrate._native: scan and apply, the entries of maps, and FEATURES.
 * archipmigrate/_native.pyi has the signatures.
 *
 * Only this file knows Python. It takes the arguments apart, runs walk.c, setattr.c or mapfile.c without
 * the GIL, and makes Python values of what they found:
 *
 *     module.c     Python in, Python out
 *     walk.c       scan: one walk over one unit, with place.c, read.c, look.c, lost.c (place.h)
 *     setattr.c    apply: one go through packed changes
 *     mapfile.c    convert_entries, check_entries: a map block's worth of entries
 *     levels.c     the chain of directories that both are in, on few descriptors
 *     frames.c     the packed buffers that come in and go out
 *     system.c     the kernel's calls, and which of them there are
 *
 *     struct state   the module's own: what the kernel has, and FEATURES, by which it may be denied
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <unistd.h>

#include "local/apply.h"
#include "local/scan.h"
#include "mapfile/entries.h"
#include "python/values.h"

struct state {
    struct features features;
    PyObject *dict;
};

/* ---- features */

static bool is_allowed(PyObject *dict, const char *name)
{
    PyObject *value = PyDict_GetItemString(dict, name);
    return value && PyObject_IsTrue(value) == 1;
}

/* What the kernel has, without what FEATURES denies (so that tests see what other kernels would). */
static struct features allowed_features(PyObject *module)
{
    const struct state *state = PyModule_GetState(module);
    return (struct features){
        .openat2 = state->features.openat2 && is_allowed(state->dict, "openat2"),
        .fchmodat2 = state->features.fchmodat2 && is_allowed(state->dict, "fchmodat2"),
        .statx = state->features.statx && is_allowed(state->dict, "statx"),
        .listxattrat = state->features.listxattrat && is_allowed(state->dict, "listxattrat"),
    };
}

/* ---- values */

static PyObject *chunks_of(const struct local_scan_result *result)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < result->chunk_count; i++)
        if (!append(list, groups_of(&result->chunks[i])))
            Py_CLEAR(list);
    return list;
}

static PyObject *notices_of(const struct local_scan_result *result)
{
    PyObject *list = PyList_New(0);
    const struct scan_notice *at = (const void *)result->found.notices.bytes;
    size_t count = result->found.notices.length / sizeof(*at);
    for (size_t i = 0; list && i < count; i++)
        if (!append(list,
                    Py_BuildValue("(Ns)", text_of(&result->found.text, at[i].path), at[i].kind)))
            Py_CLEAR(list);
    return list;
}

/* int descriptors, one a directory frame; None if none is open. */
static PyObject *open_dirs_of(const struct local_scan_result *result)
{
    if (result->open_dirs_count == 0)
        Py_RETURN_NONE;
    return PyByteArray_FromStringAndSize((const char *)result->open_dirs.bytes,
                                         (Py_ssize_t)result->open_dirs.length);
}

static PyObject *scan_value(struct local_scan_result *result)
{
    const struct buffer *changes = &result->found.changes;
    PyObject *wide =
        result->wide < 0
            ? Py_NewRef(Py_None)
            : Py_BuildValue("(iNK)", result->wide, text_of(&result->found.text, result->wide_path),
                            (unsigned long long)result->wide_inode);
    PyObject *value = Py_BuildValue(
        "(NNLNNNNNNNN)", tally_of(&result->found.tally),
        bytes_of(changes->bytes, result->found.count ? changes->length : 0),
        (long long)result->found.count, groups_of(&result->found.rest), chunks_of(result), wide,
        again_of(result->found.again), failures_of(&result->found.failures, &result->found.text),
        links_of(&result->found.links), notices_of(result), open_dirs_of(result));
    if (value) { /* these descriptors are the caller's from now on */
        result->wide = -1;
        result->open_dirs.length = 0;
    }
    return value;
}

/* ---- the two verbs */

PyDoc_STRVAR(scan_doc,
             "Look at the entries of a unit, depth first, until done or a limit is reached.");

static PyObject *native_scan(PyObject *module, PyObject *arguments)
{
    struct local_scan_request request = {.features = allowed_features(module)};
    Py_buffer body, cursor_path, excludes, stop;
    unsigned long long cursor_inode;
    int counted, last_try, skip_links, cross, xattrs, remote;
    unsigned directory_bits, file_bits;
    long long gid, entries, changes;
    Py_ssize_t descriptors, hold, wide, chunks;
    if (!PyArg_ParseTuple(arguments, "iy*iy*KppLIIy*pppdLLy*nnnnp:scan", &request.root, &body,
                          &request.cursor, &cursor_path, &cursor_inode, &counted, &last_try, &gid,
                          &directory_bits, &file_bits, &excludes, &skip_links, &cross, &xattrs,
                          &request.seconds, &entries, &changes, &stop, &descriptors, &hold, &wide,
                          &chunks, &remote))
        return NULL;
    PyObject *value = NULL;
    struct local_scan_result result = {.wide = -1};
    int status = -EINVAL;
    if (gid < 0 || gid >= UINT32_MAX || stop.len < 1 || descriptors < 1 || hold < 0 || wide < 1 ||
        chunks < 1) {
        if (request.cursor >= 0)
            close(request.cursor);
        goto out;
    }
    request.body = body.buf;
    request.body_length = (size_t)body.len;
    request.cursor_path = cursor_path.buf;
    request.cursor_path_length = (size_t)cursor_path.len;
    request.cursor_inode = cursor_inode;
    request.counted = counted;
    request.last_try = last_try;
    request.gid = (uint32_t)gid;
    request.directory_bits = directory_bits;
    request.file_bits = file_bits;
    request.excludes = excludes.buf;
    request.excludes_length = (size_t)excludes.len;
    request.skip_links = skip_links;
    request.cross = cross;
    request.xattrs = xattrs;
    request.remote = remote;
    request.entries = entries;
    request.changes = changes;
    request.stop = stop.buf;
    request.descriptors = (size_t)descriptors;
    request.hold = (size_t)hold;
    request.wide = (size_t)wide;
    request.chunks = (size_t)chunks;
    Py_BEGIN_ALLOW_THREADS;
    status = local_scan(&request, &result);
    Py_END_ALLOW_THREADS;
out:
    value = status < 0 ? raise_error(status) : scan_value(&result);
    local_scan_result_free(&result);
    PyBuffer_Release(&body);
    PyBuffer_Release(&cursor_path);
    PyBuffer_Release(&excludes);
    PyBuffer_Release(&stop);
    return value;
}

PyDoc_STRVAR(apply_doc, "Make, settle, check or put back packed changes.");

static PyObject *native_apply(PyObject *module, PyObject *arguments)
{
    struct local_apply_request request = {.features = allowed_features(module)};
    Py_buffer changes, held, stop;
    int verb;
    long long deny_limit, born_before;
    Py_ssize_t descriptors;
    if (!PyArg_ParseTuple(arguments, "iy*iLLnw*y*:apply", &request.root, &changes, &verb,
                          &deny_limit, &born_before, &descriptors, &held, &stop))
        return NULL;
    struct apply_result result = {0};
    int status = -EINVAL;
    if (verb >= VERB_FORWARD && verb <= VERB_BACK && descriptors >= 1 && stop.len >= 1) {
        request.changes = changes.buf;
        request.length = (size_t)changes.len;
        request.verb = (enum verb)verb;
        request.deny_limit = deny_limit;
        request.born_before = born_before;
        request.descriptors = (size_t)descriptors;
        request.stop = stop.buf;
        request.open_dirs = held.buf;
        request.open_dirs_count = (size_t)held.len / sizeof(*request.open_dirs);
        Py_BEGIN_ALLOW_THREADS;
        status = local_apply(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value = status < 0 ? raise_error(status) : apply_value(&result);
    apply_result_free(&result);
    PyBuffer_Release(&changes);
    PyBuffer_Release(&held);
    PyBuffer_Release(&stop);
    return value;
}

/* ---- entries of maps */

PyDoc_STRVAR(convert_entries_doc, "Return v2 entries for the entries of a map of version 0 or 1.");

static PyObject *native_convert_entries(PyObject *module, PyObject *arguments)
{
    (void)module;
    int version;
    Py_buffer entries;
    if (!PyArg_ParseTuple(arguments, "iy*:convert_entries", &version, &entries))
        return NULL;
    PyObject *value = NULL;
    size_t count;
    int status = count_entries(version, (size_t)entries.len, &count);
    if (status == 0 && count > PY_SSIZE_T_MAX / ENTRY_BYTES)
        status = -ENOMEM;
    if (status < 0)
        raise_error(status);
    else
        value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * ENTRY_BYTES));
    if (value) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(value); /* nobody else has it yet */
        Py_BEGIN_ALLOW_THREADS;
        convert_entries(version, entries.buf, (size_t)entries.len, to); /* whole: just counted */
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&entries);
    return value;
}

PyDoc_STRVAR(check_entries_doc, "Return the index of the first malformed v2 entry, or -1.");

static PyObject *native_check_entries(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer block;
    if (!PyArg_ParseTuple(arguments, "y*:check_entries", &block))
        return NULL;
    size_t first = 0;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = check_entries(block.buf, (size_t)block.len, &first);
    Py_END_ALLOW_THREADS;
    bool is_good = first == (size_t)block.len / ENTRY_BYTES;
    PyBuffer_Release(&block);
    if (status < 0)
        return raise_error(status);
    return PyLong_FromSsize_t(is_good ? -1 : (Py_ssize_t)first);
}

/* ---- the module */

static int module_exec(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->features = sys_probe_features();
    state->dict = Py_BuildValue(
        "{s:N,s:N,s:N,s:N}", "openat2", PyBool_FromLong(state->features.openat2), "fchmodat2",
        PyBool_FromLong(state->features.fchmodat2), "statx", PyBool_FromLong(state->features.statx),
        "listxattrat", PyBool_FromLong(state->features.listxattrat));
    if (!state->dict)
        return -1;
    return PyModule_AddObjectRef(module, "FEATURES", state->dict);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->dict);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->dict);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyMethodDef methods[] = {
    {"scan", native_scan, METH_VARARGS, scan_doc},
    {"apply", native_apply, METH_VARARGS, apply_doc},
    {"convert_entries", native_convert_entries, METH_VARARGS, convert_entries_doc},
    {"check_entries", native_check_entries, METH_VARARGS, check_entries_doc},
    {0},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Scan, apply and map entries in C.",
    .m_size = sizeof(struct state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
