"""The job over locks: finds all, and removes those that its settings say.

A unit is directories to walk, or names to look at again (see `survey`); its pre-image is the locks
that are to be removed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import time_ns

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
    TablesWrite,
    Tally,
    Unit,
)
from ..packed.groups import Hint, split_unit
from .classify import judge
from .lock import unpack_locks
from .remover import Done, Item, Remover
from .roots import OpenRoots
from .settings import LocksSettings
from .survey import Survey, first_units, names_unit, retry_unit, row_of
from .tables import put_locks


@dataclass(slots=True)
class LocksJob(Job[Scan]):
    """See the module. `runs` are as for `classify.judge`, `run` is the name of this run."""

    roots: OpenRoots
    settings: LocksSettings
    runs: Mapping[bytes, str]
    run: str
    dry_run: bool = False
    remover: Remover = field(init=False)

    def __post_init__(self) -> None:
        """Remove below the same roots."""
        self.remover = Remover(self.roots, self.run)

    def first_units(self) -> Iterable[Unit]:
        """Yield both directories."""
        return first_units(self.roots)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Walk directories, or look at locks again."""
        return Survey(self.roots, self.settings, self.runs, self.dry_run).scan(unit, limits)

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Cut a unit."""
        return split_unit(unit, parts)

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Look again at what failed."""
        del journal
        yield retry_unit(failures)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Remove locks. Raises OSError if that may not be durable."""
        items = list(unpack_locks(scan.preimage))
        done = self.remover.remove(items, stop, deny_limit)
        return self._removed(items, done, retries)

    def _removed(self, items: Sequence[Item], done: Sequence[Done], retries: int) -> UnitResult:
        tally, failures = Tally(), []
        again: list[bytes] = []
        untried: list[bytes] = []
        for (lock, _), ended in zip(items, done, strict=True):
            is_passing = ended.outcome == Outcome.DIFFERENT or ended.errno in TRANSIENT
            if ended.outcome == Outcome.CHANGED:
                tally.changed += 1
            elif ended.outcome == Outcome.GONE:
                tally.vanished += 1
            elif ended.outcome == Outcome.UNTRIED:
                untried.append(lock.path)
            elif is_passing and retries < RETRIES:
                again.append(lock.path)
            else:
                tally.failed += 1
                failures.append(_failure(lock.path, ended))
        units = [
            *([names_unit(again, retries + 1)] if again else ()),
            *([names_unit(untried, retries)] if untried else ()),
        ]
        return UnitResult(
            packed(done),
            tally,
            failures,
            units,
            bool(again),
            attempted=len(done) - len(untried),
            succeeded=tally.changed,
            writes=[self._rows(items, done)],
        )

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Find out which locks a killed session has removed; no scan will find these again."""
        del stop  # a batch has few
        items = list(unpack_locks(preimage))
        done = self.remover.settle_removal(items)
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        tally = Tally(entries=changed, files=changed, changed=changed)
        return UnitResult(packed(done), tally, writes=[self._rows(items, done)])

    def _rows(self, items: Sequence[Item], done: Sequence[Done]) -> TablesWrite:
        """Return what puts the locks that were removed into the table."""
        rows = [
            row_of(lock, judge(lock, self.runs, time_ns()), goes=True)
            for (lock, _), ended in zip(items, done, strict=True)
            if ended.outcome == Outcome.CHANGED
        ]
        return partial(put_locks, rows=rows)


def packed(done: Sequence[Done]) -> bytes:
    """Pack how a batch ended."""
    return pack_outcome(Applied(bytes(ended.outcome for ended in done)))


def _failure(path: bytes, ended: Done) -> Failure:
    if ended.outcome == Outcome.DIFFERENT:
        return Failure(path, "remove", errno.EAGAIN, "it is exchanged all the time", Hint.ENTRY)
    return Failure(path, ended.operation, ended.errno, hint=Hint.ENTRY)
