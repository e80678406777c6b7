"""The survey: one walk over a maps directory, and over the lock directory, that reads headers only.

A unit's groups are directories to list. Of each file its name and place say what it is to be; a
map's head is read, a block's length taken from the listing. Nothing is judged here: what a volume
is shows when all is found.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from ..frames import Group, Hint, unpack_groups, walk_unit, whole
from ..journal.volumes import LOCKS, FoundFile
from ..mapfile.head import Head, invalid
from ..mapfile.names import Role, parse_name
from ..mapfile.placement import Place, place_of, sha256_place, v03_place
from ..model import RETRIES, TRANSIENT, Failure, Limits, Scan, Tally, Unit
from .content import pack_head
from .locks import Locks
from .look import NO_FILE, KnownSizes, head_of
from .tree import Tree, open_file

# A directory with more names than this is read in several goes.
WIDE = 4096
OTHER_FILESYSTEM = "another filesystem is mounted here"


class Listing:
    """A directory that is being listed; goes from one unit to the next if it is wide."""

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._entries = os.scandir(fd)
        self.device = os.fstat(fd).st_dev

    def names(self) -> Iterator[bytes]:
        """Yield the names that have not been yielded yet. Raises OSError."""
        return (os.fsencode(entry.name) for entry in self._entries)

    def close(self) -> None:
        """Give up the directory."""
        self._entries.close()
        os.close(self.fd)


@dataclass(slots=True)
class Survey:
    """Looks at units of directories; see the module."""

    maps: Tree
    locks: Locks
    sizes: KnownSizes

    def first_units(self) -> Iterator[Unit]:
        """Yield the lock directory, if there is one, and the maps directory."""
        if self.locks.flat:
            yield walk_unit([whole(LOCKS)])
        yield walk_unit([whole()])

    def scan(self, unit: Unit, limits: Limits) -> tuple[Scan, list[FoundFile]]:
        """List directories until done or a limit is reached."""
        walk = _Walk(self, unit, limits)
        walk.run()
        return walk.scan(), walk.files


@dataclass(slots=True)
class _Walk:
    """One unit of a survey."""

    survey: Survey
    unit: Unit
    limits: Limits
    files: list[FoundFile] = field(default_factory=list)
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
                self._todo += [_join(group.path, name) for _, name in group.names]
        first = True
        while self._todo and self._wide is None and (first or not self._is_over()):
            first = False
            path = self._todo.pop()
            try:
                listing = Listing(path, self._open(path))
            except OSError as error:
                self._lost(path, error)
                continue
            self._tally.directories += not self.unit.counted
            self._list(listing)

    def scan(self) -> Scan:
        """Return what was found, but for the files."""
        self._tally.entries = self._tally.files + self._tally.directories + self._tally.others
        return Scan(
            self._tally,
            rest=_unit(self._todo, self.unit) if self._todo else None,
            wide=self._wide,
            again=[replace(_unit(self._again, self.unit), retries=self.unit.retries + 1)]
            if self._again
            else (),
            failures=self._failures,
        )

    def _is_over(self) -> bool:
        return bool(
            self.limits.stop[0]
            or len(self.files) >= self.limits.entries
            or monotonic() >= self._until
        )

    def _open(self, path: bytes) -> int:
        tree = self.survey.locks.tree if path == LOCKS else self.survey.maps
        place = tuple(path.split(b"/")) if path not in (LOCKS, b"") else ()
        with tree.directory(place) as fd:
            return os.dup(fd)

    def _list(self, listing: Listing) -> None:
        """Look at the entries of a directory, of a wide one at some of them."""
        seen = 0
        try:
            for name in listing.names():
                self._entry(listing, name)
                seen += 1
                if seen >= WIDE:
                    body = walk_unit([_group(listing.path)]).body
                    self._wide = replace(self.unit, body=body, entries=1, cursor=listing)
                    return
        except OSError as error:
            self._lost(listing.path, error)
        listing.close()

    def _lost(self, path: bytes, error: OSError) -> None:
        """Sort what could not be listed: gone, to be tried again, or a failure."""
        number = error.errno or errno.EIO
        if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._tally.vanished += 1
        elif number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(path)
        else:
            self._tally.failed += 1
            self._failures.append(Failure(path, "list", number, hint=Hint.WALK))

    def _entry(self, listing: Listing, name: bytes) -> None:
        path = _join(listing.path, name)
        try:
            found = os.stat(name, dir_fd=listing.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and not self._is_place_of_map(listing.path, name):
                self._directory(listing, path, found)
            else:
                self.files.append(self._file(listing, path, name, found))
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
            self.files.append(_foreign(path, found, "a directory among the locks"))
        elif found.st_dev != listing.device:
            self.files.append(_foreign(path, found, OTHER_FILESYSTEM))
        else:
            self._todo.append(path)

    @staticmethod
    def _is_place_of_map(directory: bytes, name: bytes) -> bool:
        """Whether a file of this name would be found here as a map."""
        return (
            directory.count(b"/") == 2
            and parse_name(name).role is Role.MAP
            and place_of(name, tuple(directory.split(b"/"))) is not Place.ELSEWHERE
        )

    def _file(self, listing: Listing, path: bytes, name: bytes, found: os.stat_result) -> FoundFile:
        parsed = parse_name(name)
        place = self._place(listing.path, name, parsed.role)
        shown = b"" if place not in (Place.ELSEWHERE, Place.LOCKS) else path
        if parsed.role in (Role.LOCK_PART, Role.OWN_PART, Role.FOREIGN):
            shown = path
        content = ""
        if parsed.role is Role.MAP and place is Place.LOCKS:
            return _foreign(path, found, "no lock")
        if parsed.role is Role.MAP:
            content = pack_head(self._head(listing.fd, name, found))
        elif parsed.role in (Role.LOCK, Role.LOCK_PART) and self._is_dead(listing.fd, name, found):
            content = "ours"
        return FoundFile(
            parsed.volume,
            parsed.role,
            parsed.prefixed,
            parsed.number,
            place,
            shown,
            found.st_ino,
            found.st_size if stat.S_ISREG(found.st_mode) else -1,
            content,
        )

    def _place(self, directory: bytes, name: bytes, role: Role) -> Place:
        if directory == LOCKS:
            return Place.LOCKS
        where = tuple(directory.split(b"/"))
        if role is Role.MAP:
            return place_of(name, where)
        if where == sha256_place(name):
            return Place.V04
        # v0.3 keeps a lock beside its map.
        if role is Role.LOCK and where == v03_place(parse_name(name).map_name):
            return Place.V03
        return Place.ELSEWHERE

    def _head(self, directory: int, name: bytes, found: os.stat_result) -> Head:
        if not stat.S_ISREG(found.st_mode):
            return invalid(NO_FILE)
        return head_of(directory, name, self.survey.sizes)

    def _is_dead(self, directory: int, name: bytes, found: os.stat_result) -> bool:
        """Whether a lock, or what was to become one, was left by a run of ours."""
        locks = self.survey.locks
        if not locks.dead or not stat.S_ISREG(found.st_mode):
            return False
        parsed = parse_name(name)
        if parsed.role is Role.LOCK_PART:
            return parsed.holder in locks.dead
        fd = open_file(directory, name)
        try:
            return os.pread(fd, 1024, 0).rstrip(b"\0") in locks.dead
        finally:
            os.close(fd)


def _unit(paths: Sequence[bytes], unit: Unit) -> Unit:
    groups = walk_unit(_group(path) for path in paths)
    return replace(groups, retries=unit.retries, scope=unit.scope)


def _group(path: bytes) -> Group:
    """Return the group of one directory. Name and directory apart: splitting cuts names."""
    return whole(path)


def _foreign(path: bytes, found: os.stat_result, why: str) -> FoundFile:
    return FoundFile(
        b"", Role.FOREIGN, False, 0, Place.ELSEWHERE, path, found.st_ino, found.st_size, "", why
    )


def _join(directory: bytes, name: bytes) -> bytes:
    if not name:
        return directory
    return directory + b"/" + name if directory else name
