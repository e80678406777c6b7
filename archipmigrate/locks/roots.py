"""The maps directory and the lock directory, open, for as long as a session lasts."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY
from .lock import Root


@dataclass(frozen=True, slots=True)
class OpenRoots:
    """Descriptors of the directories, the caller's; `locks` is -1 if there is no lock directory."""

    maps: int
    locks: int = -1

    def open(self, root: Root, path: bytes) -> int:
        """Open a directory below a root, following no link; the descriptor is the caller's.

        Raises OSError.
        """
        return open_beneath(self.locks if root is Root.LOCKS else self.maps, path, DIRECTORY)

    def is_lock_directory(self, fd: int) -> bool:
        """Whether an open directory is the lock directory, which may lie among the maps."""
        return self.locks >= 0 and os.path.samestat(os.fstat(fd), os.fstat(self.locks))
