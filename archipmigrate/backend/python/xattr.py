"""listxattrat(2) through the C library: the attributes of an entry of an open directory.

os.listxattr needs a path, and one through /proc/self/fd takes four times as long.
"""

from __future__ import annotations

import ctypes
import errno
import os

AT_SYMLINK_NOFOLLOW = 0x100
LISTXATTRAT = 465  # Linux 6.13; the same number on every machine but alpha
ABSENT = (errno.ENOSYS, errno.EPERM)
# The kernel allocates as much as it is offered; os.listxattr, too, begins with 256 bytes.
ROOM = 256

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall  # without argtypes: see setattr.py


def _has_listxattrat() -> bool:
    return _syscall(LISTXATTRAT, -1, b"", 0, None, 0) >= 0 or ctypes.get_errno() not in ABSENT


HAS_LISTXATTRAT = _has_listxattrat()


class AttributeNames:
    """Lists the names of extended attributes, for one thread."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(ROOM)

    def of(self, directory: int, name: bytes) -> list[str]:
        """Return the names for an entry of a directory, following no link. Raises OSError."""
        if HAS_LISTXATTRAT:
            length = _syscall(LISTXATTRAT, directory, name, AT_SYMLINK_NOFOLLOW, self._buffer, ROOM)
            if length >= 0:
                return os.fsdecode(self._buffer.raw[:length]).split("\0") if length else []
            number = ctypes.get_errno()
            if number != errno.ERANGE:
                raise OSError(number, os.strerror(number))
        return os.listxattr(b"/proc/self/fd/%d/%s" % (directory, name), follow_symlinks=False)
