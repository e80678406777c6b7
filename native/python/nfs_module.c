/*
 * The Python module archipmigrate._nfs: the two verbs on a share that is spoken to by NFS itself.
 * archipmigrate/_nfs.pyi has the signatures.
 *
 * It takes the arguments apart, runs what follows without the GIL, and makes Python values of what was
 * found:
 *
 *     nfs_module.c   Python in, Python out
 *     nfs.c          the open share: mounting, connections, handles (nfs.h)
 *     nfs_mounted.c  what the kernel's client knows of a mount
 *     nfs_scan.c     scan: one unit, with nfs_read.c, nfs_tree.c (nfs_tree.h)
 *     nfs_apply.c    apply, with nfs_change.c (nfs_apply.h)
 *     nfs3.c         the calls and replies of NFSv3; nfs4.c those of NFSv4.0
 *     nfs_names.c    owners of NFSv4, which may be names
 *     rpc.c          connections with many calls in flight
 *     frames.c       the packed buffers that come in and go out
 *
 * An open share is a capsule, which closes it when nobody has it any more.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>

#include "nfs/client.h"
#include "nfs/kernel_handle.h"
#include "python/values.h"

#define CAPSULE "archipmigrate._nfs.share"

static struct nfs *share_of(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, CAPSULE);
}

static void close_capsule(PyObject *capsule)
{
    nfs_close(share_of(capsule));
}

/* ---- the share */

PyDoc_STRVAR(mount_doc,
             "Mount a share and return it. Raises OSError; its filename is what failed.");

static PyObject *nfs_module_mount(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct nfs_settings settings = {0};
    int version;
    long long uid, gid;
    unsigned short nfs_port, mount_port;
    const char *bytes = "";
    Py_ssize_t length = 0;
    if (!PyArg_ParseTuple(arguments, "syiHHLLds|y#z:mount", &settings.server, &settings.path,
                          &version, &nfs_port, &mount_port, &uid, &gid, &settings.patience,
                          &settings.domain, &bytes, &length, &settings.mount_server))
        return NULL;
    if ((version != 3 && version != 4) || !(settings.patience > 0 && settings.patience < 1e6) ||
        length > MOST_HANDLE || strlen(settings.domain) > MOST_DOMAIN)
        return raise_error(-EINVAL);
    settings.root.length = (uint8_t)length;
    memcpy(settings.root.bytes, bytes, (size_t)length);
    settings.version = version;
    settings.nfs_port = nfs_port;
    settings.mount_port = mount_port;
    settings.uid = uid;
    settings.gid = gid;
    settings.calls = MOST_FLIGHT;
    struct nfs *nfs = NULL;
    const char *operation = "";
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_open(&settings, &nfs, &operation);
    Py_END_ALLOW_THREADS;
    if (status < 0) {
        errno = -status;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, operation);
    }
    PyObject *capsule = PyCapsule_New(nfs, CAPSULE, close_capsule);
    if (!capsule)
        nfs_close(nfs);
    return capsule;
}

PyDoc_STRVAR(root_inode_doc, "Return the inode of the share's root.");

static PyObject *nfs_module_root_inode(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    return nfs ? PyLong_FromUnsignedLongLong(nfs_root_inode(nfs)) : NULL;
}

static PyObject *attributes_of(const struct attributes *found)
{
    return Py_BuildValue("(KIIIL)", (unsigned long long)found->fileid, found->mode, found->uid,
                         found->gid, (long long)time_of(found->ctime));
}

PyDoc_STRVAR(root_attributes_doc, "Return inode, mode, uid, gid and ctime (ns) of the root, now.");

static PyObject *nfs_module_root_attributes(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    if (!nfs)
        return NULL;
    struct attributes found = {0};
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_root_attributes(nfs, &found);
    Py_END_ALLOW_THREADS;
    return status < 0 ? raise_error(status) : attributes_of(&found);
}

PyDoc_STRVAR(mounted_doc,
             "Return attributes of an open directory on a mount, as the server has them now, and "
             "the server's handle of it (empty: not known). Raises OSError.");

static PyObject *nfs_module_mounted(PyObject *module, PyObject *descriptor)
{
    (void)module;
    int fd = PyObject_AsFileDescriptor(descriptor);
    if (fd < 0)
        return NULL;
    struct attributes found = {0};
    struct handle handle = {0};
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = mounted_attributes(fd, &found);
    if (status == 0)
        (void)mounted_handle(fd, &found, &handle); /* without it there are other ways */
    Py_END_ALLOW_THREADS;
    if (status < 0)
        return raise_error(status);
    return Py_BuildValue("(NN)", attributes_of(&found), bytes_of(handle.bytes, handle.length));
}

PyDoc_STRVAR(used_inodes_doc, "Return how many inodes the share's filesystem has in use.");

static PyObject *nfs_module_used_inodes(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    if (!nfs)
        return NULL;
    uint64_t used = 0;
    int status;
    Py_BEGIN_ALLOW_THREADS;
    status = nfs_used_inodes(nfs, &used);
    Py_END_ALLOW_THREADS;
    return status < 0 ? raise_error(status) : PyLong_FromUnsignedLongLong(used);
}

PyDoc_STRVAR(version_doc, "Return which version is spoken, 3 or 4.");

static PyObject *nfs_module_version(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    return nfs ? PyLong_FromLong(nfs_version(nfs)) : NULL;
}

PyDoc_STRVAR(unknown_owner_doc, "Return the first owner that was not understood, or nothing.");

static PyObject *nfs_module_unknown_owner(PyObject *module, PyObject *capsule)
{
    (void)module;
    char text[MOST_OWNER];
    struct nfs *nfs = share_of(capsule);
    if (!nfs)
        return NULL;
    names_unknown(nfs_names(nfs), text);
    return bytes_of(text, strlen(text));
}

PyDoc_STRVAR(calls_doc, "Return how often each procedure was called, by its number.");

static PyObject *nfs_module_calls(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    if (!nfs)
        return NULL;
    uint64_t calls[PROCEDURES3];
    nfs_calls(nfs, calls);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < PROCEDURES3; i++)
        if (!append(list, PyLong_FromUnsignedLongLong(calls[i])))
            Py_CLEAR(list);
    return list;
}

PyDoc_STRVAR(bound_doc, "Return how many calls may be in flight now.");

static PyObject *nfs_module_bound(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct nfs *nfs = share_of(capsule);
    return nfs ? PyLong_FromSize_t(nfs_bound(nfs)) : NULL;
}

PyDoc_STRVAR(set_bound_doc, "Let so many calls be in flight at most, from 1 to 512.");

static PyObject *nfs_module_set_bound(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule;
    Py_ssize_t calls;
    if (!PyArg_ParseTuple(arguments, "On:set_bound", &capsule, &calls))
        return NULL;
    struct nfs *nfs = share_of(capsule);
    if (!nfs)
        return NULL;
    if (calls < 1 || calls > MOST_FLIGHT)
        return raise_error(-EINVAL);
    nfs_set_bound(nfs, (size_t)calls);
    Py_RETURN_NONE;
}

/* ---- the two verbs */

static PyObject *wide_of(const struct nfs_scan_result *result)
{
    if (!result->is_wide)
        Py_RETURN_NONE;
    return Py_BuildValue("(NKN)", text_of(&result->found.text, result->wide_path),
                         (unsigned long long)result->wide.inode,
                         bytes_of(&result->wide, sizeof(result->wide)));
}

static PyObject *scan_value(const struct nfs_scan_result *result)
{
    const struct buffer *changes = &result->found.changes;
    return Py_BuildValue(
        "(NNLNNNNNNN)", tally_of(&result->found.tally), bytes_of(changes->bytes, changes->length),
        (long long)result->found.count, groups_of(&result->found.rest), wide_of(result),
        again_of(result->found.again), failures_of(&result->found.failures, &result->found.text),
        links_of(&result->found.links), bytes_of(result->held.bytes, result->held.length),
        bytes_of(result->names.bytes, result->names.length));
}

PyDoc_STRVAR(scan_doc, "Look at the entries of a unit until done or a limit is reached.");

static PyObject *nfs_module_scan(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct nfs_scan_request request = {0};
    struct nfs_place place;
    PyObject *capsule;
    Py_buffer body, cursor, cursor_path, passed, excludes, stop;
    int goes_on, notes_names, counted, last_try, skip_links, cross, hold;
    long long gid, entries, changes;
    Py_ssize_t wide;
    if (!PyArg_ParseTuple(arguments, "Oy*y*y*py*pppLIIy*pppdLLy*n:scan", &capsule, &body, &cursor,
                          &cursor_path, &goes_on, &passed, &notes_names, &counted, &last_try, &gid,
                          &request.directory_bits, &request.file_bits, &excludes, &skip_links,
                          &cross, &hold, &request.seconds, &entries, &changes, &stop, &wide))
        return NULL;
    PyObject *value = NULL;
    struct nfs_scan_result result = {0};
    int status = -EINVAL;
    request.nfs = share_of(capsule);
    if (!request.nfs)
        goto out;
    bool is_cursor = cursor.len == sizeof(place);
    if (gid >= 0 && gid < UINT32_MAX && stop.len >= 1 && wide >= 1 &&
        (is_cursor || cursor.len == 0)) {
        if (is_cursor)
            memcpy(&place, cursor.buf, sizeof(place));
        request.cursor = is_cursor ? &place : NULL;
        request.body = body.buf;
        request.body_length = (size_t)body.len;
        request.cursor_path = cursor_path.buf;
        request.cursor_path_length = (size_t)cursor_path.len;
        request.goes_on = goes_on;
        request.passed = passed.buf;
        request.passed_count = (size_t)passed.len / sizeof(*request.passed);
        request.notes_names = notes_names;
        request.counted = counted;
        request.last_try = last_try;
        request.gid = (uint32_t)gid;
        request.excludes = excludes.buf;
        request.excludes_length = (size_t)excludes.len;
        request.skip_links = skip_links;
        request.cross = cross;
        request.hold = hold;
        request.entries = entries;
        request.changes = changes;
        request.stop = stop.buf;
        request.wide = (size_t)wide;
        Py_BEGIN_ALLOW_THREADS;
        status = nfs_scan(&request, &result);
        Py_END_ALLOW_THREADS;
    }
    value = status < 0 ? raise_error(status) : scan_value(&result);
    nfs_scan_free(&result);
out:
    PyBuffer_Release(&body);
    PyBuffer_Release(&cursor);
    PyBuffer_Release(&cursor_path);
    PyBuffer_Release(&passed);
    PyBuffer_Release(&excludes);
    PyBuffer_Release(&stop);
    return value;
}

PyDoc_STRVAR(apply_doc, "Make, settle, check or put back packed changes.");

static PyObject *nfs_module_apply(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct nfs_apply_request request = {0};
    PyObject *capsule;
    Py_buffer changes, held, stop;
    int verb, again;
    long long deny_limit;
    if (!PyArg_ParseTuple(arguments, "Oy*iLy*py*:apply", &capsule, &changes, &verb, &deny_limit,
                          &held, &again, &stop))
        return NULL;
    PyObject *value = NULL;
    struct apply_result result = {0};
    request.nfs = share_of(capsule);
    if (request.nfs) {
        int status = -EINVAL;
        if (verb >= VERB_FORWARD && verb <= VERB_BACK && stop.len >= 1) {
            request.changes = changes.buf;
            request.length = (size_t)changes.len;
            request.verb = (enum verb)verb;
            request.deny_limit = deny_limit;
            request.held = held.buf;
            request.held_length = (size_t)held.len;
            request.again = again;
            request.stop = stop.buf;
            Py_BEGIN_ALLOW_THREADS;
            status = nfs_apply(&request, &result);
            Py_END_ALLOW_THREADS;
        }
        value = status < 0 ? raise_error(status) : apply_value(&result);
        apply_result_free(&result);
    }
    PyBuffer_Release(&changes);
    PyBuffer_Release(&held);
    PyBuffer_Release(&stop);
    return value;
}

/* ---- the module */

static PyMethodDef methods[] = {
    {"mount", nfs_module_mount, METH_VARARGS, mount_doc},
    {"root_inode", nfs_module_root_inode, METH_O, root_inode_doc},
    {"root_attributes", nfs_module_root_attributes, METH_O, root_attributes_doc},
    {"mounted", nfs_module_mounted, METH_O, mounted_doc},
    {"used_inodes", nfs_module_used_inodes, METH_O, used_inodes_doc},
    {"version", nfs_module_version, METH_O, version_doc},
    {"unknown_owner", nfs_module_unknown_owner, METH_O, unknown_owner_doc},
    {"calls", nfs_module_calls, METH_O, calls_doc},
    {"bound", nfs_module_bound, METH_O, bound_doc},
    {"set_bound", nfs_module_set_bound, METH_VARARGS, set_bound_doc},
    {"scan", nfs_module_scan, METH_VARARGS, scan_doc},
    {"apply", nfs_module_apply, METH_VARARGS, apply_doc},
    {0},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_nfs", .m_doc = "Scan and apply over NFS.",
    .m_methods = methods,  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__nfs(void)
{
    return PyModuleDef_Init(&definition);
}
