"""Open a path below a directory without following a symbolic link in it.

By openat2(2) where the kernel has it: many steps in one call. Else step by step, each with
O_NOFOLLOW. Imports nothing but the standard library, for worker processes have nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
PIN_DIRECTORY = PIN | os.O_DIRECTORY

NUMBER = 437  # of openat2, on every machine that Linux runs on but alpha
# struct open_how {u64 flags, mode, resolve} and RESOLVE_*: linux/openat2.h
HOW = struct.Struct("=QQQ")
NO_MAGICLINKS, NO_SYMLINKS, BENEATH = 0x02, 0x04, 0x08
LONGEST = 4000  # bytes of a path in one call; PATH_MAX is 4096
# Absent before Linux 5.6 or behind a seccomp filter; EAGAIN: something was renamed meanwhile.
ABSENT = (errno.ENOSYS, errno.EPERM, errno.EAGAIN)

_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open *path*, a directory below *directory*, with *flags*; `b""` is *directory* itself.

    The descriptor is the caller's. *path* may be longer than PATH_MAX; its steps only need search
    permission (x), whatever *flags* ask of the last one. Raises OSError: ELOOP or ENOTDIR if a step
    is a symbolic link or no directory.
    """
    if not path:
        return os.open(b".", flags, dir_fd=directory)
    if b"/" not in path:
        return os.open(path, flags | os.O_NOFOLLOW, dir_fd=directory)
    # openat2 answers EPERM to O_NOATIME of a directory of others, as a seccomp filter does to all.
    if len(path) <= LONGEST and not flags & os.O_NOATIME:
        fd = _leap(directory, path, flags)
        if fd is not None:
            return fd
    return _open_last(directory, path.split(b"/"), flags)


def _open_last(directory: int, steps: list[bytes], flags: int) -> int:
    """Pin the directories on the way, in as few calls as they take, and open the last one there."""
    last = steps.pop()
    at, begin = directory, 0
    leaps = True
    try:
        while begin < len(steps):
            end = _longest_leap(steps, begin) if leaps else begin + 1
            deeper = _leap(at, b"/".join(steps[begin:end]), PIN_DIRECTORY) if leaps else None
            if deeper is None:
                leaps, end = False, begin + 1
                deeper = os.open(steps[begin], PIN_DIRECTORY, dir_fd=at)
            if at != directory:
                os.close(at)
            at, begin = deeper, end
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        if at != directory:
            os.close(at)


def _longest_leap(steps: list[bytes], begin: int) -> int:
    """Return the end of the longest run of *steps* from *begin* that fits into one call."""
    end, length = begin + 1, len(steps[begin])
    while end < len(steps) and length + 1 + len(steps[end]) <= LONGEST:
        length += 1 + len(steps[end])
        end += 1
    return end


def _leap(directory: int, path: bytes, flags: int) -> int | None:
    """Open *path* in one call; None if that must be done step by step."""
    how = HOW.pack(flags, 0, BENEATH | NO_SYMLINKS | NO_MAGICLINKS)
    fd = int(_libc.syscall(NUMBER, directory, path, how, len(how)))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number in ABSENT:
        return None
    raise OSError(number, os.strerror(number))
