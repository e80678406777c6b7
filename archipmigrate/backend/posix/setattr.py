"""chown and chmod of what a descriptor is open on or pins (O_PATH), by way of the C library.

Python's own os.chown and os.chmod reach an O_PATH descriptor through /proc/self/fd only, which
takes twice as long: that is what older kernels get.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

AT_EMPTY_PATH = 0x1000
FCHMODAT2 = 452  # Linux 6.6; the same number on every machine but alpha
SAME_OWNER = 2**32 - 1
ABSENT = (errno.ENOSYS, errno.EPERM)  # EPERM: what a seccomp filter says; or a real refusal

_libc = ctypes.CDLL(None, use_errno=True)
_fchownat = _libc.fchownat
_fchownat.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_int)
_syscall = _libc.syscall
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
    ctypes.c_int,
)
_syscall.restype = ctypes.c_long


def _has_fchmodat2() -> bool:
    return _syscall(FCHMODAT2, -1, b"", 0, AT_EMPTY_PATH) != 0 and (
        ctypes.get_errno() not in ABSENT
    )


HAS_FCHMODAT2 = _has_fchmodat2()


def change_group(fd: int, gid: int) -> None:
    """Give what *fd* is open on to a group. Raises OSError."""
    if _fchownat(fd, b"", SAME_OWNER, gid, AT_EMPTY_PATH) != 0:
        raise _error()


def change_mode(fd: int, mode: int) -> None:
    """Set the permission bits of what *fd* is open on. Raises OSError."""
    if not HAS_FCHMODAT2:
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
    elif _syscall(FCHMODAT2, fd, b"", stat.S_IMODE(mode), AT_EMPTY_PATH) != 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
