"""chown and chmod of what a descriptor is open on, or pins (O_PATH), through the C library.

os.chown and os.chmod reach an O_PATH descriptor only through /proc/self/fd, which takes twice as
long; older kernels have nothing better for chmod.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from ...policy import NO_ID

AT_EMPTY_PATH = 0x1000
FCHMODAT2 = 452  # Linux 6.6; the same number on every machine but alpha
ABSENT = (errno.ENOSYS, errno.EPERM)  # EPERM: the answer of a seccomp filter, or a real refusal

_libc = ctypes.CDLL(None, use_errno=True)
# Without argtypes, which take as long as the rest of a call: the numbers are C ints, 32 bits.
_fchownat = _libc.fchownat
_syscall = _libc.syscall


def _has_fchmodat2() -> bool:
    return _syscall(FCHMODAT2, -1, b"", 0, AT_EMPTY_PATH) != 0 and (
        ctypes.get_errno() not in ABSENT
    )


HAS_FCHMODAT2 = _has_fchmodat2()


def change_owner(fd: int, uid: int, gid: int, *, is_pin: bool) -> None:
    """Set owner and group (NO_ID: leave it) of what *fd* is open on, or (O_PATH) pins.

    Raises OSError.
    """
    if not is_pin:
        os.fchown(fd, *(-1 if number == NO_ID else number for number in (uid, gid)))
    elif _fchownat(fd, b"", uid, gid, AT_EMPTY_PATH) != 0:
        raise _error()


def change_mode(fd: int, mode: int, *, is_pin: bool) -> None:
    """Set the permission bits of what *fd* is open on, or (O_PATH) pins. Raises OSError."""
    if not is_pin:
        os.fchmod(fd, stat.S_IMODE(mode))
    elif not HAS_FCHMODAT2:
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
    elif _syscall(FCHMODAT2, fd, b"", stat.S_IMODE(mode), AT_EMPTY_PATH) != 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
