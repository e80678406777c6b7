"""Directories of a walk: how they are opened, and what their names count as."""

from __future__ import annotations

import errno
import os

from ...tree.beneath import PIN_DIRECTORY, open_beneath
from ..base import MET_NEVER

READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_UNNOTICED = READ_DIRECTORY | os.O_NOATIME


def open_directory(
    directory: int, path: bytes, never: tuple[int, int], *, reads: bool
) -> tuple[int, os.stat_result, bool]:
    """Open a directory: its descriptor, its status, whether its owner may not read it.

    Such a directory is pinned, if it is the caller's own. Raises OSError: MET_NEVER for the
    directory with the device and inode *never*.
    """
    try:
        fd = _open_to_read(directory, path) if reads else -1
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        fd, found, _ = open_directory(directory, path, never, reads=False)
        if found.st_uid != os.geteuid():
            os.close(fd)
            raise
        return fd, found, True
    if fd < 0:
        fd = open_beneath(directory, path, PIN_DIRECTORY)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) == never:
            raise error_of(MET_NEVER)
    except OSError:
        os.close(fd)
        raise
    return fd, found, False


def _open_to_read(directory: int, path: bytes) -> int:
    try:
        return open_beneath(directory, path, READ_UNNOTICED)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # O_NOATIME is for owners only
            raise
    return open_beneath(directory, path, READ_DIRECTORY)


def kind_of(entry: os.DirEntry[str], *, is_directory: bool) -> str:
    """Return what a name counts as by its type; without one, as a file."""
    if is_directory:
        return "directories"
    try:
        return "files" if entry.is_file(follow_symlinks=False) else "others"
    except OSError:
        return "files"


def error_of(number: int) -> OSError:
    """Return the error of a number."""
    return OSError(number, os.strerror(number))
