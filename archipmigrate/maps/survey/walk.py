"""The survey's walk over the maps directory and the lock directory: one row for each file.

The groups of a unit are directories to list. Nothing is judged here: what a volume is shows only
once all of its files are found. With the native backend, C walks, and leaves here what is not
plain.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from ...layout.names import OWN_DIRECTORY
from ...model import RETRIES, TRANSIENT, Failure, Limits, Tally, Unit
from ...packed.groups import Group, Hint, unpack_groups, walk_unit, whole
from ...tree.files import Tree, unlink
from ..blocker.locks import Locks
from ..blocker.retained import MapsScan
from ..blocker.volume_files import KnownSizes
from ..journal.tables import LOCKS, FoundFile, PlainFile, put_files, put_plain_files
from .classify import (
    foreign,
    found_file,
    is_layout_directory,
    is_lock_of,
    is_place_of_map,
    join,
)
from .plain import survey_plain

# A directory with more names than this is read in several units.
WIDE = 4096
PATH_MAX = 4096  # linux/limits.h; deeper directories are listed, not searched
OTHER_FILESYSTEM = "another filesystem is mounted here: it was not searched"
LINKED = "a symbolic link where a directory belongs: not followed"
TOO_DEEP = "a directory deeper than any path: v0.4 has three levels"


class Listing:
    """A directory that is being listed. If it is wide, it goes from one unit to the next."""

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._entries = os.scandir(fd)
        self.device = os.fstat(fd).st_dev

    def names(self) -> Iterator[bytes]:
        """Yield the names that have not been yielded yet. Raises OSError."""
        return (os.fsencode(entry.name) for entry in self._entries)

    def close(self) -> None:
        """Close the directory."""
        self._entries.close()
        os.close(self.fd)


@dataclass(slots=True)
class Survey:
    """Scans units of directories; see the module.

    With `sweeps`, remove what dead runs of ours left of their locks.
    """

    maps: Tree
    locks: Locks
    sizes: KnownSizes
    sweeps: bool
    native: bool = False

    def first_units(self) -> Iterator[Unit]:
        """Yield the lock directory, if there is one, and the maps directory."""
        if self.locks.flat:
            yield walk_unit([whole(LOCKS)])
        yield walk_unit([whole()])

    def scan(self, unit: Unit, limits: Limits) -> MapsScan:
        """List directories until done or a limit is reached; `writes` put the files found."""
        walk = _Walk(self, unit, limits)
        if self._is_plain(unit):
            walk.run_native()
        else:
            walk.run()
        return walk.scan()

    def _is_plain(self, unit: Unit) -> bool:
        """Whether C may walk: it neither removes locks nor knows the lock directory."""
        if not self.native or unit.cursor is not None or (self.sweeps and self.locks.dead):
            return False
        return next(unpack_groups(unit.body)).path != LOCKS


@dataclass(slots=True)
class _Walk:
    """One unit of a survey."""

    survey: Survey
    unit: Unit
    limits: Limits
    _files: list[FoundFile] = field(default_factory=list)
    _plain: Sequence[PlainFile] = ()
    _tally: Tally = field(default_factory=Tally)
    _todo: list[bytes] = field(default_factory=list)
    _failures: list[Failure] = field(default_factory=list)
    _again: list[bytes] = field(default_factory=list)
    _wide: Unit | None = None
    _until: float = 0.0

    def run(self) -> None:
        self._until = monotonic() + self.limits.seconds
        if isinstance(self.unit.cursor, Listing):
            self._list(self.unit.cursor)
        else:
            for group in unpack_groups(self.unit.body):
                self._todo += [join(group.path, name) for _, name in group.names]
        first = True
        while self._todo and self._wide is None and (first or not self._is_over()):
            first = False
            self._walk(self._todo.pop())

    def run_native(self) -> None:
        """Do what `run` does, in C, and here what that leaves."""
        found = survey_plain(self.survey.maps, self.unit.body, self.limits, WIDE)
        self._plain = found.files
        self._tally.files += len(found.files)
        if not self.unit.counted:
            self._tally.directories += found.directories
        for group in unpack_groups(found.left):
            if group.names[0][0] == Hint.ENTRY:
                self._look(group)
            elif self._wide is None:
                self._walk(group.path)
            else:
                self._todo.append(group.path)
        self._todo = [*(group.path for group in unpack_groups(found.rest)), *self._todo]

    def _look(self, group: Group) -> None:
        """Scan some entries of a directory."""
        try:
            listing = Listing(group.path, self._open(group.path))
        except OSError as error:
            self._lost(group.path, error)
            return
        for _, name in group.names:
            self._entry(listing, name)
        listing.close()

    def _walk(self, path: bytes) -> None:
        try:
            listing = Listing(path, self._open(path))
        except OSError as error:
            self._lost(path, error)
            return
        self._tally.directories += not self.unit.counted
        self._list(listing)

    def scan(self) -> MapsScan:
        """Return the result of the unit."""
        self._tally.entries = self._tally.files + self._tally.directories + self._tally.others
        again = replace(_unit(self._again, self.unit), retries=self.unit.retries + 1)
        return MapsScan(
            self._tally,
            rest=_unit(self._todo, self.unit) if self._todo else None,
            wide=self._wide,
            again=[again] if self._again else (),
            failures=self._failures,
            writes=[
                partial(put_files, files=self._files),
                partial(put_plain_files, files=self._plain),
            ],
        )

    def _is_over(self) -> bool:
        return bool(
            self.limits.stop[0]
            or len(self._files) >= self.limits.entries
            or monotonic() >= self._until
        )

    def _open(self, path: bytes) -> int:
        """Open a directory. Raises OSError."""
        if path == LOCKS:
            return self.survey.locks.tree.open(())
        if len(path) >= PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return self.survey.maps.open(tuple(path.split(b"/")) if path else ())

    def _list(self, listing: Listing) -> None:
        """Scan the entries of a directory; of a wide one, some of them."""
        seen = 0
        try:
            for name in listing.names():
                self._entry(listing, name)
                seen += 1
                if seen >= WIDE:
                    body = walk_unit([whole(listing.path)]).body
                    self._wide = replace(self.unit, body=body, entries=1, cursor=listing)
                    return
        except OSError as error:
            self._lost(listing.path, error)
        listing.close()

    def _lost(self, path: bytes, error: OSError) -> None:
        """Sort a directory that could not be listed: gone, to be retried, or a failure."""
        number = error.errno or errno.EIO
        if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._tally.vanished += 1
        elif number == errno.ENAMETOOLONG:
            self._files.append(foreign(path, TOO_DEEP))
        elif number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(path)
        else:
            self._tally.failed += 1
            self._failures.append(Failure(path, "list", number, hint=Hint.WALK))

    def _entry(self, listing: Listing, name: bytes) -> None:
        path = join(listing.path, name)
        try:
            found = os.stat(name, dir_fd=listing.fd, follow_symlinks=False)
            is_directory = stat.S_ISDIR(found.st_mode)
            if is_directory and name.startswith(OWN_DIRECTORY):
                return
            if is_directory and not is_place_of_map(listing.path, name):
                self._directory(listing, path, found)
            elif stat.S_ISLNK(found.st_mode) and is_layout_directory(path):
                self._hidden(path, errno.ELOOP, LINKED)
            elif not self._sweep(listing, name, found):
                sizes = self.survey.sizes
                self._files.append(found_file(listing.path, listing.fd, name, found, sizes))
                self._tally.files += stat.S_ISREG(found.st_mode)
                self._tally.others += not stat.S_ISREG(found.st_mode)
        except FileNotFoundError:
            self._tally.vanished += 1
        except OSError as error:
            number = error.errno or errno.EIO
            self._tally.failed += 1
            self._failures.append(Failure(path, "read", number, hint=Hint.WALK))

    def _directory(self, listing: Listing, path: bytes, found: os.stat_result) -> None:
        if listing.path == LOCKS:
            self._files.append(foreign(path, "a directory among the locks"))
        elif found.st_dev != listing.device:
            if is_layout_directory(path):
                self._hidden(path, errno.EXDEV, OTHER_FILESYSTEM)
            else:
                self._files.append(foreign(path, OTHER_FILESYSTEM))
        else:
            self._todo.append(path)

    def _hidden(self, path: bytes, number: int, note: str) -> None:
        """Fail where volumes may hide: without a failure the run would seem to have seen all."""
        self._tally.failed += 1
        self._failures.append(Failure(path, "list", number, note, Hint.WALK))

    def _sweep(self, listing: Listing, name: bytes, found: os.stat_result) -> bool:
        """Remove a lock, or a part of one, that a dead run of ours left; return whether it did."""
        dead = self.survey.locks.dead
        if not dead or not self.survey.sweeps:
            return False
        if is_lock_of(listing.fd, name, found, dead):
            return unlink(listing.fd, name, found.st_ino)
        return False


def _unit(paths: Sequence[bytes], unit: Unit) -> Unit:
    groups = walk_unit(whole(path) for path in paths)
    return replace(groups, retries=unit.retries, scope=unit.scope)
