"""statx(2) through the C library: birth times, protection, mounts, which os.stat does not have."""

from __future__ import annotations

import ctypes
import sys

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW, AT_STATX_DONT_SYNC = 0x100, 0x4000
STATX_BTIME, STATX_MNT_ID = 0x800, 0x1000
STATX_ATTR_MOUNT_ROOT = 0x2000
ATTRIBUTES = {0x10: "immutable", 0x20: "append-only"}  # statx(2), stx_attributes
# Offsets in struct statx: linux/stat.h.
MASK, ATTRIBUTE_FLAGS, BTIME_SECONDS, BTIME_NANOSECONDS, MOUNT, SIZE = 0, 8, 80, 88, 144, 256

_libc = ctypes.CDLL(None, use_errno=True)


def _statx(
    fd: int, name: bytes = b"", mask: int = STATX_BTIME, flags: int = AT_EMPTY_PATH
) -> bytes | None:
    """Return struct statx of an open descriptor, or of an entry of that directory.

    None if the system has no statx, or it fails.
    """
    call = getattr(_libc, "statx", None)
    if call is None:
        return None
    buffer = ctypes.create_string_buffer(SIZE)
    if call(fd, name, flags, mask, buffer) != 0:
        return None
    return buffer.raw


def birth_time(fd: int) -> int:
    """Return when the inode was born, in ns since the epoch; 0 if that is unknown."""
    found = _statx(fd)
    if found is None or not _number(found, MASK, 4) & STATX_BTIME:
        return 0
    seconds, nanoseconds = _number(found, BTIME_SECONDS, 8), _number(found, BTIME_NANOSECONDS, 4)
    return seconds * 10**9 + nanoseconds


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
