/*
 * The Python module archipmigrate._native: scan and apply on directories, and the entries of maps.
 * archipmigrate/_native.pyi has the signatures.
 *
 *     struct module_state   of one instance of the module: the kernel's features, and its types
 *     struct scan_buffers   the buffers among the arguments of scan
 *
 * The map of native/
 *
 * Two Python modules are built from it. Only python/ includes Python.h: it parses arguments, runs
 * the work without the GIL, and makes Python values of the results. All other files compile, are
 * tested and fuzzed without it. A folder includes core/ and itself; functions have their folder's
 * prefix, or that of their structure (walk_ in local/scan*.c); they return 0 or a number, or
 * -errno.
 *
 *     python/native_module.c         _native: local/ and mapfile/entries, and what these add:
 *     python/objects.[ch]            _native: objects/
 *     python/maps.[ch]               _native: mapfile/files and mapfile/survey
 *     python/chosen.[ch]             _native: core/chosen
 *     python/nfs_module.c            _nfs: nfs/
 *     python/values.h                what either found, as Python values
 *     python/basics.h                small values, and exceptions
 *     python/named.h                 results with named fields
 *
 *   for native_module.c:
 *
 *     local/scan.[ch]                scan: one walk over one unit; its loop and its limits
 *       local/scan_stack.[ch]        the stack of directories, their names, their frames
 *       local/scan_dir.c             directories: opened, read, entered
 *       local/scan_entry.c           entries against the policy
 *       local/scan_skip.c            what is skipped
 *       local/scan_errors.c          what could not be looked at
 *     local/apply.[ch]               apply: makes, settles, checks or puts back packed changes
 *     local/dirchain.[ch]            for both: the chain of directories, on few descriptors
 *     objects/move.[ch]              moves packed objects to their new places, or back
 *       objects/directories.[ch]     the directories that they go to, made where they are missing
 *     objects/survey.[ch]            walks directories; finds objects, and those that are to move
 *       objects/leaves.[ch]          which directories of the third level there are
 *       objects/classify.[ch]        what a file is by its name and place
 *     objects/check.[ch]             looks for the objects that maps name
 *     objects/moves.[ch]             for these: packed moves
 *     mapfile/entries.[ch]           the entries of older maps as v2 entries; malformed entries
 *     mapfile/survey.[ch]            walks directories; finds the files of maps, reads their heads
 *       mapfile/found.[ch]           what a file is by its name and place, a map by its head
 *     mapfile/files.[ch]             files of many volumes: made, linked, removed together
 *       mapfile/threads.[ch]         their waits meet
 *
 *   for nfs_module.c:
 *
 *     nfs/client.[ch]                the open share: mount, connections, handles of directories
 *       nfs/client_state.[ch]        what is known of it
 *     nfs/scan.[ch]                  scan: one unit, many calls in flight
 *       nfs/scan_tree.[ch]           directories as nodes, entries against the policy, frames
 *       nfs/scan_replies.c           replies to calls, and what went wrong
 *     nfs/apply.[ch]                 apply: which changes are begun, and in which order
 *       nfs/apply_dirs.c             finding directories
 *       nfs/apply_calls.c            calls for entries; changes in batches
 *       nfs/apply_entry.[ch]         what a verb does with one entry
 *     nfs/identity.[ch]              what tells an entry from one that has its number later
 *     nfs/kernel_handle.[ch]         the handle of a mounted directory, from the kernel's client
 *     nfs/proto/protocol.[ch]        what a version of NFS provides
 *       nfs/proto/nfs3.[ch]          NFSv3, MOUNT and the port mapper
 *       nfs/proto/nfs4.[ch]          NFSv4.0
 *       nfs/proto/session.[ch]       how many operations a compound may have
 *       nfs/proto/idmap.[ch]         owners of NFSv4, which may be names
 *     nfs/proto/rpc.[ch]             connections with many calls in flight
 *       nfs/proto/pace.[ch]          how many calls may be in flight
 *       nfs/proto/xdr.h              the encoding of calls and replies
 *
 *   for both:
 *
 *     core/result.[ch]               what scan and apply find; verbs and outcomes
 *     core/attrs.[ch]                the policy's rules, and what a change allows
 *     core/listing.[ch]              directories read as they are now, on NFS by one call less
 *     core/paths.[ch]                directories that wait to be walked
 *     core/sha256.[ch]               the digests that places are made of
 *     core/groups.[ch]               the packed body of a unit: directories and names in them
 *     core/changes.[ch]              packed changes: pre-images in frames of directories
 *       core/packing.h               little-endian integers
 *       core/chosen.[ch]             those that an undo puts back; used by _native only
 *     core/known.[ch]                what is known of entries when they are put back
 *     core/names.[ch]                checks of names and paths that come from Python
 *     core/buffer.[ch]               bytes that grow
 *     core/system.[ch]               the kernel's calls, and which of them there are
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <unistd.h>

#include "local/apply.h"
#include "local/scan.h"
#include "mapfile/entries.h"
#include "python/chosen.h"
#include "python/maps.h"
#include "python/named.h"
#include "python/objects.h"
#include "python/values.h"

struct module_state {
    struct features features;
    PyObject *allowed; /* FEATURES: tests deny features there */
    PyTypeObject *scan_result;
    PyTypeObject *apply_result;
};

static PyStructSequence_Desc scan_result_description = {
    .name = "archipmigrate._native.ScanResult",
    .doc = "What a scan found.",
    .fields =
        (PyStructSequence_Field[]){
            {"tally", "the fields of model.Tally"},
            {"changes", "packed; empty if there are none"},
            {"change_count", NULL},
            {"rest", "(packed groups, number of names), or None"},
            {"chunks", "of a wide directory: [(packed group, number of names)]"},
            {"wide", "(descriptor, path, inode) of a directory whose reading goes on, or None"},
            {"again", "to retry: [(packed groups, number of names, are they counted)]"},
            {"failures", "[(path, operation, errno)]"},
            {"links", "[(offset of the change, device, inode)]"},
            {"notices", "[(path, kind)]"},
            {"open_dirs", "C ints: for each directory frame its descriptor or -1; or None"},
            {"deferred", "directories to be changed after all: (packed groups, number), or None"},
            {0},
        },
    .n_in_sequence = 12,
};

static PyStructSequence_Desc apply_result_description = {
    .name = "archipmigrate._native.ApplyResult",
    .doc = "The outcomes of an apply.",
    .fields = apply_result_fields,
    .n_in_sequence = APPLY_RESULT_FIELDS,
};

static struct module_state *module_state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* ---- features */

static bool is_allowed(PyObject *allowed, const char *name)
{
    PyObject *value = PyDict_GetItemString(allowed, name);
    return value && PyObject_IsTrue(value) == 1;
}

struct features allowed_features(PyObject *module)
{
    const struct module_state *state = module_state_of(module);
    const struct features *kernel = &state->features;
    return (struct features){
        .openat2 = kernel->openat2 && is_allowed(state->allowed, "openat2"),
        .fchmodat2 = kernel->fchmodat2 && is_allowed(state->allowed, "fchmodat2"),
        .statx = kernel->statx && is_allowed(state->allowed, "statx"),
        .listxattrat = kernel->listxattrat && is_allowed(state->allowed, "listxattrat"),
    };
}

/* ---- scan */

static PyObject *chunks_of(const struct local_scan_result *result)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < result->chunk_count; i++)
        if (!list_append(list, groups_of(&result->chunks[i])))
            Py_CLEAR(list);
    return list;
}

static PyObject *wide_of(const struct local_scan_result *result)
{
    if (result->wide < 0)
        Py_RETURN_NONE;
    return Py_BuildValue("(iNK)", result->wide, text_of(&result->found.text, result->wide_path),
                         (unsigned long long)result->wide_inode);
}

static PyObject *open_dirs_of(const struct local_scan_result *result)
{
    if (result->open_dirs_count == 0)
        Py_RETURN_NONE;
    return PyByteArray_FromStringAndSize((const char *)result->open_dirs.bytes,
                                         (Py_ssize_t)result->open_dirs.length);
}

static PyObject *scan_value(PyObject *module, struct local_scan_result *result)
{
    const struct scan_result *found = &result->found;
    PyObject *value = named_value(
        module_state_of(module)->scan_result,
        Py_BuildValue("(NNLNNNNNNNNN)", tally_of(&found->tally),
                      bytes_of(found->changes.bytes, found->count ? found->changes.length : 0),
                      (long long)found->count, groups_of(&found->rest), chunks_of(result),
                      wide_of(result), again_of(found->again),
                      failures_of(&found->failures, &found->text), links_of(&found->links),
                      notices_of(&found->notices, &found->text), open_dirs_of(result),
                      groups_of(&found->deferred)));
    if (value) { /* these descriptors are the caller's from now on */
        result->wide = -1;
        result->open_dirs.length = 0;
    }
    return value;
}

struct scan_buffers {
    Py_buffer body, cursor_path, modes, excludes, snapshots, stop;
};

static void release_scan_buffers(struct scan_buffers *buffers)
{
    PyBuffer_Release(&buffers->body);
    PyBuffer_Release(&buffers->cursor_path);
    PyBuffer_Release(&buffers->modes);
    PyBuffer_Release(&buffers->excludes);
    PyBuffer_Release(&buffers->snapshots);
    PyBuffer_Release(&buffers->stop);
}

/* Parse the arguments of a scan: 0, -EINVAL, or 1 with an exception. With 1, release no buffers. */
static int parse_scan(PyObject *arguments, PyObject *keywords, struct local_scan_request *request,
                      struct scan_buffers *buffers)
{
    static char *names[] = {
        "root",       "body",    "cursor",  "cursor_path", "cursor_inode", "counted",
        "last_try",   "uid",     "gid",     "modes",       "excludes",     "snapshots",
        "skip_links", "cross",   "xattrs",  "remote",      "never_device", "never_inode",
        "seconds",    "entries", "changes", "stop",        "descriptors",  "most_open_dirs",
        "wide",       "chunks",  NULL,
    };
    int counted, last_try, skip_links, cross, xattrs, remote;
    unsigned long long cursor_inode, never_device, never_inode;
    long long uid, gid, entries, changes;
    Py_ssize_t descriptors, most_open_dirs, wide, chunks;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, keywords, "$iy*iy*KppLLy*y*y*ppppKKdLLy*nnnn:scan", names, &request->root,
            &buffers->body, &request->cursor, &buffers->cursor_path, &cursor_inode, &counted,
            &last_try, &uid, &gid, &buffers->modes, &buffers->excludes, &buffers->snapshots,
            &skip_links, &cross, &xattrs, &remote, &never_device, &never_inode, &request->seconds,
            &entries, &changes, &buffers->stop, &descriptors, &most_open_dirs, &wide, &chunks))
        return 1;
    request->body = buffers->body.buf;
    request->body_length = (size_t)buffers->body.len;
    request->cursor_path = buffers->cursor_path.buf;
    request->cursor_path_length = (size_t)buffers->cursor_path.len;
    request->cursor_inode = cursor_inode;
    request->counted = counted;
    request->last_try = last_try;
    request->policy.ids = (struct ids){(uint32_t)uid, (uint32_t)gid};
    request->policy.modes = buffers->modes.buf;
    request->excludes = buffers->excludes.buf;
    request->excludes_length = (size_t)buffers->excludes.len;
    request->snapshots = buffers->snapshots.buf;
    request->snapshots_length = (size_t)buffers->snapshots.len;
    request->policy.skip_links = skip_links;
    request->cross = cross;
    request->xattrs = xattrs;
    request->remote = remote;
    request->never_device = never_device;
    request->never_inode = never_inode;
    request->entries = entries;
    request->changes = changes;
    request->stop = buffers->stop.buf;
    request->descriptors = (size_t)descriptors;
    request->most_open_dirs = (size_t)most_open_dirs;
    request->wide = (size_t)wide;
    request->chunks = (size_t)chunks;
    bool is_good = are_modes(&buffers->modes) && uid >= 0 && uid <= NO_ID && gid >= 0 &&
                   gid < NO_ID && buffers->stop.len >= 1 && descriptors >= 1 &&
                   most_open_dirs >= 0 && wide >= 1 && chunks >= 1;
    return is_good ? 0 : -EINVAL;
}

PyDoc_STRVAR(scan_doc, "Look at the entries of a unit, depth first, until done or a limit is "
                       "reached. Takes the cursor over.");

static PyObject *native_scan(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    struct local_scan_request request = {.features = allowed_features(module)};
    struct local_scan_result result = {.wide = -1};
    struct scan_buffers buffers;
    int status = parse_scan(arguments, keywords, &request, &buffers);
    if (status > 0)
        return NULL;
    if (status == 0) {
        Py_BEGIN_ALLOW_THREADS;
        status = local_scan(&request, &result);
        Py_END_ALLOW_THREADS;
    } else if (request.cursor >= 0) {
        close(request.cursor);
    }
    PyObject *value = status < 0 ? raise_error(status) : scan_value(module, &result);
    local_scan_result_free(&result);
    release_scan_buffers(&buffers);
    return value;
}

/* ---- apply */

PyDoc_STRVAR(apply_doc, "Make, settle, check or put back packed changes.");

static PyObject *native_apply(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"root", "changes",     "verb",      "deny_limit", "known",
                            "kept", "descriptors", "open_dirs", "stop",       NULL};
    struct local_apply_request request = {.features = allowed_features(module)};
    Py_buffer changes, open_dirs, stop;
    struct known_buffers known;
    struct apply_result result = {0};
    int verb;
    long long deny_limit;
    Py_ssize_t descriptors;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$iy*iLO&bnw*y*:apply", names,
                                     &request.root, &changes, &verb, &deny_limit, parse_known,
                                     &known, &result.kept, &descriptors, &open_dirs, &stop))
        return NULL;
    int status = -EINVAL;
    request.known = known_of(&known);
    if (verb >= VERB_FORWARD && verb <= VERB_BACK && descriptors >= 1 && stop.len >= 1 &&
        known_is_valid(&request.known)) {
        request.changes = changes.buf;
        request.length = (size_t)changes.len;
        request.verb = (enum verb)verb;
        request.deny_limit = deny_limit;
        request.descriptors = (size_t)descriptors;
        request.stop = stop.buf;
        request.open_dirs = open_dirs.buf;
        request.open_dirs_count = (size_t)open_dirs.len / sizeof(*request.open_dirs);
        Py_BEGIN_ALLOW_THREADS;
        status = local_apply(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value =
        status < 0 ? raise_error(status)
                   : named_value(module_state_of(module)->apply_result, apply_value(&result));
    apply_result_free(&result);
    release_known(&known);
    PyBuffer_Release(&changes);
    PyBuffer_Release(&open_dirs);
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
    int status = mapfile_count_entries(version, (size_t)entries.len, &count);
    if (status == 0 && count > PY_SSIZE_T_MAX / ENTRY_BYTES)
        status = -ENOMEM;
    if (status < 0)
        raise_error(status);
    else
        value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * ENTRY_BYTES));
    if (value) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(value); /* nobody else has it yet */
        Py_BEGIN_ALLOW_THREADS;
        mapfile_convert_entries(version, entries.buf, (size_t)entries.len,
                                to); /* whole: just counted */
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
    status = mapfile_check_entries(block.buf, (size_t)block.len, &first);
    Py_END_ALLOW_THREADS;
    bool is_good = first == (size_t)block.len / ENTRY_BYTES;
    PyBuffer_Release(&block);
    if (status < 0)
        return raise_error(status);
    return PyLong_FromSsize_t(is_good ? -1 : (Py_ssize_t)first);
}

/* ---- the module */

static int module_execute(PyObject *module)
{
    struct module_state *state = module_state_of(module);
    state->features = sys_probe_features();
    state->allowed = Py_BuildValue(
        "{s:N,s:N,s:N,s:N}", "openat2", PyBool_FromLong(state->features.openat2), "fchmodat2",
        PyBool_FromLong(state->features.fchmodat2), "statx", PyBool_FromLong(state->features.statx),
        "listxattrat", PyBool_FromLong(state->features.listxattrat));
    if (!state->allowed || PyModule_AddObjectRef(module, "FEATURES", state->allowed) < 0)
        return -1;
    state->scan_result = named_type(module, &scan_result_description);
    state->apply_result = named_type(module, &apply_result_description);
    if (!state->scan_result || !state->apply_result)
        return -1;
    if (PyModule_AddFunctions(module, objects_methods) < 0 ||
        PyModule_AddFunctions(module, maps_methods) < 0 ||
        PyModule_AddFunctions(module, chosen_methods) < 0)
        return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = module_state_of(module);
    Py_VISIT(state->allowed);
    Py_VISIT(state->scan_result);
    Py_VISIT(state->apply_result);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *state = module_state_of(module);
    Py_CLEAR(state->allowed);
    Py_CLEAR(state->scan_result);
    Py_CLEAR(state->apply_result);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)(void (*)(void))native_scan, METH_VARARGS | METH_KEYWORDS, scan_doc},
    {"apply", (PyCFunction)(void (*)(void))native_apply, METH_VARARGS | METH_KEYWORDS, apply_doc},
    {"convert_entries", native_convert_entries, METH_VARARGS, convert_entries_doc},
    {"check_entries", native_check_entries, METH_VARARGS, check_entries_doc},
    {0},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_execute},
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
    .m_size = sizeof(struct module_state),
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
