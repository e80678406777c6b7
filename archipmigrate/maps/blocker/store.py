"""A share as an upgrade or an undo works on it: its maps and locks, and whose run it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...layout.names import shown
from ...tree.files import Tree, open_file, read_pieces
from ..format.codec import Codec
from ..journal.old_maps import OldMaps
from .files import Files
from .locks import Locks, shown_holder
from .objects import Objects
from .preimage import OldFile, VolumePreimage
from .volume_files import KnownSizes, is_v03_lock, v03_lock


class Locked(Exception):
    """Somebody else holds a lock that is needed; the text says who holds which one."""


class Different(Exception):
    """Something has changed since it was scanned; the text says what."""


@dataclass(frozen=True, slots=True)
class Store:
    """The maps and locks of one share, and the run that works on them.

    `old_maps` has the contents that are kept for undo. It is None in a dry run, too, and for that
    `keeps` says whether the run would keep them: the dry run must refuse what the run would.
    `objects` is where the objects of volumes are looked for, if anywhere. With `v03_stopped`, locks
    that v0.3 left hold nothing: no node runs it any more.
    `run` goes into the names of files that are being made. An undo has the name of the run that it
    undoes, so that another undo of that run finds what this one left.
    """

    maps: Tree
    locks: Locks
    sizes: KnownSizes
    codec: Codec
    files: Files
    run: str
    old_maps: OldMaps | None = None
    keeps: bool = False
    objects: Objects | None = None
    v03_stopped: bool = False

    def is_held_by_v03(self, name: bytes) -> bool:
        """Whether v0.3 may hold the lock of a map that lies where v0.3 put it. Raises OSError."""
        found = v03_lock(self.maps, name)
        return found is not None and not (self.v03_stopped and is_v03_lock(found))

    def acquire_locks(self, names: Sequence[bytes]) -> None:
        """Acquire the locks of maps, all or none. Raises Locked, OSError."""
        try:
            for name in names:
                holder = self._acquire_lock(name)
                if holder is not None:
                    raise Locked(held_by(name, holder))
        except BaseException:
            with contextlib.suppress(OSError):
                self.release_locks(names)
            raise

    def acquire_together(self, groups: Sequence[Sequence[bytes]]) -> list[bool]:
        """Acquire the locks of several volumes, all or none of each; return of which.

        Who gets none asks again, alone, for the reason.
        """
        ours = self.locks.acquire_together(self.files, [name for names in groups for name in names])
        acquired = [ours.issuperset(names) for names in groups]
        for names, done in zip(groups, acquired, strict=True):
            if not done:
                with contextlib.suppress(OSError):
                    self.release_locks(names)
        return acquired

    def _acquire_lock(self, name: bytes) -> bytes | None:
        try:
            return self.locks.acquire(name)
        except PermissionError:
            raise  # with a text of its own it would not count among the denials that stop a run
        except OSError as error:  # the locks may lie on another filesystem than the maps
            words = f"its lock cannot be acquired: {error.strerror}"
            raise OSError(error.errno, words) from error

    def release_locks(self, names: Sequence[bytes]) -> None:
        """Release those of the locks that are ours; try twice each.

        Raises the first OSError of the second tries, once all were tried.
        """
        errors = []
        for name in names:
            try:
                try:
                    self.locks.release(name)
                except OSError:
                    self.locks.release(name)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def content(self, file: OldFile) -> Iterator[bytes]:
        """Yield the content of an old file. Raises Different if it was not kept, OSError."""
        if self.old_maps is None or file.pieces is None:
            raise Different("its old content was not kept")
        return self.old_maps.read(file.pieces)

    def part_name(self, name: bytes) -> bytes:
        """Return what a file is called before it is linked to *name*."""
        return name + f".archipmigrate_{self.run}".encode()

    def read_first(self, preimage: VolumePreimage, length: int) -> bytes | None:
        """Read the first *length* bytes of the file that has the v2 header's name, if there is one.

        Return fewer if the file is shorter. Raises OSError.
        """
        try:
            with self.maps.directory(preimage.header_parent) as directory:
                fd = open_file(directory, preimage.volume)
        except FileNotFoundError:
            return None
        try:
            return b"".join(read_pieces(fd, 0, length))
        finally:
            os.close(fd)


def held_by(name: bytes, holder: bytes) -> str:
    """Word who holds the lock of a map."""
    return f"{shown(name)} is {shown_holder(holder)}"
