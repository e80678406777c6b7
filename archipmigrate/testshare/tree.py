"""The trees of a sample share while they are filled: places, files, directories, modes.

Every mode is set by a chmod of its own: the umask, or a set-gid directory above, would have a say
in what mkdir and open give.
"""

from __future__ import annotations

import errno
import os
from enum import StrEnum

from ..maps.format import placement

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Layout(StrEnum):
    """How deep below `maps/` and `blocks/` the files lie."""

    FILED = "filed"  # aa/bb/cc/<name>, as Archipelago v0.4 has it
    FLAT = "flat"  # all in one directory
    DEEP = "deep"  # eight levels instead of three


LEVELS = {Layout.FILED: placement.LEVELS, Layout.FLAT: 0, Layout.DEEP: 8}


class Tree:
    """The directory of one blocker while it is filled: places files, makes directories for them."""

    def __init__(self, descriptor: int, levels: int) -> None:
        self._descriptor = descriptor
        self._levels = levels
        self.files = 0
        self.directories = 0

    def add(
        self,
        name: bytes,
        content: bytes,
        place: tuple[bytes, ...] | None = None,
        mode: int = FILE_MODE,
    ) -> None:
        """Write a new file at *place*; without one, where the layout has it."""
        if place is None:
            place = placement.sha256_dir(name, self._levels)
        if place:
            self._make(b"/".join(place))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        path = b"/".join((*place, name))
        file = os.open(path, flags, mode, dir_fd=self._descriptor)
        try:
            os.fchmod(file, mode)
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)
        self.files += 1

    def _make(self, path: bytes) -> None:
        """Make a directory unless it is there; first, if need be, the one that it is in."""
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
    """Open *directory*, made or found empty, and set its mode."""
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
