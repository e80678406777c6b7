"""The way past a mount: a share on a mounted NFS export is spoken to as if a URL named it.

Owns the decision whether that leads to the same directory by the same rights, and its finding.
Invariant: what is opened had the inode, type, mode, owner, group and ctime that the mount shows.
The share's identity stays the mount's, so that runs exclude each other, and undo each other's,
whichever way they take.

Version 4 goes first, whatever the mount uses: it takes half of the calls. The directory is found by
the server's own handle of it, which Linux tells of what is mounted by the same version; else by its
path; version 3 asks mountd for that, where the mount did.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from errno import ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, EPROTOTYPE, ETIMEDOUT
from functools import partial

from ..errors import ShareError
from . import HAS_NFS, Mount, Share
from .url import NAMED, TIMEOUT

if HAS_NFS:
    from .. import _nfs

# proc(5) and user_namespaces(7): all there is, as itself.
INITIAL = "0 0 4294967295"
# What options must say; where they are silent it is as the third column has it.
DEMANDED = (
    ("vers", r"3|4(\.\d+)?", "unknown"),
    ("proto", "tcp6?", "unknown"),
    ("sec", "sys", "unknown"),
    ("xprtsec", "none", "none"),
    ("addr", r"[\d.]+|[^:]*:.*", "unknown"),  # an address: no name is asked for again
)
# What says that no other way leads there either, if the server's own port says it.
UNREACHABLE = (ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT)
# Attributes are kept for so long (seconds) at most, unless a mount says otherwise: nfs(5).
MEMORY = 60
# A share in use may change between two looks at its root.
LOOKS = 3
COMPARED = ("inode", "mode", "owner", "group", "ctime")


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a mount speaks to, as its options have it; `version` is 3 or 4, ports of 0 the usual."""

    address: str
    port: int
    version: int
    mount_address: str
    mount_port: int


def open_direct(share: Share, domain: str) -> Share:
    """Open a share that is on a mount directly, too; that takes some calls to the server.

    *domain* is that of owners' names, which only version 4 has ("": they are to be numbers).
    Raises ShareError with the reason, a phrase, where it must be spoken to through the mount.
    """
    if not HAS_NFS:
        raise ShareError("installed without a C compiler")
    with open("/proc/self/uid_map") as lines:
        why = refusal(share, os.geteuid(), " ".join(lines.read().split()), _mount_points())
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


def _first(share: Share, tries: Iterable[tuple[int, bytes]], domain: str) -> _nfs.Opened:
    """Open the first way that leads to the share. Raises ShareError with all the reasons."""
    server, path = server_of(share.mount), path_on_server(share.mount, share.path)
    reasons = []
    for version, root in tries:
        try:
            opened = _open(server, path, version, root, domain)
            difference = _difference(share.fd, opened)
        except OSError as error:
            reasons.append(f"{label(version)}: {error.filename or 'getattr'}: {error.strerror}")
            if _is_final(error, server):
                break
            continue
        if not difference:
            return opened
        reasons.append(f"{label(version)} shows another {difference}")
    raise ShareError("; ".join(dict.fromkeys(reasons)) or "its path on the server is not known")


def _reopen(share: Share, tries: Iterable[tuple[int, bytes]], domain: str) -> _nfs.Opened:
    """Open by version 3 a share whose server has names for owners. Raises ShareError.

    Not if the mount has names too: it takes them for other numbers, perhaps, than version 3 tells.
    """
    why = "the server does not know the group by its name"
    if not domain and server_of(share.mount).version == 4:
        why = NAMED
    elif not domain:
        try:
            return _first(share, [way for way in tries if way[0] == 3], "")
        except ShareError as error:
            why = f"{NAMED} ({error})"
    raise ShareError(f"{why}: --backend native goes through the mount")


def label(version: int) -> str:
    """Return what people call a version."""
    return "NFSv4.0" if version == 4 else f"NFSv{version}"


# -- the decision: pure


def is_version_4(mount: Mount) -> bool:
    """Say whether a mount has owners' names, if the server has."""
    return mount.fstype == "nfs4" or _options(mount).get("vers", "").startswith("4")


def memory(mount: Mount) -> int:
    """Return for how many seconds a mount may believe what it knows of attributes."""
    options = _options(mount)
    return max(int(options.get(name, MEMORY)) for name in ("acregmax", "acdirmax")) + 1


def refusal(share: Share, uid: int, uid_map: str, points: Iterable[bytes]) -> str:
    """Return why a share is not to be spoken to past its mount, or nothing.

    *uid_map* is the process's, blanks folded; *points* are all mount points.
    """
    return next(_refusals(share, uid, uid_map, points), "")


def _refusals(share: Share, uid: int, uid_map: str, points: Iterable[bytes]) -> Iterator[str]:
    words = share.mount.options.split(",")
    options = _options(share.mount)
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
    below = share.path.rstrip(b"/") + b"/"
    for point in points:
        if point.startswith(below):
            yield f"something is mounted on {os.fsdecode(point)}"


def server_of(mount: Mount) -> Server:
    """Return whom a mount speaks to that has an address."""
    options = _options(mount)
    address = options["addr"]
    return Server(
        address,
        int(options.get("port", 0)),
        int(options["vers"][0]),
        options.get("mountaddr", address),
        int(options.get("mountport", 0)),
    )


def path_on_server(mount: Mount, path: bytes) -> bytes:
    """Return what the server calls a directory of the mount; empty if that cannot be told.

    The source of an NFS mount is the very directory that is mounted, also of a bind mount.
    """
    source, point = unescape(mount.source), unescape(mount.point).rstrip(b"/")
    _, there, base = source.partition(b":/")
    if not there or not (path + b"/").startswith(point + b"/"):
        return b""
    return b"/" + b"/".join(part for part in (base + path[len(point) :]).split(b"/") if part)


def ways(mounted: int, handle: bytes, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield versions, each with the handle of the root or nothing (by its path), best first."""
    for version in (4, 3):
        if handle and version == mounted:
            yield version, handle
        if path:
            yield version, b""


def _options(mount: Mount) -> dict[str, str]:
    return dict(word.split("=", 1) for word in mount.options.split(",") if "=" in word)


def unescape(field: str) -> bytes:
    """Undo the octal escapes of mountinfo."""
    return re.sub(rb"\\([0-3][0-7]{2})", lambda code: bytes((int(code[1], 8),)), os.fsencode(field))


# -- the doing


def _mount_points() -> list[bytes]:
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        return [unescape(line.split(" ")[4]) for line in lines]


def _open(server: Server, path: bytes, version: int, root: bytes, domain: str) -> _nfs.Opened:
    elsewhere = server.mount_address if server.mount_address != server.address else None
    return _nfs.mount(
        server.address,
        path,
        version,
        server.port,
        server.mount_port,
        -1,
        -1,
        TIMEOUT,
        domain,
        root,
        elsewhere,
    )


def _is_final(error: OSError, server: Server) -> bool:
    """Whether no other way is to be tried after this error of one.

    The server's port does not answer; or what the mount has as names, which version 4 takes from
    the server (EPROTOTYPE), version 3 would have as other numbers.
    """
    if error.filename not in ("lookup", "getattr"):
        return False
    return error.errno in UNREACHABLE or (error.errno == EPROTOTYPE and server.version == 4)


def _difference(fd: int, opened: _nfs.Opened) -> str:
    """Return what is different of a directory on a mount and one that is open, or nothing."""
    for _ in range(LOOKS):
        seen = _nfs.root_attributes(opened)
        known, _handle = _nfs.mounted(fd)
        if seen == known:
            break
    return next((n for n, a, b in zip(COMPARED, seen, known, strict=True) if a != b), "")
