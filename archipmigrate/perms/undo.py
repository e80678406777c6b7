"""The undo of permissions: puts the entries of a run back as their pre-images say.

A unit is one batch of that run, newest first, or some entries that it retried (see `retried`), or
what an earlier unit could not put back for a reason that may pass.

Set-id bits that files lost do not come back with the rest; see `set_id`.

    preimage    u32 length, the unit's body; what a search found, see `find`. Earlier versions have
                parts there, of changes whose set-id bits were to come back
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..backend.base import Backend
from ..engine.job import Job, UnitResult
from ..errors import FatalError
from ..jobs.outcome import all_of, pack_outcome, unpack_outcome
from ..journal import counting
from ..journal.store import Journal
from ..model import (
    NOTHING_KNOWN,
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    Known,
    Limits,
    Outcome,
    Remade,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Unsettled,
    Verb,
)
from ..packed.changes import Change, Flag, read_changes, with_flags
from ..policy import NO_ID, restored_mode
from . import find, set_id
from .changed import changed_until
from .reasons import Reasons
from .retried import Part, RetriedEntries, entry_of, read_parts
from .root import was_removed

REMOVED = "the share is no longer there: its directory was removed"
LENGTH = struct.Struct("<I")
NO_REASONS = Reasons(Applied(b""), ())
# A run may have touched these: a change that failed may be half done.
TOUCHED = (int(Outcome.CHANGED), int(Outcome.FAILED))
ASK = "`undo --restore-set-id` puts them back if nobody has it open"
BACK = (Outcome.CHANGED, Outcome.UNCHANGED, Outcome.SETID_OFF)
# Plain numbers: enums are slow in loops over many changes.
FAILED, UNTRIED = int(Outcome.FAILED), int(Outcome.UNTRIED)
LEFT = {
    int(Outcome.GONE): "not found: removed, or elsewhere and keeps what the run gave it",
    int(Outcome.DIFFERENT): "changed by somebody since: left as it is",
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
    of the share's root (-1: there is none). `restores` says whether files get their set-id bits
    back where that is safe. `remade` returns the files that undos of later runs made again.
    """

    backend: Backend
    target: Journal
    root: int = -1
    restores: bool = False
    remade: Callable[[], Mapping[int, Sequence[Remade]]] = dict
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _retried: RetriedEntries | None = None
    _known_obstacle: str | None = None
    _changed_until: int | None = None

    def first_units(self) -> Iterable[Unit]:
        """Yield retried entries, then the batches of the run; the last one is done first."""
        yield from map(Unit, self._retried_entries().bodies())
        for number in self.target.batches():
            yield Unit(Part(number).pack())

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return a unit that seeks entries which were not under their names.

        When all are sought, return one that gives files their set-id bits back. Raises FatalError
        if the share was removed: what is gone is not back.
        """
        if was_removed(self.root):
            raise FatalError(REMOVED)
        return find.search_units(journal) or set_id.units(journal)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Count the entries of a unit; walk the share for what it seeks.

        The limits are ignored: a batch was one unit of the run, and is one here.
        """
        if find.is_search(unit.body):
            return self._search(unit, limits.stop)
        is_set_id = set_id.is_set_id(unit.body)
        entries = {
            entry_of(change): change.directory
            for part in (set_id.read_unit if is_set_id else read_parts)(unit.body)
            for change in self._load(part).records
        }
        directories = sum(entries.values())
        tally = Tally(len(entries), directories, len(entries) - directories)
        preimage = LENGTH.pack(len(unit.body)) + unit.body
        return Scan(Tally() if unit.counted else tally, preimage, len(entries))

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Put the entries of a unit back."""
        return self._apply(scan.preimage, retries, deny_limit, stop)

    def _apply(self, preimage: bytes, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        (length,) = LENGTH.unpack_from(preimage)
        end = LENGTH.size + length
        body = preimage[LENGTH.size : end]
        if find.is_search(body):
            found = list(find.read_found(preimage[end:]))
            return self._put_found_back(body, found, deny_limit, stop)
        if set_id.is_set_id(body):
            return self._restore_set_id(body, stop)
        parts = list(read_parts(body))
        ending = _Ending(retries, self.root, self._is_remade, restores=self.restores)
        for part in parts:
            loaded = self._load(part)
            if part is not parts[0]:
                ending.retry_older(loaded)
                loaded.leave(ending.has_ended)
            known = ending.known(loaded, self._known(loaded))
            applied = self._put_back(loaded, known, deny_limit, stop)
            if len(parts) > 1:
                all_of(applied, stop)
                ending.note_identities(loaded, applied)
            ending.note(loaded, applied, self._why_off(loaded, applied), stopped=bool(stop[0]))
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
        known: dict[int, Known] = {}
        for part in find.read_search(unit.body):
            loaded = self._load(part)
            known[part.batch] = self._known_to_search(loaded)
            for change in loaded.records:
                wanted.setdefault(change.inode, []).append((part.batch, change.index))
        found = self._walk(wanted, known, stop)
        found += self._find_remade(unit, frozenset((one.batch, one.index) for one in found))
        if stop[0]:
            return Scan(Tally(), rest=unit)
        preimage = LENGTH.pack(len(unit.body)) + unit.body + find.pack_found(found)
        return Scan(Tally(), preimage, len(wanted))

    def _walk(
        self,
        wanted: Mapping[int, Sequence[tuple[int, int]]],
        known: Mapping[int, Known],
        stop: StopFlag,
    ) -> list[find.Found]:
        found = []
        try:
            for inode, within, path in find.walk(self.root, wanted, stop):
                for batch, index in wanted[inode]:
                    if find.is_entry(self.root, path, known[batch], index):
                        found.append(find.Found(batch, index, within, path, inode))
        except find.SeveralDevices:
            return []
        return found

    def _is_remade(self, inode: int) -> bool:
        return inode in self.remade()

    def _find_remade(self, unit: Unit, found: frozenset[tuple[int, int]]) -> Iterator[find.Found]:
        """Yield files that the undo of a later run made again under their names."""
        remade = self.remade()
        if not remade:
            return
        for part in find.read_search(unit.body):
            for change in self._load(part).records:
                if (part.batch, change.index) in found:
                    continue
                files = remade.get(change.inode, ())
                if inodes := find.find_remade(self.root, change, files):
                    within, inode = inodes
                    yield find.Found(part.batch, change.index, within, change.path, inode, True)

    def _known_to_search(self, loaded: _Loaded) -> Known:
        """Return what is known of a batch's entries, with a time before which all were born.

        If settling found none of its changes, that is the first change of a later batch: its number
        was given after the scan of this one.
        """
        known = loaded.before.known
        if known.born_before:
            return known
        with self._reading:
            for number in self.target.batches():
                if number < loaded.part.batch:
                    continue
                later = unpack_outcome(self.target.outcome(number)).known.born_before
                if later:
                    return replace(known, born_before=later)
        return known

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
            remade = [(change, one) for change, one in moved if one.is_remade]
            moved = [(change, one) for change, one in moved if not one.is_remade]
            known = self._known_to_search(loaded)
            calls = []
            for some, of in ((moved, known.of), (remade, lambda _: NOTHING_KNOWN)):
                indices = [one.index for _, one in some]
                if not some:
                    continue
                applied = self.backend.apply(
                    find.moved_changes(some),
                    Verb.BACK,
                    deny_limit=deny_limit,
                    known=of(indices),
                    stop=stop,
                )
                calls.append((indices, all_of(applied, stop)))
            ending.note_moved(loaded.records, calls)
        return replace(ending.result(), writes=[find.end_search(parts)])

    # -- set-id bits

    def _obstacle(self) -> str:
        """Return why set-id bits cannot come back on this share; "" if they can."""
        if self._known_obstacle is None:
            self._known_obstacle = set_id.obstacle(self.root)
        return self._known_obstacle

    def _put_set_id_back(self, loaded: _Loaded, stop: StopFlag) -> None:
        """Put files back that lost set-id bits and were not written to; note when that was."""
        stamps = dict(loaded.before.stamps)
        changes = [change for change in loaded.records if change.index in stamps]
        if not changes or self._obstacle():
            return
        noted = {}
        for change in changes:
            if stop[0]:
                break
            apply = partial(self._put_one_back, loaded, change, stop)
            ctime = set_id.put_back(self.root, change, stamps[change.index], apply)
            if ctime is not None:
                noted[loaded.part.batch, change.index] = ctime
        if noted:
            with self._reading:
                self.target.commit([set_id.note_put_back(noted)])

    def _put_one_back(self, loaded: _Loaded, change: Change, stop: StopFlag) -> None:
        part = loaded.part
        found = find.Found(part.batch, change.index, change.within, change.path, change.inode)
        body = find.moved_changes([(change, found)])
        known = loaded.before.known.of([change.index])
        self.backend.apply(body, Verb.BACK, known=known, stop=stop)

    def _noted(self, batch: int) -> dict[int, int]:
        with self._reading:
            return set_id.read_put_back(self.target, batch)

    def _why_off(self, loaded: _Loaded, applied: Applied) -> dict[int, str]:
        """Return why set-id bits are off, by index, where there is more to say than that."""
        if Outcome.SETID_OFF not in applied.outcomes or self._obstacle():
            return {}
        noted = self._noted(loaded.part.batch)
        return {c.index: ASK if c.index in noted else set_id.WRITTEN for c in loaded.records}

    def _restore_set_id(self, body: bytes, stop: StopFlag) -> UnitResult:
        """Give files their set-id bits back, where that is safe."""
        ending = _Ending(RETRIES)
        done, left = [], []
        for part in set_id.read_unit(body):
            noted = self._noted(part.batch)
            for change in self._load(part).records:
                key = part.batch, change.index
                if stop[0]:
                    left.append(key)
                    continue
                ending.note_end(change, *self._restore_one(change, noted.get(change.index)))
                done.append(key)
        again = [set_id.unit_of(left)] if left else []
        return replace(ending.result(), writes=[set_id.end_waiting(done)], again=again)

    def _restore_one(self, change: Change, ctime: int | None) -> tuple[int, Failure | None]:
        try:
            if self._obstacle():
                raise set_id.StaysOff(self._obstacle())
            is_changed = set_id.restore(self.root, change, ctime)
        except set_id.StaysOff as why:
            failure = Failure(change.path, "undo", 0, set_id.words(change, str(why)))
            return Outcome.SETID_OFF, failure
        except OSError as error:
            return FAILED, Failure(change.path, "undo", error.errno or 0, set_id.words(change))
        return Outcome.CHANGED if is_changed else Outcome.UNCHANGED, None

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

    def _put_back(self, loaded: _Loaded, known: Known, deny_limit: int, stop: StopFlag) -> Applied:
        self._put_set_id_back(loaded, stop)
        return self.backend.apply(
            with_flags(loaded.changes, loaded.others, Flag.DROPPED),
            Verb.BACK,
            deny_limit=deny_limit,
            known=known,
            stop=stop,
        )

    def _known(self, loaded: _Loaded) -> Known:
        """Return what is known of a batch's entries since their change."""
        if not self.backend.nfs_version:
            return loaded.before.known
        with self._reading:
            if self._changed_until is None:
                self._changed_until = changed_until(self.target)
        return replace(loaded.before.known, changed_until=self._changed_until)


def _failure(
    change: Change, outcome: int, reasons: Reasons, why_off: Mapping[int, str]
) -> Failure | None:
    """Return why an entry is not back; *why_off* has, by index, why set-id bits are not."""
    if outcome == FAILED:
        uid = NO_ID if change.new_uid == NO_ID else change.uid
        mode = restored_mode(change.mode, change.new_mode)
        return reasons.failure(change, (mode, uid, change.gid))
    if outcome == Outcome.SETID_OFF:
        return Failure(change.path, "undo", 0, set_id.words(change, why_off.get(change.index, "")))
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

    def __init__(
        self,
        retries: int,
        root: int = -1,
        is_remade: Callable[[int], bool] = lambda _: False,
        *,
        restores: bool = False,
    ) -> None:
        """Have entries that are not there sought in the share *root* is of, if it is not -1.

        *is_remade* says whether an undo made files again in place of one with an inode number.
        With *restores* files whose set-id bits are off wait for the last phase.
        """
        self._retries = retries
        self._root = root
        self._is_remade = is_remade
        self._restores = restores
        self._off: dict[int, tuple[int, int]] = {}
        self._lost: list[tuple[int, int]] = []
        self._ends: dict[int, tuple[int, Failure | None]] = {}
        self._left: list[Part] = []
        self._again: list[Part] = []
        self._retrying: set[int] = set()
        self._pause = False
        self._identity_kind = 0
        self._identities: dict[int, int] = {}  # of entries that are back

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

    def known(self, loaded: _Loaded, known: Known) -> Known:
        """Return what is *known* of the entries of a part, and of those that are back already.

        An entry that is back has changed since the run: only its identity of now tells it again.
        """
        if not self._identities or known.kind == self._identity_kind:
            return known
        identities = (self._identities.get(entry_of(c), 0) for c in read_changes(loaded.changes))
        packed = b"".join(identity.to_bytes(8, "little") for identity in identities)
        return replace(known, kind=self._identity_kind, identities=packed)

    def note_identities(self, loaded: _Loaded, applied: Applied) -> None:
        """Note the identities of entries of which older attempts may follow."""
        now = applied.known
        self._identity_kind = now.kind
        for change in loaded.records:
            if identity := now.identity(change.index):
                self._identities[entry_of(change)] = identity

    def note(
        self, loaded: _Loaded, applied: Applied, why_off: Mapping[int, str], *, stopped: bool
    ) -> None:
        """Note the result of putting a part back."""
        reasons = Reasons(applied)
        left, again = set(), set()
        for change in loaded.records:
            outcome = applied.outcomes[change.index]
            if outcome == UNTRIED and stopped:
                left.add(change.index)
                continue
            if self._is_lost(change, outcome, loaded.before.known):
                self._lost.append((loaded.part.batch, change.index))
                continue
            failure = _failure(change, outcome, reasons, why_off)
            if failure and failure.errno in TRANSIENT and self._retries < RETRIES:
                again.add(change.index)
                self._pause = self._pause or failure.errno != errno.ESTALE
                self._retrying.add(entry_of(change))
                self._ends.pop(entry_of(change), None)
                continue
            if outcome == Outcome.SETID_OFF:
                self._off.setdefault(entry_of(change), (loaded.part.batch, change.index))
            self.note_end(change, outcome, failure)
        if left:
            self._left.append(Part(loaded.part.batch, frozenset(left)))
        self._retry(loaded, again)

    def _is_lost(self, change: Change, outcome: int, known: Known) -> bool:
        """Say whether an entry may have another name, and may be found."""
        if outcome not in (Outcome.GONE, Outcome.DIFFERENT):
            return False
        return find.tells_inodes_apart(self._root, known, change.index) and (
            outcome == Outcome.GONE
            or not find.is_at(self._root, change)
            or self._is_remade(change.inode)
        )

    def note_moved(
        self, records: Iterable[Change], calls: Sequence[tuple[Sequence[int], Applied]]
    ) -> None:
        """Note the results of putting entries back that were sought.

        *calls* have their indices, an entry's once for each of its names.
        """
        outcomes: dict[int, tuple[int, Reasons]] = {}
        for indices, applied in calls:
            reasons = Reasons(applied, indices)
            for index, outcome in zip(indices, applied.outcomes, strict=True):
                is_back = index in outcomes and outcomes[index][0] in BACK
                if outcome != Outcome.GONE and not is_back:
                    outcomes[index] = outcome, reasons
        for change in records:
            outcome, reasons = outcomes.get(change.index, (int(Outcome.GONE), NO_REASONS))
            self.note_end(change, outcome, _failure(change, outcome, reasons, {}))

    def note_end(self, change: Change, outcome: int, failure: Failure | None) -> None:
        """Note how one attempt ended; an older one is of a state that may have passed."""
        entry = entry_of(change)
        newer = self._ends.get(entry)
        if newer is None or outcome in (Outcome.FAILED, Outcome.SETID_OFF, Outcome.UNTRIED):
            self._ends[entry] = (outcome, failure)
        elif outcome == Outcome.CHANGED and newer[0] == Outcome.UNCHANGED:
            self._ends[entry] = (outcome, None)

    def result(self) -> UnitResult:
        """Return the result of the unit, each entry counted once."""
        waiting = self._take_waiting()
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
            writes=[
                *([find.note_lost(self._lost)] if self._lost else ()),
                *([set_id.note_waiting(waiting)] if waiting else ()),
            ],
            attempted=changed + off + len(waiting) + failed + len(self._retrying),
            succeeded=changed + off + len(waiting),
        )

    def _take_waiting(self) -> list[tuple[int, int]]:
        """Take out the entries that wait for their set-id bits; they end in the last phase."""
        if not self._restores:
            return []
        waiting = [e for e, (outcome, _) in self._ends.items() if outcome == Outcome.SETID_OFF]
        for entry in waiting:
            del self._ends[entry]
        return [self._off[entry] for entry in waiting]

    def _units(self) -> list[Unit]:
        """Return units for the retries, newest attempts first, and for what was not tried."""
        units = [Unit(p.pack(), retries=self._retries, counted=True) for p in self._left]
        if self._again:
            body = b"".join(part.pack() for part in self._again)
            units.append(Unit(body, retries=self._retries + 1, counted=True))
        return units
