"""The bypass: direct calls to the server of a share that is on an NFS mount.

Owns the decision whether that reaches the same directory with the same rights, and how to find it
on the server. Invariant: the directory that is opened had the inode, type, mode, owner, group and
ctime that the mount shows. The share's identity stays the mount's, so that runs exclude each other,
and can undo each other, by whichever way they go.

Version 4 is tried first, whatever the mount uses: it needs half as many calls. The directory is
found by the server's own file handle, which Linux reveals of a mount by the same version; else by
its path, for which version 3 asks mountd, where the mount did.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from errno import EPROTOTYPE
from functools import partial

from ..errors import ShareError
from . import Share
from .mountinfo import Mount, is_below, mount_points, unescape
from .remote import HAS_NFS
from .url import NAMED, TIMEOUT, UNREACHABLE, cause

if HAS_NFS:
    from .. import _nfs

# /proc/self/uid_map of the initial user namespace: user_namespaces(7).
INITIAL = "0 0 4294967295"
# Options that a mount must have: name, allowed values, and the value if the option is missing.
DEMANDED = (
    ("vers", r"3|4(\.\d+)?", "unknown"),
    ("proto", "tcp6?", "unknown"),
    ("sec", "sys", "unknown"),
    ("xprtsec", "none", "none"),
    ("addr", r"[\d.]+|[^:]*:.*", "unknown"),  # an address: no name is resolved again
)
# Seconds for which a mount keeps attributes, unless its options say otherwise: nfs(5).
CACHED_SECONDS = 60
# How often the root is compared: a share in use may change between the two looks.
LOOKS = 3
COMPARED = ("inode", "mode", "owner", "group", "ctime")


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a mount, by its options; `version` is 3 or 4, ports of 0 are the usual ones."""

    address: str
    port: int
    version: int
    mount_address: str
    mount_port: int


def open_direct(share: Share, domain: str) -> Share:
    """Open a share on a mount for direct calls, too; this makes some calls to the server.

    *domain* is that of owner names, which only version 4 has ("": owners must be numbers). Raises
    ShareError with the reason, a phrase, where the share can only be reached through the mount.
    """
    if not HAS_NFS:
        raise ShareError("installed without a C compiler")
    with open("/proc/self/uid_map") as lines:
        why = refusal(share, os.geteuid(), " ".join(lines.read().split()), mount_points())
    if why:
        raise ShareError(why)
    try:
        _, handle = _nfs.mounted(share.fd)
    except OSError as error:
        raise ShareError(f"the mount does not answer ({error.strerror})") from None
    server, path = server_of(share.mount), path_on_server(share.mount, share.path)
    tries = list(ways(server.version, handle, path))
    reopen = partial(_reopen, share, tries, domain)
    opened = _first(share, [way for way in tries if way[0] == 4 or not domain], domain)
    return replace(share, opened=opened, reopen=reopen)


def _first(share: Share, tries: Iterable[tuple[int, bytes]], domain: str) -> _nfs.OpenShare:
    """Open the share by the first way that leads to it. Raises ShareError with all the reasons."""
    server, path = server_of(share.mount), path_on_server(share.mount, share.path)
    reasons = []
    for version, root in tries:
        try:
            opened = _open(server, path, version, root, domain)
            difference = _difference(share.fd, opened)
        except OSError as error:
            reasons.append(f"{label(version)}: {cause(error)}")
            if _is_final(error, server):
                break
            continue
        if not difference:
            return opened
        reasons.append(f"{label(version)} shows another {difference}")
    raise ShareError("; ".join(dict.fromkeys(reasons)) or "its path on the server is not known")


def _reopen(share: Share, tries: Iterable[tuple[int, bytes]], domain: str) -> _nfs.OpenShare:
    """Open by version 3 a share whose server sends owner names. Raises ShareError.

    Not if the mount gets names, too: it may map them to other numbers than version 3 sends.
    """
    why = "the server does not know the owner or group by its name"
    if not domain and server_of(share.mount).version == 4:
        why = NAMED
    elif not domain:
        try:
            return _first(share, [way for way in tries if way[0] == 3], "")
        except ShareError as error:
            why = f"{NAMED} ({error})"
    raise ShareError(f"{why}: --backend native goes through the mount")


def label(version: int) -> str:
    """Return the common name of a version."""
    return "NFSv4.0" if version == 4 else f"NFSv{version}"


# -- the decision: pure


def is_version_4(mount: Mount) -> bool:
    """Return whether a mount gets owner names, if its server sends them."""
    return mount.fstype == "nfs4" or mount.option_values().get("vers", "").startswith("4")


def cached_seconds(mount: Mount) -> int:
    """Return for how many seconds a mount may show attributes that it keeps."""
    options = mount.option_values()
    return max(int(options.get(name, CACHED_SECONDS)) for name in ("acregmax", "acdirmax")) + 1


def refusal(share: Share, uid: int, uid_map: str, points: Iterable[bytes]) -> str:
    """Return why the mount of a share must not be bypassed; empty if it may be.

    *uid_map* is the process's, with single spaces; *points* are all mount points.
    """
    return next(_refusals(share, uid, uid_map, points), "")


def _refusals(share: Share, uid: int, uid_map: str, points: Iterable[bytes]) -> Iterator[str]:
    words = share.mount.options.split(",")
    options = share.mount.option_values()
    if uid != 0:
        yield "not root"
    if uid_map != INITIAL:
        yield "root in a user namespace only"
    if "ro" in words:
        yield "mounted read-only"
    if "idmapped" in words:
        yield "mounted with mapped ids"
    for name, allowed, default in DEMANDED:
        value = options.get(name, default)
        if not re.fullmatch(allowed, value):
            yield f"{name}={value}"
    for point in points:
        if is_below(point, share.path):
            yield f"something is mounted on {os.fsdecode(point)}"


def server_of(mount: Mount) -> Server:
    """Return the server of a mount that `refusal` accepts."""
    options = mount.option_values()
    address = options["addr"]
    return Server(
        address,
        int(options.get("port", 0)),
        int(options["vers"][0]),
        options.get("mountaddr", address),
        int(options.get("mountport", 0)),
    )


def path_on_server(mount: Mount, path: bytes) -> bytes:
    """Return the server's path of a directory on a mount; empty if it cannot be told.

    The source of an NFS mount is the very directory that is mounted, also of a bind mount.
    """
    source, point = unescape(mount.source), unescape(mount.point).rstrip(b"/")
    _, there, base = source.partition(b":/")
    if not there or not (path + b"/").startswith(point + b"/"):
        return b""
    return b"/" + b"/".join(part for part in (base + path[len(point) :]).split(b"/") if part)


def ways(mounted: int, handle: bytes, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield versions, each with the root's handle or (to go by the path) nothing, best first."""
    for version in (4, 3):
        if handle and version == mounted:
            yield version, handle
        if path:
            yield version, b""


# -- the calls


def _open(server: Server, path: bytes, version: int, root: bytes, domain: str) -> _nfs.OpenShare:
    elsewhere = server.mount_address if server.mount_address != server.address else None
    return _nfs.mount(
        server.address,
        path,
        version=version,
        nfs_port=server.port,
        mount_port=server.mount_port,
        mount_server=elsewhere,
        root=root,
        patience=TIMEOUT,
        domain=domain,
    )


def _is_final(error: OSError, server: Server) -> bool:
    """Return whether no other way is to be tried after this error.

    So it is if the server's port does not answer; and if the mount is by version 4 and owners are
    names (EPROTOTYPE), because version 3 would send other numbers than the mount shows.
    """
    if error.filename not in ("lookup", "getattr"):
        return False
    return error.errno in UNREACHABLE or (error.errno == EPROTOTYPE and server.version == 4)


def _difference(fd: int, opened: _nfs.OpenShare) -> str:
    """Return which attribute of the root differs between the mount and the server, or nothing."""
    for _ in range(LOOKS):
        seen = opened.root_attributes()
        known, _handle = _nfs.mounted(fd)
        if seen == known:
            break
    return next((n for n, a, b in zip(COMPARED, seen, known, strict=True) if a != b), "")
