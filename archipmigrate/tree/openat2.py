"""openat2(2) by way of the C library: many steps of a path in one call, none of them a link."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

NUMBER = 437  # on every machine that Linux runs on but alpha
# struct open_how {u64 flags, mode, resolve} and RESOLVE_*: linux/openat2.h
HOW = struct.Struct("=QQQ")
NO_MAGICLINKS, NO_SYMLINKS, BENEATH = 0x02, 0x04, 0x08
LONGEST = 4000  # bytes of a path; PATH_MAX is 4096
# Absent before Linux 5.6 or behind a seccomp filter; EAGAIN: something was renamed meanwhile.
ABSENT = (errno.ENOSYS, errno.EPERM, errno.EAGAIN)

_libc = ctypes.CDLL(None, use_errno=True)


def longest_way(steps: list[bytes], begin: int) -> int:
    """Return the end of the longest run of *steps* from *begin* that fits into one call."""
    end, length = begin + 1, len(steps[begin])
    while end < len(steps) and length + 1 + len(steps[end]) <= LONGEST:
        length += 1 + len(steps[end])
        end += 1
    return end


def open_way(directory: int, way: bytes, flags: int) -> int | None:
    """Open what is *way* below a directory; None if that must be done step by step.

    Raises OSError: ELOOP if a step is a link.
    """
    how = HOW.pack(flags, 0, BENEATH | NO_SYMLINKS | NO_MAGICLINKS)
    fd = int(_libc.syscall(NUMBER, directory, way, how, len(how)))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number in ABSENT:
        return None
    raise OSError(number, os.strerror(number))
