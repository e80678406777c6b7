"""Two system calls that Python does not have: renameat2(2), in two ways, and syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import os

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # linux/fs.h
# The kernel, the C library or the filesystem (NFS) does not know renameat2, or not this flag of it.
ABSENT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

_libc = ctypes.CDLL(None, use_errno=True)


def rename_exclusive(source: int, target: int, name: bytes, new_name: bytes | None = None) -> bool:
    """Move *name* from one open directory to another, in one step, never over anything.

    It is *new_name* there, or has the same name.

    Return False where that cannot be done in one step. Raises OSError; FileExistsError if there is
    something of that name.
    """
    return _rename(source, name, target, name if new_name is None else new_name, RENAME_NOREPLACE)


def exchange(directory: int, first: bytes, second: bytes) -> bool:
    """Exchange two names of one open directory, in one step.

    Return False where that cannot be done. Raises OSError.
    """
    return _rename(directory, first, directory, second, RENAME_EXCHANGE)


def _rename(source: int, name: bytes, target: int, new_name: bytes, flag: int) -> bool:
    try:
        call = _libc.renameat2
    except AttributeError:
        return False
    if call(source, name, target, new_name, flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in ABSENT:
        return False
    raise OSError(number, os.strerror(number))


def sync_filesystem(fd: int) -> None:
    """Make everything durable that was done on the filesystem of an open file. Raises OSError."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
