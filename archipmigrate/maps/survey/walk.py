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

from ...model import RETRIES, TRANSIENT, Failure, Limits, Scan, Tally, Unit
from ...packed.groups import Group, Hint, unpack_groups, walk_unit, whole
from ...tree.files import Tree, open_file, unlink
from ..format.head import Head, invalid
from ..format.names import Name, Role, parse_map_name, parse_name
from ..format.placement import LEVELS, Placement, placement_of, sha256_dir, v03_dir
from ..journal.tables import LOCKS, FoundFile
from .packed_head import pack_head
from .locks import Locks
from .volume_files import NO_FILE, KnownSizes, read_map_head

# A directory with more names than this is read in several goes.
WIDE = 4096
OTHER_FILESYSTEM = "another filesystem is mounted here: what lies on it was not looked at"
LINKED = "a symbolic link in the place of a directory: what lies behind it was not looked at"
TOO_DEEP = "a directory deeper than any path: v0.4 has three levels"
MOST_HOLDER = 512  # bytes of a lock: padded as direct mode does


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
    acts: bool  # removes what dead runs of ours left of taking locks

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
        return tree.open(place)

    def _list(self, listing: Listing) -> None:
        """VolumeFiles at the entries of a directory, of a wide one at some of them."""
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
        elif number == errno.ENAMETOOLONG:
            self.files.append(_foreign(path, TOO_DEEP))
        elif number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(path)
        else:
            self._tally.failed += 1
            self._failures.append(Failure(path, "list", number, hint=Hint.WALK))

    def _entry(self, listing: Listing, name: bytes) -> None:
        path = _join(listing.path, name)
        try:
            found = os.stat(name, dir_fd=listing.fd, follow_symlinks=False)
            is_directory = stat.S_ISDIR(found.st_mode)
            if is_directory and not self._is_place_of_map(listing.path, name):
                self._directory(listing, path, found)
            elif stat.S_ISLNK(found.st_mode) and self._is_place(path):
                self._hidden(path, errno.ELOOP, LINKED)
            elif not self._sweep(listing, name, found):
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
            self.files.append(_foreign(path, "a directory among the locks"))
        elif found.st_dev != listing.device:
            if self._is_place(path):
                self._hidden(path, errno.EXDEV, OTHER_FILESYSTEM)
            else:
                self.files.append(_foreign(path, OTHER_FILESYSTEM))
        else:
            self._todo.append(path)

    def _hidden(self, path: bytes, number: int, note: str) -> None:
        """Note what may hide volumes: without a failure a run would seem to have seen all."""
        self._tally.failed += 1
        self._failures.append(Failure(path, "list", number, note, Hint.WALK))

    @staticmethod
    def _is_place(path: bytes) -> bool:
        """Whether this is the name of a directory where v0.4 or others look for files."""
        parts = path.split(b"/")
        return len(parts) <= LEVELS and all(len(part) == 2 for part in parts)

    @staticmethod
    def _is_place_of_map(directory: bytes, name: bytes) -> bool:
        """Whether a file of this name would be found here as a map."""
        return (
            directory.count(b"/") == 2
            and parse_name(name).role is Role.MAP
            and placement_of(name, tuple(directory.split(b"/"))) is not Placement.ELSEWHERE
        )

    def _file(self, listing: Listing, path: bytes, name: bytes, found: os.stat_result) -> FoundFile:
        parsed = self._parse(listing, name, found)
        if listing.path == LOCKS and parsed.role not in (Role.LOCK, Role.LOCK_PART):
            return _foreign(path, "no lock")
        place = self._place(listing.path, name, parsed)
        is_elsewhere = place in (Placement.ELSEWHERE, Placement.LOCKS)
        is_odd = parsed.role in (Role.LOCK_PART, Role.OWN_PART, Role.FOREIGN)
        is_map = parsed.role is Role.MAP
        return FoundFile(
            parsed.volume,
            parsed.role,
            parsed.prefixed,
            parsed.number,
            place,
            path if is_elsewhere or is_odd else b"",
            found.st_ino,
            found.st_size if stat.S_ISREG(found.st_mode) else -1,
            pack_head(self._head(listing.fd, name, found)) if is_map else "",
        )

    def _parse(self, listing: Listing, name: bytes, found: os.stat_result) -> Name:
        """Take a name apart; a map may be called like what a lock or a file is made from.

        `filed` writes its string into the former. The latter lies beside what it is to become, and
        never where a map of its own name would lie.
        """
        parsed = parse_name(name)
        if listing.path == LOCKS or parsed.role not in (Role.LOCK_PART, Role.OWN_PART):
            return parsed
        if placement_of(name, tuple(listing.path.split(b"/"))) is Placement.ELSEWHERE:
            return parsed
        if parsed.role is Role.LOCK_PART and _content(listing.fd, name, found) in (
            b"",
            parsed.holder,
        ):
            return parsed
        return parse_map_name(name)

    def _sweep(self, listing: Listing, name: bytes, found: os.stat_result) -> bool:
        """Remove what a dead run of ours left of taking a lock; say whether it was that."""
        locks = self.survey.locks
        if not locks.dead or not self.survey.acts:
            return False
        role = parse_name(name).role
        if role not in (Role.LOCK, Role.LOCK_PART):
            return False
        content = _content(listing.fd, name, found)
        is_part = role is Role.LOCK_PART and parse_name(name).holder in locks.dead
        if content in locks.dead or (is_part and not content):
            return unlink(listing.fd, name, found.st_ino)
        return False

    def _place(self, directory: bytes, name: bytes, parsed: Name) -> Placement:
        if directory == LOCKS:
            return Placement.LOCKS
        where = tuple(directory.split(b"/"))
        if parsed.role is Role.MAP:
            return placement_of(name, where)
        if where == sha256_dir(name):
            return Placement.V04
        # v0.3 keeps a lock beside its map.
        if parsed.role is Role.LOCK and where == v03_dir(parsed.map_name):
            return Placement.V03
        return Placement.ELSEWHERE

    def _head(self, directory: int, name: bytes, found: os.stat_result) -> Head:
        if not stat.S_ISREG(found.st_mode):
            return invalid(NO_FILE)
        return read_map_head(directory, name, self.survey.sizes)


def _content(directory: int, name: bytes, found: os.stat_result) -> bytes | None:
    """Return what is in a file as small as a lock, without NULs at the end; else None."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_HOLDER:
        return None
    fd = open_file(directory, name)
    try:
        return os.pread(fd, MOST_HOLDER, 0).rstrip(b"\0")
    finally:
        os.close(fd)


def _unit(paths: Sequence[bytes], unit: Unit) -> Unit:
    groups = walk_unit(_group(path) for path in paths)
    return replace(groups, retries=unit.retries, scope=unit.scope)


def _group(path: bytes) -> Group:
    """Return the group of one directory. Name and directory apart: splitting cuts names."""
    return whole(path)


def _foreign(path: bytes, why: str) -> FoundFile:
    return FoundFile(b"", Role.FOREIGN, False, 0, Placement.ELSEWHERE, path, 0, 0, "", why)


def _join(directory: bytes, name: bytes) -> bytes:
    if not name:
        return directory
    return directory + b"/" + name if directory else name
