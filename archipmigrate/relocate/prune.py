"""The prune job: removes empty directories of the layouts, while neither v0.3 nor v0.4 runs.

A directory of a layout has a name of two bytes, at most three levels below a root. Each daemon
makes one, and then opens a file in it; if the directory was removed in between, a guest's write
fails. So they are removed only while no daemon runs, and only by rmdir(2), which removes nothing
that is not empty.

    D paths     directories to walk; of those at the second level, what is empty in them goes
    T paths     roots: last of all, what is empty at their first level goes

A path is packed as u8 length, bytes, and begins with the label of its root. The pre-image of a
batch is such paths. Bodies lie in the journals of interrupted runs, so these formats stay.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..engine.job import Job, UnitResult
from ..jobs.outcome import pack_outcome
from ..journal.store import Journal
from ..model import (
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    Limits,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
)
from ..packed.groups import Hint
from ..packed.moves import ROOTS
from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY
from .roots import Roots, leads_out, pinned

WALK, TOP = b"D", b"T"
SECOND = 2  # levels below a root
IN_A_UNIT = 16  # directories of the second level
STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)  # EBUSY: something is mounted there
IS_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
OPERATION = "rmdir"


@dataclass(slots=True)
class PruneJob(Job[Scan]):
    """See the module."""

    roots: Roots
    dry_run: bool = False
    total: int | None = None
    _has_top: bool = field(default=False)

    def first_units(self) -> Iterable[Unit]:
        """Yield the roots."""
        return (_unit(WALK, [root.label]) for root in sorted(self.roots))

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Yield the roots once more, for their first level; a session that is resumed does, too."""
        del journal
        if self._has_top:
            return ()
        self._has_top = True
        return [_unit(TOP, [root.label for root in sorted(self.roots)])]

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """List directories, or find those that are empty."""
        del limits  # a unit has few directories
        scan = _Scan(self.roots, unit)
        scan.run()
        packed = _pack(scan.empty)
        again = [_unit(unit.body[:1], scan.again, unit.retries + 1)] if scan.again else []
        return Scan(
            Tally(failed=len(scan.failures)),
            packed,
            len(scan.empty),
            chunks=scan.chunks,
            again=again,
            failures=scan.failures,
            operations=scan.looked,
        )

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Remove directories, those below first."""
        del retries, deny_limit
        outcomes, failures = bytearray(), []
        paths = list(_unpack(scan.preimage))
        for path in paths:
            outcome = Outcome.UNTRIED
            if not stop[0]:
                try:
                    outcome = self._remove(path)
                except OSError as error:
                    outcome = Outcome.FAILED
                    number = error.errno or errno.EIO
                    failures.append(Failure(path, OPERATION, number, hint=Hint.WALK))
            outcomes.append(outcome)
        changed = outcomes.count(Outcome.CHANGED)
        counted = changed + len(failures)
        untried = [p for p, o in zip(paths, outcomes, strict=True) if o == Outcome.UNTRIED]
        return UnitResult(
            pack_outcome(Applied(bytes(outcomes))),
            Tally(counted, counted, changed=changed, failed=len(failures)),
            failures,
            [_unit(WALK, sorted({_second(path) for path in untried}))] if untried else (),
            attempted=len(paths) - len(untried),
            succeeded=len(paths) - len(untried) - len(failures),
        )

    def _remove(self, path: bytes) -> Outcome:
        label, _, below = path.partition(b"/")
        above, _, name = below.rpartition(b"/")
        try:
            with pinned(self.roots[ROOTS[label]], above) as directory:
                os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno in (*STAYS, *IS_GONE):
                return Outcome.UNCHANGED
            raise
        return Outcome.CHANGED

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Count what a killed session removed. The unit is worked off again."""
        del stop
        outcomes = bytes(
            Outcome.UNCHANGED if self._is_there(path) else Outcome.CHANGED
            for path in _unpack(preimage)
        )
        gone = outcomes.count(Outcome.CHANGED)
        return UnitResult(pack_outcome(Applied(outcomes)), Tally(gone, gone, changed=gone))

    def _is_there(self, path: bytes) -> bool:
        label, _, below = path.partition(b"/")
        try:
            with pinned(self.roots[ROOTS[label]], below):
                return True
        except OSError as error:
            if error.errno in IS_GONE:
                return False
            raise

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Walk again what failed."""
        del journal
        return [_unit(WALK, [_second(failure.path)]) for failure in failures]


@dataclass(slots=True)
class _Scan:
    """One unit: what is to be walked further, and what is empty, those below first."""

    roots: Roots
    unit: Unit
    empty: list[bytes] = field(default_factory=list)
    chunks: list[Unit] = field(default_factory=list)
    again: list[bytes] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    looked: int = 0

    def run(self) -> None:
        kind, paths = self.unit.body[:1], _unpack(self.unit.body[1:])
        for path in paths:
            try:
                if kind == TOP:
                    self._top(path)
                elif path.count(b"/") == SECOND:
                    self._hollow(path)
                else:
                    self._walk(path)
            except OSError as error:
                self._failed(path, error)

    def _failed(self, path: bytes, error: OSError) -> None:
        if error.errno in IS_GONE or leads_out(error):
            return
        if error.errno in TRANSIENT and self.unit.retries < RETRIES:
            self.again.append(path)
        else:
            self.failures.append(Failure(path, "look", error.errno or errno.EIO, hint=Hint.WALK))

    def _walk(self, path: bytes) -> None:
        below = [b"/".join((path, name)) for name, is_ours in self._names(path) if is_ours]
        for at in range(0, len(below), IN_A_UNIT):
            self.chunks.append(_unit(WALK, below[at : at + IN_A_UNIT]))

    def _top(self, path: bytes) -> None:
        for name, is_ours in self._names(path):
            first = b"/".join((path, name))
            if is_ours and not self._names(first):
                self.empty.append(first)

    def _hollow(self, path: bytes) -> None:
        """Find what is empty in a directory of the second level, and itself if nothing else is."""
        names, stays = self._names(path), False
        for name, is_ours in names:
            leaf = b"/".join((path, name))
            if is_ours and not self._names(leaf):
                self.empty.append(leaf)
            else:
                stays = True
        if not stays:
            self.empty.append(path)

    def _names(self, path: bytes) -> list[tuple[bytes, bool]]:
        """Return the names in a directory, and whether each is of a directory of a layout."""
        self.looked += 1
        label, _, below = path.partition(b"/")
        fd = open_beneath(self.roots[ROOTS[label]].fd, below, DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return [(os.fsencode(entry.name), _is_ours(entry)) for entry in entries]
        finally:
            os.close(fd)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return len(os.fsencode(entry.name)) == 2 and entry.is_dir(follow_symlinks=False)


def _unit(kind: bytes, paths: Sequence[bytes], retries: int = 0) -> Unit:
    return Unit(kind + _pack(paths), len(paths), retries)


def _second(path: bytes) -> bytes:
    """Return the directory that is walked again for the sake of one at or below it."""
    return b"/".join(path.split(b"/")[: SECOND + 1])


def _pack(paths: Iterable[bytes]) -> bytes:
    return b"".join(bytes((len(path),)) + path for path in paths)


def _unpack(packed: bytes) -> Iterator[bytes]:
    """Yield packed paths. Raises ValueError if they are malformed."""
    at = 0
    while at < len(packed):
        end = at + 1 + packed[at]
        if end > len(packed):
            raise ValueError(f"path cut off at {at}")
        yield packed[at + 1 : end]
        at = end
