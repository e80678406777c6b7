"""The undo job: puts the entries of an earlier run back as their pre-images say.

A unit is one batch of that run, newest first, or the entries that were tried several times (see
`tries`). What this job makes durable before it acts is which set-id bits may come back: the
evidence (nobody wrote to the file since) is gone once undo has touched the file, so a repeated undo
must not judge again.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..backend.base import Backend
from ..engine.job import Job, UnitResult
from ..jobs.outcome import all_of, failure_of, pack_outcome, unpack_outcome
from ..journal import counting
from ..journal.store import Journal
from ..model import (
    Applied,
    Failure,
    Limits,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Unsettled,
    Verb,
)
from ..packed.changes import Change, Flag, read_changes, with_flags
from .retried import Part, RetriedEntries, entry_of, read_parts

LENGTH = struct.Struct("<I")
# What a run may have touched: a change that failed may have got half way.
TOUCHED = (int(Outcome.CHANGED), int(Outcome.FAILED))
BACK = (Outcome.CHANGED, Outcome.UNCHANGED, Outcome.SETID_OFF)
# As plain numbers, for loops over many changes (see `frames.SETID_FLAG`).
FAILED, UNTRIED = int(Outcome.FAILED), int(Outcome.UNTRIED)
LEFT = {
    int(Outcome.DIFFERENT): "changed by somebody since: left as it is",
    int(Outcome.SETID_OFF): "set-id bits stay off: it may have been written to since",
}


@dataclass(slots=True)
class _Loaded:
    """A part of a unit: a batch, what became of it, the changes to put back, where others are."""

    part: Part
    changes: bytes
    before: Applied
    records: list[Change] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    def leave(self, ended: Callable[[Change], bool]) -> None:
        """Leave those changes alone of which the entries have *ended*."""
        self.others += [change.offset for change in self.records if ended(change)]
        self.records = [change for change in self.records if not ended(change)]


@dataclass(slots=True)
class UndoJob(Job[Scan]):
    """See the module. `target` is the journal of the run to put back, settled."""

    backend: Backend
    target: Journal
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _tries: RetriedEntries | None = None

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        yield from map(Unit, self._tried().bodies())
        for number in self.target.batches():
            yield Unit(Part(number).pack())

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find out which files of a unit may get their set-id bits back.

        A batch was one unit of the run, and is one here, whatever the limits say.
        """
        granted, entries = [], {}
        for part in read_parts(unit.body):
            loaded = self._load(part)
            granted.append(Part(part.batch, self._granted(loaded, limits.stop)).pack())
            entries.update({entry_of(c): c.directory for c in loaded.records})
        directories = sum(entries.values())
        tally = Tally(len(entries), directories, len(entries) - directories)
        preimage = LENGTH.pack(len(unit.body)) + unit.body + b"".join(granted)
        return Scan(Tally() if unit.counted else tally, preimage, len(entries))

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Put the entries of a unit back."""
        del retries
        return self._apply(scan.preimage, deny_limit, stop)

    def _apply(self, preimage: bytes, deny_limit: int, stop: StopFlag) -> UnitResult:
        (length,) = LENGTH.unpack_from(preimage)
        end = LENGTH.size + length
        parts = list(read_parts(preimage[LENGTH.size : end]))
        ending = _Ending()
        for part, granted in zip(parts, read_parts(preimage[end:]), strict=True):
            loaded = self._load(part)
            if part is not parts[0]:
                loaded.leave(ending.has_ended)
            applied = self._put_back(loaded, granted.indices or frozenset(), deny_limit, stop)
            if len(parts) > 1:
                all_of(applied, stop)
            ending.note(loaded, applied, stopped=bool(stop[0]))
        return ending.acted()

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish a batch that a killed undo was at; its unit will be looked at again.

        What that undo had put back counts "already as before": it may be killed once more before
        the unit is done, and nothing must be counted twice.
        """
        acted = self._apply(preimage, 0, stop)
        if acted.again:
            raise Unsettled
        return UnitResult(acted.outcome, counting.settled(acted.tally.changed))

    # -- the run's journal

    def _tried(self) -> RetriedEntries:
        """Return the entries that were tried several times; takes a look at the whole journal."""
        with self._reading:
            if self._tries is None:
                self._tries = RetriedEntries(
                    self.target.batches(),
                    lambda number: self._records(number, (FAILED,)),
                    lambda number: self._records(number, TOUCHED),
                )
            return self._tries

    def _records(self, number: int, kinds: Sequence[int]) -> Iterable[Change]:
        """Return the changes of a batch that became of one of some kinds."""
        outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        if not any(kind in outcomes for kind in kinds):
            return ()
        return (c for c in read_changes(self.target.preimage(number)) if outcomes[c.index] in kinds)

    def _load(self, part: Part) -> _Loaded:
        tries = self._tried()
        with self._reading:
            changes = self.target.preimage(part.batch)
            before = unpack_outcome(self.target.outcome(part.batch))
        loaded = _Loaded(part, changes, before)
        wanted = part.indices
        for change in read_changes(changes):
            is_touched = before.outcomes[change.index] in TOUCHED
            if is_touched and (change not in tries if wanted is None else change.index in wanted):
                loaded.records.append(change)
            else:
                loaded.others.append(change.offset)
        return loaded

    # -- the share

    def _granted(self, loaded: _Loaded, stop: StopFlag) -> frozenset[int]:
        """Return the changes whose files are, by size, mtime and ctime, as the run left them."""
        if not any(change.flags & Flag.SETID for change in loaded.records):
            return frozenset()
        before = loaded.before
        now = self.backend.apply(
            loaded.changes, Verb.CHECK, born_before=before.first_ctime, stop=stop
        )
        left = dict(before.stamps)
        stamps = all_of(now, stop).stamps
        return frozenset(index for index, ctime in stamps if left.get(index) == ctime)

    def _put_back(
        self, loaded: _Loaded, granted: frozenset[int], deny_limit: int, stop: StopFlag
    ) -> Applied:
        changes = with_flags(loaded.changes, loaded.others, Flag.DROPPED)
        if granted:
            offsets = [change.offset for change in loaded.records if change.index in granted]
            changes = with_flags(changes, offsets, Flag.GRANTED)
        return self.backend.apply(
            changes,
            Verb.BACK,
            deny_limit=deny_limit,
            born_before=loaded.before.first_ctime,
            stop=stop,
        )


class _Ending:
    """What becomes of the entries of a unit, each of which may have been tried several times."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[int, Failure | None]] = {}
        self._left: list[Part] = []

    def has_ended(self, change: Change) -> bool:
        """Say whether an entry goes back no further: by no older try than those so far."""
        end = self._ends.get(entry_of(change))
        return end is not None and end[0] not in BACK

    def note(self, loaded: _Loaded, applied: Applied, *, stopped: bool) -> None:
        """Take in what became of a part."""
        why = {
            index: (operation, error, note) for index, operation, error, note in applied.failures
        }
        left = set()
        for change in loaded.records:
            outcome = applied.outcomes[change.index]
            if outcome == UNTRIED and stopped:
                left.add(change.index)
                continue
            failure = None
            if outcome == FAILED:
                failure = failure_of(change.path, *why[change.index])
            elif outcome in LEFT:
                failure = Failure(change.path, "undo", 0, LEFT[outcome])
            elif outcome == UNTRIED:
                failure = Failure(change.path, "undo", errno.ECANCELED, "not tried")
            self._take(entry_of(change), outcome, failure)
        if left:
            self._left.append(Part(loaded.part.batch, frozenset(left)))

    def _take(self, entry: int, outcome: int, failure: Failure | None) -> None:
        """Take in what became of one try; older ones are of a state that may have passed."""
        newer = self._ends.get(entry)
        if newer is None or outcome in (Outcome.FAILED, Outcome.SETID_OFF, Outcome.UNTRIED):
            self._ends[entry] = (outcome, failure)
        elif outcome == Outcome.CHANGED and newer[0] == Outcome.UNCHANGED:
            self._ends[entry] = (outcome, None)

    def acted(self) -> UnitResult:
        """Return it, each entry counted once."""
        outcomes = bytes(outcome for outcome, _ in self._ends.values())
        failures = [failure for _, failure in self._ends.values() if failure]
        changed, off = outcomes.count(Outcome.CHANGED), outcomes.count(Outcome.SETID_OFF)
        failed = outcomes.count(Outcome.FAILED)
        tally = Tally(
            changed=changed,
            compliant=outcomes.count(Outcome.UNCHANGED),
            skipped=outcomes.count(Outcome.DIFFERENT) + off,
            vanished=outcomes.count(Outcome.GONE),
            failed=failed + outcomes.count(Outcome.UNTRIED),
        )
        return UnitResult(
            pack_outcome(Applied(outcomes)),
            tally,
            failures,
            again=[Unit(part.pack(), counted=True) for part in self._left],
            attempted=changed + off + failed,
            succeeded=changed + off,
        )
