"""The survey: walks the maps directory and the lock directory, and judges every lock.

The groups of a unit are directories to walk (hint w), or names in one directory (hint e); paths
begin with the label of their root. Of what is no directory, only files that are called like locks
are looked at. Nothing is changed; the pre-image has the locks that are to be removed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..model import RETRIES, TRANSIENT, Failure, Limits, Scan, TablesWrite, Tally, Unit
from ..packed.groups import Group, Hint, unpack_groups, walk_unit, whole
from ..relocate.survey import is_layout_directory
from .classify import Verdict, is_lock_name, judge, volume_of
from .lock import Kind, Lock, Root, pack_locks, read_lock, shown_path, split_path
from .roots import OpenRoots
from .settings import LocksSettings
from .tables import LockRow, forget_locks, put_locks

OPERATION = "look"
LINKED = "a symbolic link where a directory belongs: not followed"
MOUNTED = "another filesystem is mounted here: not entered"


def first_units(roots: OpenRoots) -> Iterator[Unit]:
    """Yield the directories; the frontier takes the last one first."""
    yield walk_unit([whole(Root.MAPS.label)])
    if roots.locks >= 0:
        yield walk_unit([whole(Root.LOCKS.label)])


def names_unit(paths: Sequence[bytes], retries: int = 0) -> Unit:
    """Return the unit that looks again at locks, by the paths that are shown; it is counted."""
    groups = [_group(*path.rpartition(b"/")[::2]) for path in paths]
    return walk_unit(groups, retries=retries, counted=True)


def retry_unit(failures: Sequence[Failure]) -> Unit:
    """Return the unit that looks again at what failed; it is counted already."""
    groups = [
        whole(f.path) if f.hint == Hint.WALK else _group(*f.path.rpartition(b"/")[::2])
        for f in failures
    ]
    return walk_unit(groups, counted=True)


def _group(directory: bytes, *names: bytes) -> Group:
    return Group(directory, 0, tuple((int(Hint.ENTRY), name) for name in names))


def row_of(lock: Lock, verdict: Verdict, *, goes: bool) -> LockRow:
    """Return what is shown of a lock."""
    volume = volume_of(lock.name)
    return LockRow(lock.path, volume, verdict.kind, verdict.holder, lock.mtime, verdict.note, goes)


@dataclass(slots=True)
class Survey:
    """Scans units of the survey; `runs` are as for `classify.judge`."""

    roots: OpenRoots
    settings: LocksSettings
    runs: Mapping[bytes, str]
    dry_run: bool

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Walk directories until done or a limit is reached; `writes` put what was found."""
        walk = _Walk(self, unit, limits)
        walk.run()
        return walk.scan()


@dataclass(slots=True)
class _Walk:
    """One unit. What is found in a directory that is looked at again is `_fresh`: not counted."""

    survey: Survey
    unit: Unit
    limits: Limits
    _todo: list[Group] = field(default_factory=list)
    _fresh: list[Group] = field(default_factory=list)
    _again: list[Group] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)
    _failures: list[Failure] = field(default_factory=list)
    _rows: list[LockRow] = field(default_factory=list)
    _seen: list[bytes] = field(default_factory=list)
    _goes: list[tuple[Lock, Kind]] = field(default_factory=list)
    _until: float = 0.0

    def run(self) -> None:
        self._until = time.monotonic() + self.limits.seconds
        self._todo = list(unpack_groups(self.unit.body))
        first = True
        while self._todo and (first or not self._is_full()):
            first = False
            group = self._todo.pop()
            try:
                self._directory(group)
            except OSError as error:
                self._lost(group, error)

    def _is_full(self) -> bool:
        limits = self.limits
        is_full = len(self._goes) >= limits.changes or self._tally.entries >= limits.entries
        return is_full or bool(limits.stop[0]) or time.monotonic() >= self._until

    def scan(self) -> Scan:
        """Return the result of the unit."""
        return Scan(
            self._tally,
            pack_locks(self._goes),
            len(self._goes),
            rest=self._unit(self._todo) if self._todo else None,
            chunks=[walk_unit(self._fresh)] if self._fresh else (),
            again=[replace(self._unit(self._again), retries=self.unit.retries + 1)]
            if self._again
            else (),
            failures=self._failures,
            writes=list(self._writes()),
        )

    def _unit(self, groups: Sequence[Group]) -> Unit:
        return walk_unit(groups, retries=self.unit.retries, counted=self.unit.counted)

    def _writes(self) -> Iterator[TablesWrite]:
        if self.unit.counted and self._seen:
            yield partial(forget_locks, paths=self._seen)
        if self._rows:
            yield partial(put_locks, rows=self._rows)

    # -- directories

    def _directory(self, group: Group) -> None:
        root, path = split_path(group.path)
        fd = self.survey.roots.open(root, path)
        try:
            names = [name for hint, name in group.names if hint == Hint.ENTRY]
            if names:
                self._names(group, fd, names, counted=self.unit.counted)
            else:
                self._list(group, fd)
        finally:
            os.close(fd)

    def _list(self, group: Group, fd: int) -> None:
        root, path = split_path(group.path)
        roots = self.survey.roots
        if root is Root.MAPS and roots.is_lock_directory(fd):
            return  # a unit of its own
        if os.fstat(fd).st_dev != os.fstat(roots.maps if root is Root.MAPS else roots.locks).st_dev:
            raise OSError(errno.EXDEV, MOUNTED)
        locks, below = [], []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if root is Root.MAPS and entry.is_dir(follow_symlinks=False):
                    below.append(whole(shown_path(root, path, name)))
                elif root is Root.LOCKS or is_lock_name(name):
                    locks.append(name)
                elif entry.is_symlink() and is_layout_directory(path, name):
                    where = shown_path(root, path, name)
                    self._fail(
                        Failure(where, "list", errno.ELOOP, LINKED, Hint.WALK), counted=False
                    )
        self._count(directory=True, counted=self.unit.counted)
        (self._fresh if self.unit.counted else self._todo).extend(below)
        self._names(group, fd, locks, counted=False)

    def _lost(self, group: Group, error: OSError) -> None:
        """Sort a directory that could not be read: gone, to be retried, or a failure."""
        number = error.errno or errno.EIO
        if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._tally.vanished += 1
        elif number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(group)
        else:
            note = MOUNTED if number == errno.EXDEV else ""
            failure = Failure(group.path, "list", number, note, Hint.WALK)
            self._fail(failure, counted=self.unit.counted)

    def _fail(self, failure: Failure, *, counted: bool) -> None:
        is_directory = failure.hint == Hint.WALK
        if not counted:
            self._tally.entries += 1
            self._tally.directories += is_directory
            self._tally.files += not is_directory
        self._tally.failed += 1
        self._failures.append(failure)

    def _count(self, *, counted: bool, directory: bool = False, odd: bool = False) -> None:
        """Count what stays as it is; what is no regular file is in no other count."""
        if not counted:
            self._tally.entries += 1
            self._tally.directories += directory
            self._tally.others += odd
            self._tally.files += not (directory or odd)
        self._tally.compliant += not odd

    # -- locks

    def _names(self, group: Group, fd: int, names: Sequence[bytes], *, counted: bool) -> None:
        for index, name in enumerate(names):
            if index and self._is_full():
                rest = _group(group.path, *names[index:])
                (self._todo if counted == self.unit.counted else self._fresh).append(rest)
                return
            try:
                self._name(group.path, fd, name, counted=counted)
            except OSError as error:
                number = error.errno or errno.EIO
                if number in TRANSIENT and self.unit.retries < RETRIES:
                    self._again.append(_group(group.path, name))
                else:
                    path = group.path + b"/" + name
                    failure = Failure(path, OPERATION, number, hint=Hint.ENTRY)
                    self._fail(failure, counted=counted)

    def _name(self, path: bytes, fd: int, name: bytes, *, counted: bool) -> None:
        root, directory = split_path(path)
        lock = read_lock(root, directory, fd, name)
        if lock is None:
            self._tally.vanished += 1
            return
        survey = self.survey
        verdict = judge(lock, survey.runs, time.time_ns())
        self._seen.append(lock.path)
        if not survey.settings.removes(verdict):
            self._rows.append(row_of(lock, verdict, goes=False))
            self._count(counted=counted, odd=lock.length < 0)
            return
        self._goes.append((lock, verdict.kind))
        if survey.dry_run:
            self._rows.append(row_of(lock, verdict, goes=True))
        if not counted:
            self._tally.entries += 1
            self._tally.files += 1
