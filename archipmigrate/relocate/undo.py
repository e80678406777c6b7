"""The undo of relocate: every object that was moved goes back to where it was.

Whatever has been written into objects meanwhile stays in them: an object is known by its inode. An
object that has two names (it had both before the run) keeps the new one; of one that was merged a
copy is made, and what was copied to another filesystem is copied back. Copies of what Pithos kept
are removed, if they are still its equal. New directories stay.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..engine.job import Job, UnitResult
from ..jobs.outcome import pack_outcome, unpack_outcome
from ..journal import counting
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
from ..packed.moves import Move, cut_moves, pack_moves, unpack_moves
from .batch import Done
from .mover import Mover
from .native import NativeMover
from .roots import Roots
from .tables import copy_of

NUMBER = struct.Struct("<q")  # of a batch
# Outcomes after which an object may be at its new place.
TRIED = (Outcome.CHANGED, Outcome.FAILED)
LEFT = {
    Outcome.DIFFERENT: "something else is at its place, or it was exchanged: left as it is",
    Outcome.GONE: "it is neither at its old nor at its new place",
}
# What may pass; ENOENT, if another lane moves the same object back: its move was tried twice.
PASSING = TRANSIENT | {errno.ENOENT}
# A unit of moves that are tried again has this in place of a batch.
AGAIN = -(1 << 62)


@dataclass(slots=True)
class UndoRelocateJob(Job[Scan]):
    """See the module. `target` is the journal of the run to undo; all its batches are settled.

    A unit is a batch of that run, or moves to be tried again; its pre-image is the moves.
    """

    roots: Roots
    target: Journal
    native: bool = False
    knows_total: bool = True
    mover: Mover = field(init=False)
    _fast: NativeMover | None = field(init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Move back."""
        self.mover = Mover(self.roots, back=True, copies=self._copy_of)
        self._fast = NativeMover(self.mover) if self.native else None

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        return (Unit(NUMBER.pack(number)) for number in self.target.batches())

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find the objects that a batch has moved, at most as many as the limits allow."""
        (number,) = NUMBER.unpack_from(unit.body)
        packed = unit.body[NUMBER.size :]
        entries = 0
        if number != AGAIN:
            packed, entries = self._tried(number)
        end, count = cut_moves(packed, max(min(limits.changes, limits.entries), 1))
        total = unit.entries if number == AGAIN else entries
        rest = _again(packed[end:], total - count, unit.retries) if end < len(packed) else None
        return Scan(Tally(entries=entries, files=entries), packed[:end], count, rest=rest)

    def _copy_of(self, path: bytes) -> int | None:
        with self._reading:
            return copy_of(self.target, path)

    def _tried(self, number: int) -> tuple[bytes, int]:
        """Return the moves of a batch that may have been made, packed, and their number."""
        with self._reading:
            packed = self.target.preimage(number)
            outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        if not outcomes.strip(bytes(TRIED)):
            return packed, len(outcomes)
        pairs = zip(unpack_moves(packed), outcomes, strict=True)
        moves = [move for move, o in pairs if o in TRIED]
        return pack_moves(moves), len(moves)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Move objects back. Raises OSError if what was done may not be durable."""
        if self._fast is None:
            moves = list(unpack_moves(scan.preimage))
            return _result(moves, self.mover.apply(moves, stop, deny_limit), retries)
        fast = self._fast.move(scan.preimage, stop, deny_limit)
        if fast.is_all:
            number = len(fast.outcomes)
            outcome = pack_outcome(Applied(fast.outcomes))
            tally = Tally(changed=number)
            return UnitResult(outcome, tally, attempted=number, succeeded=number)
        moves = list(unpack_moves(scan.preimage))
        return _result(moves, self._fast.complete(moves, fast, stop, deny_limit), retries)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed undo left half done; its unit is worked off again."""
        del stop  # a batch has few that are half done
        done = self.mover.settle(list(unpack_moves(preimage)))
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        return UnitResult(_packed(done), counting.settled(changed))


def _result(moves: list[Move], done: list[Done], retries: int) -> UnitResult:
    tally, failures = Tally(), []
    again: list[Move] = []
    untried: list[Move] = []
    for move, ended in zip(moves, done, strict=True):
        if ended.outcome == Outcome.CHANGED:
            tally.changed += 1
        elif ended.outcome == Outcome.UNCHANGED:
            tally.compliant += 1
        elif ended.outcome == Outcome.UNTRIED:
            untried.append(move)
        elif ended.outcome in LEFT:
            tally.skipped += 1
            failures.append(Failure(move.path, "undo", 0, LEFT[ended.outcome]))
        elif ended.errno in PASSING and retries < RETRIES:
            again.append(move)
        else:
            tally.failed += 1
            failures.append(Failure(move.path, ended.operation, ended.errno, ended.note))
    units = [
        *([_again(pack_moves(again), len(again), retries + 1)] if again else ()),
        *([_again(pack_moves(untried), len(untried), retries)] if untried else ()),
    ]
    return UnitResult(
        _packed(done),
        tally,
        failures,
        units,
        bool(again),
        attempted=len(done) - len(untried),
        succeeded=tally.changed + tally.compliant,
    )


def _again(packed: bytes, moves: int, retries: int) -> Unit:
    return Unit(NUMBER.pack(AGAIN) + packed, moves, retries, counted=True)


def _packed(done: list[Done]) -> bytes:
    return pack_outcome(Applied(bytes(ended.outcome for ended in done)))
