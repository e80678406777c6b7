"""statx(2) through the C library: birth times, protection, mounts, which os.stat does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import NamedTuple

from ...packed.changes import wrapped

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC = 0x100, 0x2000, 0x4000
STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID = 0x7FF, 0x800, 0x1000
STATX_ATTR_MOUNT_ROOT = 0x2000
ATTRIBUTES = {0x10: "immutable", 0x20: "append-only"}  # statx(2), stx_attributes
# Offsets in struct statx: linux/stat.h.
MASK, ATTRIBUTE_FLAGS, MOUNT, SIZE = 0, 8, 144, 256

# All of it, up to the mount's id; times are seconds and nanoseconds.
STATX = struct.Struct("=IIQIIIH2xQQQQ" + 4 * "qI4x" + "4IQ")
ABSENT = (errno.ENOSYS, errno.EPERM)  # EPERM: the answer of a seccomp filter

_libc = ctypes.CDLL(None, use_errno=True)
_call = getattr(_libc, "statx", None)


class Status(NamedTuple):
    """The status of what a descriptor is open on, or pins. Times are in ns."""

    mode: int
    uid: int
    gid: int
    inode: int
    links: int
    size: int
    mtime: int
    ctime: int
    born: int  # 0: not known
    mount: int  # its id; -1: not known


def status(fd: int, *, fresh: bool = False) -> Status:
    """Return the status of a descriptor, by one call where the system has statx. Raises OSError.

    With *fresh* a client of a network filesystem asks its server.
    """
    buffer = ctypes.create_string_buffer(SIZE)
    mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID
    flags = AT_EMPTY_PATH | (AT_STATX_FORCE_SYNC if fresh else 0)
    if _call is None or _call(fd, b"", flags, mask, buffer) != 0:
        number = ctypes.get_errno()
        if _call is not None and number not in ABSENT:
            raise OSError(number, os.strerror(number))
        return _by_fstat(fd)
    found = STATX.unpack_from(buffer)
    mask, _, _, links, uid, gid, mode, inode, size = found[:9]
    born, born_ns, changed, changed_ns, modified, modified_ns = found[13:19]
    return Status(
        mode,
        uid,
        gid,
        inode,
        links,
        size,
        wrapped(modified * 10**9 + modified_ns),
        wrapped(changed * 10**9 + changed_ns),
        wrapped(born * 10**9 + born_ns) if mask & STATX_BTIME else 0,
        found[23] if mask & STATX_MNT_ID else -1,
    )


def _by_fstat(fd: int) -> Status:
    found = os.fstat(fd)
    return Status(
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_ino,
        found.st_nlink,
        found.st_size,
        wrapped(found.st_mtime_ns),
        wrapped(found.st_ctime_ns),
        0,
        -1,
    )


def _statx(
    fd: int, name: bytes = b"", mask: int = STATX_BTIME, flags: int = AT_EMPTY_PATH
) -> bytes | None:
    """Return struct statx of an open descriptor, or of an entry of that directory.

    None if the system has no statx, or it fails.
    """
    if _call is None:
        return None
    buffer = ctypes.create_string_buffer(SIZE)
    if _call(fd, name, flags, mask, buffer) != 0:
        return None
    return buffer.raw


def birth_time(fd: int) -> int:
    """Return when the inode was born, in ns; 0 if that is not known. Raises OSError."""
    return status(fd).born


def mount_id(fd: int, name: bytes = b"") -> int:
    """Return the id of the mount that an open descriptor, or an entry in it, is on.

    -1 if that is unknown: before Linux 5.8. What is cached will do: a path has a mount, not a file.
    """
    flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC
    found = _statx(fd, name, STATX_MNT_ID, flags)
    if found is None or not _number(found, MASK, 4) & STATX_MNT_ID:
        return -1
    return _number(found, MOUNT, 8)


def is_mount_root(fd: int, name: bytes) -> bool:
    """Say whether an entry of an open directory is the root of a mount.

    False if that is unknown: before Linux 5.8.
    """
    found = _statx(fd, name, STATX_MNT_ID)
    return found is not None and bool(_number(found, ATTRIBUTE_FLAGS, 8) & STATX_ATTR_MOUNT_ROOT)


def protection(fd: int) -> str:
    """Return whether an inode is "immutable" or "append-only"; "" if neither, or unknown."""
    found = _statx(fd)
    if found is None:
        return ""
    flags = _number(found, ATTRIBUTE_FLAGS, 8)
    return next((name for bit, name in ATTRIBUTES.items() if flags & bit), "")


def _number(raw: bytes, offset: int, size: int) -> int:
    return int.from_bytes(raw[offset : offset + size], sys.byteorder)
