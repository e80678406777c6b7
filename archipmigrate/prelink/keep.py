"""The directory of the run's own, in that of each blocker, for what leaves its place.

    blocks/.archipmigrate-RUN/deleted-v03/ab/archip_...   deleted by v0.3: the new name was left
                              deleted-v04/ab/archip_...   deleted by v0.4: the old name was left
                              remade/ab/archip_...        the inode of before it was made again
    maps/.archipmigrate-RUN/maps/ab/archip_...            copies of all maps that were moved
                            v04/ab/...                    maps that v0.4 wrote, after a way back

`ab` is the beginning of the name's sha256.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from ..layout.names import OWN_DIRECTORY
from ..relocate.places import sha256_directory
from ..relocate.roots import OpenRoot
from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY, status


class Shelf(StrEnum):
    """A directory in the run's own, by why something is kept there."""

    DELETED_V03 = "deleted-v03"
    DELETED_V04 = "deleted-v04"
    REMADE = "remade"
    MAPS = "maps"
    V04 = "v04"


# What --prune-deleted removes.
PRUNED = (Shelf.DELETED_V03, Shelf.DELETED_V04, Shelf.REMADE)


@dataclass(frozen=True, slots=True)
class Keep:
    """The directory of the run *run*."""

    run: str

    @property
    def name(self) -> bytes:
        """Its name."""
        return OWN_DIRECTORY + self.run.encode()

    def shelf(self, shelf: Shelf, name: bytes) -> bytes:
        """Return the directory in which a file is kept, as a path from a blocker's."""
        return b"/".join((self.name, shelf.value.encode(), sha256_directory(name)[:2]))

    def clock(self, root: OpenRoot) -> int:
        """Return the time now by the clock of the filesystem, in ns. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened(root.pin_made(self.name)) as fd:
            with opened(os.open(b"clock", flags, 0o600, dir_fd=fd)) as file:
                os.write(file, b".")
                os.fsync(file)
                now = os.fstat(file).st_ctime_ns
            os.unlink(b"clock", dir_fd=fd)
            return now

    def kept(self, root: OpenRoot, shelf: Shelf) -> Iterator[tuple[int, bytes, os.stat_result]]:
        """Yield what is kept: an open directory, a name in it, its status. Raises OSError."""
        top = b"/".join((self.name, shelf.value.encode()))
        for name in _names(root, top):
            path = top + b"/" + name
            for file in _names(root, path):
                with opened(root.pin(path)) as fd:
                    found = status(fd, file)
                    if found is not None:
                        yield fd, file, found


@dataclass(slots=True)
class Pruned:
    """How many files were removed, and of how many bytes."""

    files: int = 0
    bytes: int = 0


def prune(keep: Keep, root: OpenRoot) -> Pruned:
    """Remove, for good, what was kept aside of objects. Durable on return. Raises OSError."""
    pruned = Pruned()
    for shelf in PRUNED:
        for fd, name, found in keep.kept(root, shelf):
            os.unlink(name, dir_fd=fd)
            pruned.files += 1
            pruned.bytes += found.st_size
    root.sync()
    return pruned


def _names(root: OpenRoot, path: bytes) -> list[bytes]:
    try:
        with opened(open_beneath(root.fd, path, DIRECTORY)) as fd:
            return sorted(map(os.fsencode, os.listdir(fd)))
    except FileNotFoundError:
        return []


@contextmanager
def opened(fd: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield fd
    finally:
        os.close(fd)
