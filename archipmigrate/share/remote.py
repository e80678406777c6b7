"""Opening the share of a URL, by the first version of NFS that serves it.

If the server of version 4 turns out to send owner names, and there is no domain for them, the share
is opened again by version 3 (`reopen_remote`).

Of several addresses of a server, those that do not answer are left out; all others must lead to the
same directory.
"""

from __future__ import annotations

import errno

from ..errors import ShareError
from .url import (
    LACKING,
    MAP_THEM,
    NAMED,
    TIMEOUT,
    UNREACHABLE,
    USING_3,
    Remote,
    cause,
    refusal,
)

try:
    from .. import _nfs
except ImportError:  # no C compiler where this was installed
    HAS_NFS = False
else:
    HAS_NFS = True


def open_remote(url: str, remote: Remote) -> tuple[_nfs.OpenShare, str]:
    """Mount a share. Return it with a remark: why it is by version 3, which addresses are silent.

    Raises ShareError.
    """
    if not HAS_NFS:
        raise ShareError(f"{url}: the nfs backend is missing: install again with a C compiler")
    errors: list[OSError] = []
    for version in remote.versions:
        try:
            opened, silent = _mount_all(url, remote, version)
        except OSError as error:
            errors.append(error)
        else:
            by_3 = [USING_3] if any(map(_is_named, errors)) else []
            return opened, "; ".join(by_3 + silent)
    if errors[0].errno in LACKING:
        raise refusal(url, *errors)
    # A server without a port mapper has version 4 only: the error of that version counts.
    first = _is_named(errors[0]) or errors[-1].filename == "port mapper"
    raise refusal(url, errors[0] if first else errors[-1])


def reopen_remote(url: str, remote: Remote, inode: int) -> _nfs.OpenShare:
    """Mount by version 3 a share whose server sends owner names; *inode* is its root's.

    Raises ShareError.
    """
    if remote.domain:
        raise ShareError(
            f"{url}: the server refuses the owner or group by the name that it has here, or its "
            f"number if it has none: both must know it by a name of the domain {remote.domain}"
        )
    if 3 not in remote.versions:
        raise ShareError(f"{url}: {NAMED}: {MAP_THEM}")
    try:
        opened, _ = _mount_all(url, remote, 3)
    except OSError as error:
        raise ShareError(
            f"{url}: {NAMED}, and has no version 3 ({cause(error)}): {MAP_THEM}"
        ) from None
    if opened.root_inode != inode:
        raise ShareError(f"{url}: {NAMED}, and by version 3 this is another directory: {MAP_THEM}")
    return opened


def _is_named(error: OSError) -> bool:
    return error.errno == errno.EPROTOTYPE


def _mount_all(url: str, remote: Remote, version: int) -> tuple[_nfs.OpenShare, list[str]]:
    """Mount a share at all its addresses, as one. Return it, and remarks on those that are silent.

    Raises OSError as `_mount` does, with the address as its filename2 if there are several; and
    ShareError if they lead to different directories.
    """
    if not remote.others:
        return _mount(remote, remote.server, version), []
    servers = (remote.server, *remote.others)
    opened: dict[str, _nfs.OpenShare] = {}
    silent: list[OSError] = []
    for server in servers:
        try:
            opened[server] = _mount(remote, server, version)
        except OSError as error:
            error.filename2 = server
            if error.errno not in UNREACHABLE or error.filename == "address":
                raise
            silent.append(error)
    if not opened:
        raise silent[0]
    (first, share), *others = opened.items()
    for server, other in others:
        if difference := share.join(other):
            raise ShareError(
                f"{url}: {first} and {server} are not one server: the directory has another "
                f"{difference} there: name the addresses of one server"
            )
    return share, [f"{cause(error)}: goes on without this address" for error in silent]


def _mount(remote: Remote, server: str, version: int) -> _nfs.OpenShare:
    """Mount a share by a version of NFS. Raises OSError; its filename is the step that failed."""
    options = remote.options
    return _nfs.mount(
        server,
        remote.path,
        version=version,
        nfs_port=options.get("nfsport", 0),
        mount_port=options.get("mountport", 0),
        uid=options.get("uid", -1),
        gid=options.get("gid", -1),
        patience=options.get("timeout", TIMEOUT),
        domain=remote.domain,
    )
