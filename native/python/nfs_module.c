/*
 * The Python module archipmigrate._nfs: scan and apply over NFS, without a mount.
 * archipmigrate/_nfs.pyi has the signatures.
 *
 * This file parses arguments, runs the work without the GIL, and makes Python values of the
 * results. native_module.c has the map of the files.
 *
 *     struct module_state    the types of one instance of the module
 *     struct open_share      an OpenShare: its client is closed with the last reference
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>

#include "nfs/apply.h"
#include "nfs/client.h"
#include "nfs/kernel_handle.h"
#include "nfs/scan.h"
#include "python/named.h"
#include "python/values.h"

struct module_state {
    PyTypeObject *open_share;
    PyTypeObject *attributes;
    PyTypeObject *scan_result;
    PyTypeObject *apply_result;
};

struct open_share {
    PyObject_HEAD struct nfs_client *client;
};

static PyStructSequence_Desc attributes_description = {
    .name = "archipmigrate._nfs.Attributes",
    .doc = "Attributes of a directory; ctime in ns.",
    .fields =
        (PyStructSequence_Field[]){
            {"inode", NULL}, {"mode", NULL}, {"uid", NULL}, {"gid", NULL}, {"ctime", NULL}, {0}},
    .n_in_sequence = 5,
};

static PyStructSequence_Desc scan_result_description = {
    .name = "archipmigrate._nfs.ScanResult",
    .doc = "What a scan found.",
    .fields =
        (PyStructSequence_Field[]){
            {"tally", "the fields of model.Tally"},
            {"changes", "packed"},
            {"change_count", NULL},
            {"rest", "(packed groups, number of names), or None"},
            {"wide", "(path, inode, cursor) of a directory whose reading goes on, or None"},
            {"again", "to retry: (packed groups, number of names, are they counted)"},
            {"failures", "(path, operation, errno)"},
            {"links", "(offset of the change, device, inode)"},
            {"notices", "(path, kind)"},
            {"handles", "of the entries that must change, for apply"},
            {"keys", "u64 of each name that was read by a cursor"},
            {"deferred", "directories to be changed after all: (packed groups, number), or None"},
            {0},
        },
    .n_in_sequence = 12,
};

static PyStructSequence_Desc apply_result_description = {
    .name = "archipmigrate._nfs.ApplyResult",
    .doc = "The outcomes of an apply.",
    .fields = apply_result_fields,
    .n_in_sequence = APPLY_RESULT_FIELDS,
};

static struct module_state *module_state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static struct module_state *module_state_of_share(PyObject *share)
{
    return PyType_GetModuleState(Py_TYPE(share));
}

static struct nfs_client *client_of(PyObject *share)
{
    return ((struct open_share *)share)->client;
}

static PyObject *attributes_value(const struct module_state *state, const struct proto_attrs *attrs)
{
    return named_value(state->attributes,
                       Py_BuildValue("(KIIIL)", (unsigned long long)attrs->fileid, attrs->mode,
                                     attrs->uid, attrs->gid, (long long)proto_time(attrs->ctime)));
}

/* ---- functions of the module */

PyDoc_STRVAR(mount_doc,
             "Mount a share and return an OpenShare. Raises OSError; its filename is the step that "
             "failed.");

static PyObject *module_mount(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"server", "path", "version", "nfs_port", "mount_port", "mount_server",
                            "root",   "uid",  "gid",     "patience", "domain",     NULL};
    struct nfs_client_settings settings = {
        .uid = -1, .gid = -1, .patience = 60, .domain = "", .calls = NFS_MAX_CALLS};
    long long uid = -1, gid = -1;
    const char *root = "";
    Py_ssize_t root_length = 0;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, keywords, "syi|$HHzy#LLds:mount", names, &settings.server, &settings.path,
            &settings.version, &settings.nfs_port, &settings.mount_port, &settings.mount_server,
            &root, &root_length, &uid, &gid, &settings.patience, &settings.domain))
        return NULL;
    if ((settings.version != 3 && settings.version != 4) ||
        !(settings.patience > 0 && settings.patience < 1e6) || root_length > PROTO_MAX_HANDLE ||
        strlen(settings.domain) > IDMAP_MAX_DOMAIN)
        return raise_error(-EINVAL);
    settings.root.length = (uint8_t)root_length;
    memcpy(settings.root.bytes, root, (size_t)root_length);
    settings.uid = uid;
    settings.gid = gid;
    struct nfs_client *client = NULL;
    const char *operation = "";
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_client_open(&settings, &client, &operation);
    Py_END_ALLOW_THREADS;
    if (status < 0) {
        errno = -status;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, operation);
    }
    struct open_share *share = PyObject_New(struct open_share, module_state_of(module)->open_share);
    if (!share) {
        nfs_client_close(client);
        return NULL;
    }
    share->client = client;
    return (PyObject *)share;
}

PyDoc_STRVAR(
    mounted_doc,
    "Return the attributes of an open directory on a mount, fresh from the server, and the "
    "server's handle of it (empty: unknown). Raises OSError.");

static PyObject *module_mounted(PyObject *module, PyObject *descriptor)
{
    int fd = PyObject_AsFileDescriptor(descriptor);
    if (fd < 0)
        return NULL;
    struct proto_attrs attrs = {0};
    struct proto_handle handle = {0};
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = kernel_handle_attrs(fd, &attrs);
    if (status == 0)
        (void)kernel_handle_read(fd, &attrs, &handle); /* the share can be found without it */
    Py_END_ALLOW_THREADS;
    if (status < 0)
        return raise_error(status);
    return Py_BuildValue("(NN)", attributes_value(module_state_of(module), &attrs),
                         bytes_of(handle.bytes, handle.length));
}

/* ---- the open share */

static void share_dealloc(PyObject *share)
{
    PyTypeObject *type = Py_TYPE(share);
    struct nfs_client *client = client_of(share);
    Py_BEGIN_ALLOW_THREADS;
    nfs_client_close(client);
    Py_END_ALLOW_THREADS;
    PyObject_Free(share);
    Py_DECREF(type);
}

static PyObject *share_version(PyObject *share, void *closure)
{
    (void)closure;
    return PyLong_FromLong(nfs_client_version(client_of(share)));
}

static PyObject *share_root_inode(PyObject *share, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(nfs_client_root_inode(client_of(share)));
}

static PyObject *share_unknown_owner(PyObject *share, void *closure)
{
    (void)closure;
    char text[IDMAP_MAX_OWNER];
    idmap_first_unknown(nfs_client_idmap(client_of(share)), text);
    return bytes_of(text, strlen(text));
}

static PyObject *share_bound(PyObject *share, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(nfs_client_bound(client_of(share)));
}

static PyObject *share_is_unguarded(PyObject *share, void *closure)
{
    (void)closure;
    return PyBool_FromLong(nfs_client_is_unguarded(client_of(share)));
}

static PyObject *share_calls(PyObject *share, void *closure)
{
    (void)closure;
    uint64_t calls[PROTO_PROCEDURES];
    nfs_client_calls(client_of(share), calls);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < PROTO_PROCEDURES; i++)
        if (!list_append(list, PyLong_FromUnsignedLongLong(calls[i])))
            Py_CLEAR(list);
    return list;
}

static PyGetSetDef share_properties[] = {
    {"version", share_version, NULL, "The version of NFS: 3 or 4.", NULL},
    {"root_inode", share_root_inode, NULL, "The root's inode.", NULL},
    {"unknown_owner", share_unknown_owner, NULL,
     "The first owner that was not understood, or b\"\".", NULL},
    {"bound", share_bound, NULL, "How many calls may be in flight now.", NULL},
    {"is_unguarded", share_is_unguarded, NULL, "Whether the server refuses guards.", NULL},
    {"calls", share_calls, NULL, "How often each procedure was called, by its number.", NULL},
    {0},
};

PyDoc_STRVAR(set_bound_doc, "Set how many calls may be in flight at most, from 1 to 512.");

static PyObject *share_set_bound(PyObject *share, PyObject *number)
{
    Py_ssize_t calls = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (calls == -1 && PyErr_Occurred())
        return NULL;
    if (calls < 1 || calls > NFS_MAX_CALLS)
        return raise_error(-EINVAL);
    nfs_client_set_bound(client_of(share), (size_t)calls);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(root_attributes_doc,
             "Return the root's attributes, fresh from the server. Raises OSError.");

static PyObject *share_root_attributes(PyObject *share, PyObject *unused)
{
    (void)unused;
    struct proto_attrs attrs = {0};
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_client_root_attrs(client_of(share), &attrs);
    Py_END_ALLOW_THREADS;
    return status < 0 ? raise_error(status)
                      : attributes_value(module_state_of_share(share), &attrs);
}

PyDoc_STRVAR(used_inodes_doc,
             "Return how many inodes the share's filesystem has in use. Raises OSError.");

static PyObject *share_used_inodes(PyObject *share, PyObject *unused)
{
    (void)unused;
    uint64_t used = 0;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_client_used_inodes(client_of(share), &used);
    Py_END_ALLOW_THREADS;
    return status < 0 ? raise_error(status) : PyLong_FromUnsignedLongLong(used);
}

/* ---- scan */

static PyObject *wide_value(const struct nfs_scan_result *result)
{
    if (!result->is_wide)
        Py_RETURN_NONE;
    return Py_BuildValue("(NKN)", text_of(&result->found.text, result->wide_path),
                         (unsigned long long)result->wide.inode,
                         bytes_of(&result->wide, sizeof(result->wide)));
}

static PyObject *scan_value(const struct module_state *state, const struct nfs_scan_result *result)
{
    const struct scan_result *found = &result->found;
    return named_value(
        state->scan_result,
        Py_BuildValue("(NNLNNNNNNNNN)", tally_of(&found->tally),
                      bytes_of(found->changes.bytes, found->changes.length),
                      (long long)found->count, groups_of(&found->rest), wide_value(result),
                      again_of(found->again), failures_of(&found->failures, &found->text),
                      links_of(&found->links), notices_of(&found->notices, &found->text),
                      bytes_of(result->handles.bytes, result->handles.length),
                      bytes_of(result->keys.bytes, result->keys.length),
                      groups_of(&found->deferred)));
}

/* Buffers of a scan's arguments, to be released together. */
struct scan_buffers {
    Py_buffer body, cursor, cursor_path, passed, modes, excludes, snapshots, stop;
};

static void release_scan_buffers(struct scan_buffers *buffers)
{
    PyBuffer_Release(&buffers->body);
    PyBuffer_Release(&buffers->cursor);
    PyBuffer_Release(&buffers->cursor_path);
    PyBuffer_Release(&buffers->passed);
    PyBuffer_Release(&buffers->modes);
    PyBuffer_Release(&buffers->excludes);
    PyBuffer_Release(&buffers->snapshots);
    PyBuffer_Release(&buffers->stop);
}

/*
 * Parse the arguments of a scan: true, and the buffers are to be released; or false with an
 * exception.
 */
static bool parse_scan(PyObject *arguments, PyObject *keywords, struct nfs_scan_request *request,
                       struct nfs_cursor *cursor, struct scan_buffers *buffers)
{
    static char *names[] = {"body",       "cursor",   "cursor_path", "continues",  "passed",
                            "wants_keys", "counted",  "last_try",    "uid",        "gid",
                            "modes",      "excludes", "snapshots",   "skip_links", "cross",
                            "retain",     "seconds",  "entries",     "changes",    "stop",
                            "wide",       NULL};
    int continues, wants_keys, counted, last_try, skip_links, cross, retain;
    long long uid, gid, entries, changes;
    Py_ssize_t wide;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$y*y*y*py*pppLLy*y*y*pppdLLy*n:scan",
                                     names, &buffers->body, &buffers->cursor, &buffers->cursor_path,
                                     &continues, &buffers->passed, &wants_keys, &counted, &last_try,
                                     &uid, &gid, &buffers->modes, &buffers->excludes,
                                     &buffers->snapshots, &skip_links, &cross, &retain,
                                     &request->seconds, &entries, &changes, &buffers->stop, &wide))
        return false;
    bool is_cursor = buffers->cursor.len == sizeof(*cursor);
    if (uid < 0 || uid > NO_ID || gid < 0 || gid >= NO_ID || buffers->stop.len < 1 || wide < 1 ||
        !are_modes(&buffers->modes) || (!is_cursor && buffers->cursor.len != 0)) {
        release_scan_buffers(buffers);
        raise_error(-EINVAL);
        return false;
    }
    if (is_cursor)
        memcpy(cursor, buffers->cursor.buf, sizeof(*cursor));
    request->cursor = is_cursor ? cursor : NULL;
    request->body = buffers->body.buf;
    request->body_length = (size_t)buffers->body.len;
    request->cursor_path = buffers->cursor_path.buf;
    request->cursor_path_length = (size_t)buffers->cursor_path.len;
    request->continues = continues;
    request->passed = buffers->passed.buf;
    request->passed_count = (size_t)buffers->passed.len / sizeof(*request->passed);
    request->wants_keys = wants_keys;
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
    request->retain = retain;
    request->entries = entries;
    request->changes = changes;
    request->stop = buffers->stop.buf;
    request->wide = (size_t)wide;
    return true;
}

PyDoc_STRVAR(scan_doc, "Look at the entries of a unit until done or a limit is reached.");

static PyObject *share_scan(PyObject *share, PyObject *arguments, PyObject *keywords)
{
    struct nfs_scan_request request = {.client = client_of(share)};
    struct nfs_cursor cursor;
    struct scan_buffers buffers;
    if (!parse_scan(arguments, keywords, &request, &cursor, &buffers))
        return NULL;
    struct nfs_scan_result result = {0};
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_scan(&request, &result);
    Py_END_ALLOW_THREADS;
    PyObject *value =
        status < 0 ? raise_error(status) : scan_value(module_state_of_share(share), &result);
    nfs_scan_result_free(&result);
    release_scan_buffers(&buffers);
    return value;
}

/* ---- apply */

PyDoc_STRVAR(apply_doc, "Make, settle, check or put back packed changes.");

static PyObject *share_apply(PyObject *share, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"changes", "verb",     "deny_limit", "known",
                            "handles", "is_retry", "stop",       NULL};
    struct nfs_apply_request request = {.client = client_of(share)};
    Py_buffer changes, handles, stop;
    struct known_buffers known;
    int verb, is_retry;
    long long deny_limit;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$y*iLO&y*py*:apply", names, &changes,
                                     &verb, &deny_limit, parse_known, &known, &handles, &is_retry,
                                     &stop))
        return NULL;
    struct apply_result result = {0};
    int status = -EINVAL;
    request.known = known_of(&known);
    if (verb >= VERB_FORWARD && verb <= VERB_BACK && stop.len >= 1 &&
        known_is_valid(&request.known)) {
        request.changes = changes.buf;
        request.length = (size_t)changes.len;
        request.verb = (enum verb)verb;
        request.deny_limit = deny_limit;
        request.handles = handles.buf;
        request.handles_length = (size_t)handles.len;
        request.is_retry = is_retry;
        request.stop = stop.buf;
        Py_BEGIN_ALLOW_THREADS;
        status = nfs_apply(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    PyObject *value =
        status < 0 ? raise_error(status)
                   : named_value(module_state_of_share(share)->apply_result, apply_value(&result));
    apply_result_free(&result);
    release_known(&known);
    PyBuffer_Release(&changes);
    PyBuffer_Release(&handles);
    PyBuffer_Release(&stop);
    return value;
}

PyDoc_STRVAR(join_doc,
             "Spread connections over the address of another OpenShare, too. Return None, or in "
             "which respect the root is another one there.");

static PyObject *share_join(PyObject *share, PyObject *other)
{
    if (!Py_IS_TYPE(other, module_state_of_share(share)->open_share))
        return raise_error(-EINVAL);
    const char *difference = nfs_client_join(client_of(share), client_of(other));
    return Py_BuildValue("z", difference);
}

static PyMethodDef share_methods[] = {
    {"join", share_join, METH_O, join_doc},
    {"root_attributes", share_root_attributes, METH_NOARGS, root_attributes_doc},
    {"used_inodes", share_used_inodes, METH_NOARGS, used_inodes_doc},
    {"set_bound", share_set_bound, METH_O, set_bound_doc},
    {"scan", (PyCFunction)(void (*)(void))share_scan, METH_VARARGS | METH_KEYWORDS, scan_doc},
    {"apply", (PyCFunction)(void (*)(void))share_apply, METH_VARARGS | METH_KEYWORDS, apply_doc},
    {0},
};

PyDoc_STRVAR(open_share_doc, "A share that is open by NFS; thread-safe. It closes with its last "
                             "reference. `mount` makes it.");

static PyType_Slot share_slots[] = {
    {Py_tp_doc, (void *)open_share_doc},
    {Py_tp_dealloc, share_dealloc},
    {Py_tp_getset, share_properties},
    {Py_tp_methods, share_methods},
    {0},
};

static PyType_Spec share_spec = {
    .name = "archipmigrate._nfs.OpenShare",
    .basicsize = sizeof(struct open_share),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = share_slots,
};

/* ---- the module */

static int module_execute(PyObject *module)
{
    struct module_state *state = module_state_of(module);
    state->open_share = (PyTypeObject *)PyType_FromModuleAndSpec(module, &share_spec, NULL);
    if (!state->open_share || PyModule_AddType(module, state->open_share) < 0)
        return -1;
    state->attributes = named_type(module, &attributes_description);
    state->scan_result = named_type(module, &scan_result_description);
    state->apply_result = named_type(module, &apply_result_description);
    return state->attributes && state->scan_result && state->apply_result ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = module_state_of(module);
    Py_VISIT(state->open_share);
    Py_VISIT(state->attributes);
    Py_VISIT(state->scan_result);
    Py_VISIT(state->apply_result);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *state = module_state_of(module);
    Py_CLEAR(state->open_share);
    Py_CLEAR(state->attributes);
    Py_CLEAR(state->scan_result);
    Py_CLEAR(state->apply_result);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyMethodDef module_methods[] = {
    {"mount", (PyCFunction)(void (*)(void))module_mount, METH_VARARGS | METH_KEYWORDS, mount_doc},
    {"mounted", module_mounted, METH_O, mounted_doc},
    {0},
};

static PyModuleDef_Slot module_slots[] = {
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
    .m_name = "_nfs",
    .m_doc = "Scan and apply over NFS.",
    .m_size = sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__nfs(void)
{
    return PyModuleDef_Init(&definition);
}
