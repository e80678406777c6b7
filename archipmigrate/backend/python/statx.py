"""statx(2) through the C library, for birth times and protection, which os.stat does not have."""

from __future__ import annotations

import ctypes
import sys

AT_EMPTY_PATH = 0x1000
STATX_BTIME = 0x800
ATTRIBUTES = {0x10: "immutable", 0x20: "append-only"}  # statx(2), stx_attributes
# Offsets in struct statx: linux/stat.h.
MASK, ATTRIBUTE_FLAGS, BTIME_SECONDS, BTIME_NANOSECONDS, SIZE = 0, 8, 80, 88, 256

_libc = ctypes.CDLL(None, use_errno=True)


def _statx(fd: int) -> bytes | None:
    """Return struct statx of an open descriptor; None if the system has no statx, or it fails."""
    call = getattr(_libc, "statx", None)
    if call is None:
        return None
    buffer = ctypes.create_string_buffer(SIZE)
    if call(fd, b"", AT_EMPTY_PATH, STATX_BTIME, buffer) != 0:
        return None
    return buffer.raw


def birth_time(fd: int) -> int:
    """Return when the inode was born, in ns since the epoch; 0 if that is unknown."""
    found = _statx(fd)
    if found is None or not _number(found, MASK, 4) & STATX_BTIME:
        return 0
    seconds, nanoseconds = _number(found, BTIME_SECONDS, 8), _number(found, BTIME_NANOSECONDS, 4)
    return seconds * 10**9 + nanoseconds


def protection(fd: int) -> str:
    """Return whether an inode is "immutable" or "append-only"; "" if neither, or unknown."""
    found = _statx(fd)
    if found is None:
        return ""
    flags = _number(found, ATTRIBUTE_FLAGS, 8)
    return next((name for bit, name in ATTRIBUTES.items() if flags & bit), "")


def _number(raw: bytes, offset: int, size: int) -> int:
    return int.from_bytes(raw[offset : offset + size], sys.byteorder)
