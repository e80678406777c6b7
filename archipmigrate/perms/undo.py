"""The undo of permissions: puts the entries of a run back as their pre-images say.

A unit is one batch of that run, newest first, or some entries that it retried (see `retried`), or
what an earlier unit could not put back for a reason that may pass.

A unit's pre-image is which set-id bits may come back: the evidence, that nobody has written to the
file since, is gone once undo has touched it. So an undo that is repeated after a kill reads the
verdict from its journal.

    preimage    u32 length, the unit's body; the same parts again, with the indices of the changes
                whose set-id bits may come back
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..backend.base import Backend
from ..engine.job import Job, UnitResult
from ..errors import FatalError
from ..jobs.outcome import all_of, failure_of, pack_outcome, unpack_outcome
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
    Unsettled,
    Verb,
)
from ..packed.changes import Change, Flag, read_changes, with_flags
from . import find
from .retried import Part, RetriedEntries, entry_of, read_parts
from .root import was_removed

REMOVED = "the share is no longer there: its directory was removed"
LENGTH = struct.Struct("<I")
# A run may have touched these: a change that failed may be half done.
TOUCHED = (int(Outcome.CHANGED), int(Outcome.FAILED))
BACK = (Outcome.CHANGED, Outcome.UNCHANGED, Outcome.SETID_OFF)
# Plain numbers: enums are slow in loops over many changes.
FAILED, UNTRIED = int(Outcome.FAILED), int(Outcome.UNTRIED)
LEFT = {
    int(Outcome.GONE): "not found: removed, or elsewhere and keeps what the run gave it",
    int(Outcome.DIFFERENT): "changed by somebody since: left as it is",
    int(Outcome.SETID_OFF): "set-id bits stay off: it may have been written to since",
}


@dataclass(slots=True)
class _Loaded:
    """A part of a unit, loaded: its batch's changes and outcome, and which of them to put back.

    `records` are put back; `others` are the offsets of the other changes in `changes`.
    """

    part: Part
    changes: bytes
    before: Applied
    records: list[Change] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    def leave(self, ended: Callable[[Change], bool]) -> None:
        """Do not put back changes whose entries have *ended*."""
        self.others += [change.offset for change in self.records if ended(change)]
        self.records = [change for change in self.records if not ended(change)]


@dataclass(slots=True)
class UndoJob(Job[Scan]):
    """See the module.

    `target` is the journal of the run to undo; all its batches are settled. `root` is a descriptor
    of the share's root (-1: there is none).
    """

    backend: Backend
    target: Journal
    root: int = -1
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _retried: RetriedEntries | None = None

    def first_units(self) -> Iterable[Unit]:
        """Yield retried entries, then the batches of the run; the last one is done first."""
        yield from map(Unit, self._retried_entries().bodies())
        for number in self.target.batches():
            yield Unit(Part(number).pack())

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return a unit that seeks entries which were not under their names.

        Raises FatalError if the share was removed: what is gone is not back.
        """
        if was_removed(self.root):
            raise FatalError(REMOVED)
        return find.search_units(journal)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find out which files of a unit may get their set-id bits back.

        The limits are ignored: a batch was one unit of the run, and is one here.
        """
        if find.is_search(unit.body):
            return self._search(unit, limits.stop)
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
        return self._apply(scan.preimage, retries, deny_limit, stop)

    def _apply(self, preimage: bytes, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        (length,) = LENGTH.unpack_from(preimage)
        end = LENGTH.size + length
        if find.is_search(preimage[LENGTH.size : end]):
            found = list(find.read_found(preimage[end:]))
            return self._put_found_back(preimage[LENGTH.size : end], found, deny_limit, stop)
        parts = list(read_parts(preimage[LENGTH.size : end]))
        ending = _Ending(retries, self.root)
        for part, granted in zip(parts, read_parts(preimage[end:]), strict=True):
            loaded = self._load(part)
            if part is not parts[0]:
                ending.retry_older(loaded)
                loaded.leave(ending.has_ended)
            applied = self._put_back(loaded, granted.indices or frozenset(), deny_limit, stop)
            if len(parts) > 1:
                all_of(applied, stop)
            ending.note(loaded, applied, stopped=bool(stop[0]))
        return ending.result()

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Put back the rest of a batch that a killed undo had begun; its unit is scanned again."""
        result = self._apply(preimage, RETRIES, 0, stop)
        if result.again:
            raise Unsettled
        return UnitResult(result.outcome, counting.settled(result.tally.changed))

    # -- entries that have other names now

    def _search(self, unit: Unit, stop: StopFlag) -> Scan:
        """Walk the share for the entries that a unit seeks."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        births: dict[int, int] = {}
        for part in find.read_search(unit.body):
            births[part.batch] = self._known_birth(part.batch)
            for change in self._load(part).records:
                wanted.setdefault(change.inode, []).append((part.batch, change.index))
        found: list[find.Found] = []
        for inode, within, path in find.walk(self.root, wanted, stop):
            for batch, index in wanted[inode]:
                if find.born_before(self.root, path, births[batch]):
                    found.append(find.Found(batch, index, within, path))
        if stop[0]:
            return Scan(Tally(), rest=unit)
        preimage = LENGTH.pack(len(unit.body)) + unit.body + find.pack_found(found)
        return Scan(Tally(), preimage, len(wanted))

    def _known_birth(self, batch: int) -> int:
        """Return a time before which all entries of a batch were born; 0: there is none.

        If settling found none of its changes, that is the first change of a later batch: its number
        was given after the scan of this one.
        """
        with self._reading:
            for number in self.target.batches():
                if number >= batch and (
                    time := _born_before(unpack_outcome(self.target.outcome(number)))
                ):
                    return time
        return 0

    def _put_found_back(
        self, body: bytes, found: Sequence[find.Found], deny_limit: int, stop: StopFlag
    ) -> UnitResult:
        """Put back entries that were found, under the names that they have now.

        One that has several names is tried by each: any of them may be gone by now.
        """
        ending = _Ending(RETRIES)
        parts = find.read_search(body)
        for part in reversed(parts):  # newest first, as everywhere
            loaded = self._load(part)
            records = {change.index: change for change in loaded.records}
            moved = [(records[f.index], f) for f in found if f.batch == part.batch]
            applied = Applied(b"")
            if moved:
                new_gid = loaded.records[0].new_gid
                applied = self.backend.apply(
                    find.moved_changes(new_gid, moved),
                    Verb.BACK,
                    deny_limit=deny_limit,
                    born_before=_born_before(loaded.before),
                    stop=stop,
                )
                all_of(applied, stop)
            ending.note_moved(loaded.records, [f.index for _, f in moved], applied)
        return replace(ending.result(), writes=[find.end_search(parts)])

    # -- the run's journal

    def _retried_entries(self) -> RetriedEntries:
        """Return the retried entries; the first call reads the whole journal."""
        with self._reading:
            if self._retried is None:
                self._retried = RetriedEntries(
                    self.target.batches(),
                    lambda number: self._records(number, (FAILED,)),
                    lambda number: self._records(number, TOUCHED),
                )
            return self._retried

    def _records(self, number: int, kinds: Sequence[int]) -> Iterable[Change]:
        """Return the changes of a batch with one of some outcomes."""
        outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        if not any(kind in outcomes for kind in kinds):
            return ()
        return (c for c in read_changes(self.target.preimage(number)) if outcomes[c.index] in kinds)

    def _load(self, part: Part) -> _Loaded:
        retried = self._retried_entries()
        with self._reading:
            changes = self.target.preimage(part.batch)
            before = unpack_outcome(self.target.outcome(part.batch))
        loaded = _Loaded(part, changes, before)
        wanted = part.indices
        for change in read_changes(changes):
            is_touched = before.outcomes[change.index] in TOUCHED
            if is_touched and (change not in retried if wanted is None else change.index in wanted):
                loaded.records.append(change)
            else:
                loaded.others.append(change.offset)
        return loaded

    # -- the share

    def _granted(self, loaded: _Loaded, stop: StopFlag) -> frozenset[int]:
        """Return the indices of changes whose files have the size, mtime and ctime of the run."""
        if not any(change.flags & Flag.SETID for change in loaded.records):
            return frozenset()
        before = loaded.before
        now = self.backend.apply(
            loaded.changes, Verb.CHECK, born_before=_born_before(before), stop=stop
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
            born_before=_born_before(loaded.before),
            stop=stop,
        )


def _born_before(before: Applied) -> int:
    """Return the time before which an entry must have been born to be one that the run changed.

    A clock that showed a time before 1970 says nothing about births: 0.
    """
    return max(before.first_ctime, 0)


def _failure(
    change: Change, outcome: int, why: Mapping[int, tuple[str, int, str]]
) -> Failure | None:
    """Return why an entry is not back; *why* has the reasons of those that failed, by index."""
    if outcome == FAILED:
        return failure_of(change.path, *why[change.index])
    if outcome in LEFT:
        return Failure(change.path, "undo", 0, LEFT[outcome])
    if outcome == UNTRIED:
        return Failure(change.path, "undo", errno.ECANCELED, "not tried")
    return None


class _Ending:
    """How the entries of a unit end; each may have several attempts to put back.

    An entry that fails for a reason that may pass is retried in another unit, with the attempt that
    failed and all older ones, unless the unit's own *retries* are used up.
    """

    def __init__(self, retries: int, root: int = -1) -> None:
        """Have entries that are not there sought in the share *root* is of, if it is not -1."""
        self._retries = retries
        self._root = root
        self._lost: list[tuple[int, int]] = []
        self._ends: dict[int, tuple[int, Failure | None]] = {}
        self._left: list[Part] = []
        self._again: list[Part] = []
        self._retrying: set[int] = set()
        self._pause = False

    def has_ended(self, change: Change) -> bool:
        """Return whether no older attempt at an entry is to be put back."""
        entry = entry_of(change)
        end = self._ends.get(entry)
        return entry in self._retrying or (end is not None and end[0] not in BACK)

    def retry_older(self, loaded: _Loaded) -> None:
        """Note the older attempts, in another part, at entries that are to be retried."""
        self._retry(loaded, {c.index for c in loaded.records if entry_of(c) in self._retrying})

    def _retry(self, loaded: _Loaded, indices: set[int]) -> None:
        if indices:
            self._again.append(Part(loaded.part.batch, frozenset(indices)))

    def note(self, loaded: _Loaded, applied: Applied, *, stopped: bool) -> None:
        """Note the result of putting a part back."""
        why = {
            index: (operation, error, note) for index, operation, error, note in applied.failures
        }
        left, again = set(), set()
        for change in loaded.records:
            outcome = applied.outcomes[change.index]
            if outcome == UNTRIED and stopped:
                left.add(change.index)
                continue
            if self._is_lost(change, outcome):
                self._lost.append((loaded.part.batch, change.index))
                continue
            failure = _failure(change, outcome, why)
            if failure and failure.errno in TRANSIENT and self._retries < RETRIES:
                again.add(change.index)
                self._pause = self._pause or failure.errno != errno.ESTALE
                self._retrying.add(entry_of(change))
                self._ends.pop(entry_of(change), None)
                continue
            self._note_attempt(entry_of(change), outcome, failure)
        if left:
            self._left.append(Part(loaded.part.batch, frozenset(left)))
        self._retry(loaded, again)

    def _is_lost(self, change: Change, outcome: int) -> bool:
        """Say whether an entry may have another name, and may be found."""
        if outcome not in (Outcome.GONE, Outcome.DIFFERENT) or not find.tells_births(self._root):
            return False
        return outcome == Outcome.GONE or not find.is_at(self._root, change)

    def note_moved(self, records: Iterable[Change], found: Sequence[int], applied: Applied) -> None:
        """Note the result of putting entries back that were sought.

        *found* are their indices, an entry's once for each of its names.
        """
        outcomes: dict[int, int] = {}
        for index, outcome in zip(found, applied.outcomes, strict=True):
            if outcome != Outcome.GONE and outcomes.get(index) not in BACK:
                outcomes[index] = outcome
        why = {
            found[at]: (operation, number, note) for at, operation, number, note in applied.failures
        }
        for change in records:
            outcome = outcomes.get(change.index, int(Outcome.GONE))
            failure = _failure(change, outcome, why)
            self._note_attempt(entry_of(change), outcome, failure)

    def _note_attempt(self, entry: int, outcome: int, failure: Failure | None) -> None:
        """Note how one attempt ended; an older one is of a state that may have passed."""
        newer = self._ends.get(entry)
        if newer is None or outcome in (Outcome.FAILED, Outcome.SETID_OFF, Outcome.UNTRIED):
            self._ends[entry] = (outcome, failure)
        elif outcome == Outcome.CHANGED and newer[0] == Outcome.UNCHANGED:
            self._ends[entry] = (outcome, None)

    def result(self) -> UnitResult:
        """Return the result of the unit, each entry counted once."""
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
            again=self._units(),
            pause=self._pause,
            writes=[find.note_lost(self._lost)] if self._lost else (),
            attempted=changed + off + failed + len(self._retrying),
            succeeded=changed + off,
        )

    def _units(self) -> list[Unit]:
        """Return units for the retries, newest attempts first, and for what was not tried."""
        units = [Unit(p.pack(), retries=self._retries, counted=True) for p in self._left]
        if self._again:
            body = b"".join(part.pack() for part in self._again)
            units.append(Unit(body, retries=self._retries + 1, counted=True))
        return units
