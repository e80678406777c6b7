"""The undo of a run over locks: every lock that it removed is made again.

It gets its content, mode, owner and mtime, under another inode. What has the name of a lock by now
is never replaced: it is left and listed.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..engine.job import Job, UnitResult
from ..jobs.outcome import unpack_outcome
from ..journal import counting
from ..journal.store import Journal
from ..model import RETRIES, TRANSIENT, Failure, Limits, Outcome, Scan, StopFlag, Tally, Unit
from .job import packed
from .lock import pack_locks, unpack_locks
from .remover import Done, Item, Remover

NUMBER = struct.Struct("<q")  # of a batch
AGAIN = -(1 << 62)  # in place of a batch: packed locks to be tried again follow
# Outcomes after which a lock may be gone.
TRIED = (Outcome.CHANGED, Outcome.FAILED)
LEFT = {
    Outcome.DIFFERENT: "somebody holds it, or another file has its name: left as it is",
    Outcome.GONE: "its directory is gone",
}


@dataclass(slots=True)
class UndoLocksJob(Job[Scan]):
    """See the module. `target` is the journal of the run to undo; all its batches are settled.

    A unit is a batch of that run, or locks to be tried again; its pre-image is the locks.
    """

    remover: Remover
    target: Journal
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        return (Unit(NUMBER.pack(number)) for number in self.target.batches())

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find the locks that a batch has removed, at most as many as the limits allow."""
        (number,) = NUMBER.unpack_from(unit.body)
        if number == AGAIN:
            items, counted = list(unpack_locks(unit.body[NUMBER.size :])), 0
        else:
            items = self._tried(number)
            counted = len(items)
        end = max(min(limits.changes, limits.entries), 1)
        rest = _again(items[end:], unit.retries) if len(items) > end else None
        tally = Tally(entries=counted, files=counted)
        return Scan(tally, pack_locks(items[:end]), len(items[:end]), rest=rest)

    def _tried(self, number: int) -> list[Item]:
        with self._reading:
            items = unpack_locks(self.target.preimage(number))
            outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        return [item for item, o in zip(items, outcomes, strict=True) if o in TRIED]

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Make locks again. Raises OSError if that may not be durable."""
        items = list(unpack_locks(scan.preimage))
        return _result(items, self.remover.make_again(items, stop, deny_limit), retries)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Sweep what a killed undo left half made; its unit is worked off again."""
        del stop  # a batch has few
        done = self.remover.settle_making(list(unpack_locks(preimage)))
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        return UnitResult(packed(done), counting.settled(changed))


def _result(items: list[Item], done: list[Done], retries: int) -> UnitResult:
    tally, failures = Tally(), []
    again: list[Item] = []
    untried: list[Item] = []
    for item, ended in zip(items, done, strict=True):
        path = item[0].path
        if ended.outcome == Outcome.CHANGED:
            tally.changed += 1
        elif ended.outcome == Outcome.UNCHANGED:
            tally.compliant += 1
        elif ended.outcome == Outcome.UNTRIED:
            untried.append(item)
        elif ended.outcome in LEFT:
            tally.skipped += 1
            failures.append(Failure(path, "undo", 0, LEFT[ended.outcome]))
        elif ended.errno in TRANSIENT and retries < RETRIES:
            again.append(item)
        else:
            tally.failed += 1
            failures.append(Failure(path, ended.operation, ended.errno))
    units = [
        *([_again(again, retries + 1)] if again else ()),
        *([_again(untried, retries)] if untried else ()),
    ]
    return UnitResult(
        packed(done),
        tally,
        failures,
        units,
        bool(again),
        attempted=len(done) - len(untried),
        succeeded=tally.changed + tally.compliant,
    )


def _again(items: list[Item], retries: int) -> Unit:
    return Unit(NUMBER.pack(AGAIN) + pack_locks(items), len(items), retries, counted=True)
