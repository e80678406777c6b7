"""The directories of a sample share while they are filled.

Every mode is set by a chmod of its own: the umask, or a set-gid directory above, would change the
modes that mkdir and open give.
"""

from __future__ import annotations

import errno
import os
from enum import StrEnum

from ..maps.format import placement
from ..tree.files import DirPath

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Layout(StrEnum):
    """How deep files lie below `maps/` and `blocks/`."""

    FILED = "filed"  # aa/bb/cc/<name>, as Archipelago v0.4 has it
    FLAT = "flat"  # all in one directory
    DEEP = "deep"  # eight levels instead of three


LEVELS = {Layout.FILED: placement.LEVELS, Layout.FLAT: 0, Layout.DEEP: 8}


class BlockerTree:
    """The directory of one blocker while it is filled; counts the files and directories made."""

    def __init__(self, descriptor: int, levels: int) -> None:
        self._descriptor = descriptor
        self._levels = levels
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
        if path:
            self._make(b"/".join(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(b"/".join((*path, name)), flags, mode, dir_fd=self._descriptor)
        try:
            os.fchmod(file, mode)
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)
        self.files += 1

    def _make(self, path: bytes) -> None:
        """Make a directory unless it is there, and the missing ones above it first."""
        try:
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make(path.rpartition(b"/")[0])
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        os.chmod(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        self.directories += 1


def open_empty(directory: str) -> int:
    """Open *directory*, make it if it is missing, and set its mode.

    Raises OSError: ENOTEMPTY if it is not empty.
    """
    try:
        os.mkdir(directory, DIRECTORY_MODE)
    except FileExistsError:
        if os.listdir(directory):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), directory) from None
    os.chmod(directory, DIRECTORY_MODE)
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def make_directory(parent: int, name: str) -> int:
    """Make a directory in *parent* and open it."""
    os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
    os.chmod(name, DIRECTORY_MODE, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
