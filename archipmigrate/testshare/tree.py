"""The directories of a sample share while they are filled.

A mode is set by a chmod of its own where the umask, or a set-gid directory above, has changed the
one that mkdir or open gives.
"""

from __future__ import annotations

import errno
import os
import stat
from enum import StrEnum

from ..layout import placement
from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY, DirPath

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
PIN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Layout(StrEnum):
    """How deep files lie below `maps/` and `blocks/`."""

    FILED = "filed"  # aa/bb/cc/<name>, as Archipelago v0.4 has it
    FLAT = "flat"  # all in one directory
    DEEP = "deep"  # eight levels instead of three


LEVELS = {Layout.FILED: placement.LEVELS, Layout.FLAT: 0, Layout.DEEP: 8}


class BlockerTree:
    """The directory of one blocker while it is filled; counts the files and directories made.

    New directories have *mode*.
    """

    def __init__(self, descriptor: int, levels: int = 0, mode: int = DIRECTORY_MODE) -> None:
        self._descriptor = descriptor
        self._levels = levels
        self._mode = mode
        self.files = 0
        self.directories = 0

    def add(
        self,
        name: bytes,
        content: bytes,
        path: DirPath | None = None,
        mode: int = FILE_MODE,
    ) -> None:
        """Write a new file in the directory *path*; without one, where the layout has it."""
        if path is None:
            path = placement.sha256_dir(name, self._levels)
        directory = self._open(path) if path else self._descriptor
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.open(name, flags, mode, dir_fd=directory)
            try:
                if stat.S_IMODE(os.fstat(file).st_mode) != mode:
                    os.fchmod(file, mode)
                while content:
                    content = content[os.write(file, content) :]
            finally:
                os.close(file)
        finally:
            if path:
                os.close(directory)
        self.files += 1

    def _open(self, path: DirPath) -> int:
        """Open a directory; make it, and those above it, if they are missing."""
        try:
            return open_beneath(self._descriptor, b"/".join(path), PIN)
        except FileNotFoundError:
            above = self._open(path[:-1]) if path[1:] else self._descriptor
        try:
            self.directories += 1
            return make_directory(above, path[-1], self._mode)
        finally:
            if path[1:]:
                os.close(above)


class RefusedDirectory(OSError):
    """A directory that others may change while it is filled; `strerror` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


def open_empty(directory: str) -> int:
    """Open *directory*, make it if it is missing, and set its mode.

    Follows no link at the end of the path. Raises OSError: ENOTEMPTY if it is not empty, ENOTDIR if
    it is a link or no directory, RefusedDirectory if others own it or can write to it.
    """
    directory = directory.rstrip("/") or "/"  # with a slash at its end, a link would be followed
    made = True
    try:
        os.mkdir(directory, DIRECTORY_MODE)
    except FileExistsError:
        made = False
    # What was just made may have been exchanged since: it is judged as one that was there.
    pin = os.open(directory, PIN)
    try:
        found = os.fstat(pin)
        if found.st_uid != os.geteuid():
            raise RefusedDirectory(f"it belongs to uid {found.st_uid}, not to the caller")
        if found.st_mode & OTHERS_WRITE:
            raise RefusedDirectory("others can write to it")
        if not _is_empty(pin, made=made):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        _set_mode(pin, DIRECTORY_MODE)
        return os.open(".", DIRECTORY, dir_fd=pin)
    finally:
        os.close(pin)


def _is_empty(pin: int, *, made: bool) -> bool:
    try:
        return not os.listdir(f"/proc/self/fd/{pin}")
    except PermissionError:
        if made:  # with no permissions, because of the umask
            return True
        raise


def make_directory(parent: int, name: str | bytes, mode: int = DIRECTORY_MODE) -> int:
    """Make a directory in *parent* and pin it. Follows no link."""
    os.mkdir(name, mode, dir_fd=parent)
    pin = os.open(name, PIN, dir_fd=parent)
    _set_mode(pin, mode)
    return pin


def _set_mode(pin: int, mode: int) -> None:
    """Set the mode of a pinned directory, which may not be readable before."""
    if stat.S_IMODE(os.fstat(pin).st_mode) != mode:
        os.chmod(f"/proc/self/fd/{pin}", mode)
