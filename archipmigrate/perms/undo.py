"""The undo of permissions: puts the entries of a run back as their pre-images say.

A unit is one batch of that run, newest first, or some entries that it retried (see `retried`), or
what an earlier unit could not put back for a reason that may pass.

Set-id bits that files lost do not come back with the rest; see `set_id`.

    preimage    u32 length, the unit's body; what a search found, see `find`. Earlier versions have
                parts there, of changes whose set-id bits were to come back
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..backend.base import Backend
from ..engine.job import Job, UnitResult
from ..errors import FatalError
from ..jobs.outcome import all_of
from ..journal import counting
from ..journal.store import Journal
from ..model import (
    NOTHING_KNOWN,
    RETRIES,
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
from ..packed.changes import Change
from . import find, set_id
from .batches import LoadedPart, RunBatches
from .chosen import choice, chooser_of
from .ending import Ending
from .retried import Part, entry_of, read_parts
from .root import was_removed

REMOVED = "the share is no longer there: its directory was removed"
LENGTH = struct.Struct("<I")
ASK = "`undo --restore-set-id` puts them back if nobody has it open"


@dataclass(frozen=True, slots=True)
class UndoScan(Scan):
    """What is to be done in a unit; `loaded` is its part, if there is only one."""

    loaded: LoadedPart | None = None


@dataclass(slots=True)
class UndoJob(Job[UndoScan]):
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
    _batches: RunBatches = field(init=False)
    _known_obstacle: str | None = None

    def __post_init__(self) -> None:
        """Read the batches of the run as fast as the backend works."""
        self._batches = RunBatches(self.target, chooser_of(self.backend.name))

    def first_units(self) -> Iterable[Unit]:
        """Yield retried entries, then the batches of the run; the last one is done first."""
        return map(Unit, self._batches.first_bodies())

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return a unit that seeks entries which were not under their names.

        When all are sought, return one that gives files their set-id bits back. Raises FatalError
        if the share was removed: what is gone is not back.
        """
        if was_removed(self.root):
            raise FatalError(REMOVED)
        return find.search_units(journal) or set_id.units(journal)

    def scan(self, unit: Unit, limits: Limits) -> UndoScan:
        """Count the entries of a unit; walk the share for what it seeks.

        The limits are ignored: a batch was one unit of the run, and is one here.
        """
        if find.is_search(unit.body):
            return self._search(unit, limits.stop)
        loaded = None
        if set_id.is_set_id(unit.body):
            count, directories = self._count(set_id.read_unit(unit.body))
        elif len(parts := list(read_parts(unit.body))) > 1:
            count, directories = self._count(parts)
        else:
            loaded = self._batches.load(parts[0])
            _, count, directories = loaded.pack()
        tally = Tally() if unit.counted else Tally(count, directories, count - directories)
        preimage = LENGTH.pack(len(unit.body)) + unit.body
        return UndoScan(tally, preimage, count, loaded=loaded)

    def _count(self, parts: Iterable[Part]) -> tuple[int, int]:
        """Return how many entries some parts are of, each counted once; and directories."""
        entries = {
            entry_of(change): change.directory
            for part in parts
            for change in self._batches.load(part).records()
        }
        return len(entries), sum(entries.values())

    def apply(self, scan: UndoScan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Put the entries of a unit back."""
        if scan.loaded is not None:
            return self._put_parts_back([scan.loaded], retries, deny_limit, stop, once=True)
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
        every = map(self._batches.load, parts)
        return self._put_parts_back(every, retries, deny_limit, stop, once=len(parts) == 1)

    def _put_parts_back(
        self,
        parts: Iterable[LoadedPart],
        retries: int,
        deny_limit: int,
        stop: StopFlag,
        *,
        once: bool,
    ) -> UnitResult:
        """Put parts back; *once* says that there is one, thus one attempt at each entry."""
        ending = Ending(retries, self.root, self._is_remade, restores=self.restores, once=once)
        for number, loaded in enumerate(parts):
            if number > 0:
                ending.retry_older(loaded)
                loaded.leave(ending.has_ended)
            known = ending.known(loaded, self._known(loaded))
            applied = self._put_back(loaded, known, deny_limit, stop)
            if not once:
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

    def _search(self, unit: Unit, stop: StopFlag) -> UndoScan:
        """Walk the share for the entries that a unit seeks."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        known: dict[int, Known] = {}
        for part in find.read_search(unit.body):
            loaded = self._batches.load(part)
            known[part.batch] = self._batches.known_born(loaded)
            for change in loaded.records():
                wanted.setdefault(change.inode, []).append((part.batch, change.index))
        found = self._walk(wanted, known, stop)
        found += self._find_remade(unit, frozenset((one.batch, one.index) for one in found))
        if stop[0]:
            return UndoScan(Tally(), rest=unit)
        preimage = LENGTH.pack(len(unit.body)) + unit.body + find.pack_found(found)
        return UndoScan(Tally(), preimage, len(wanted))

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
            for change in self._batches.load(part).records():
                if (part.batch, change.index) in found:
                    continue
                files = remade.get(change.inode, ())
                if inodes := find.find_remade(self.root, change, files):
                    within, inode = inodes
                    yield find.Found(part.batch, change.index, within, change.path, inode, True)

    def _put_found_back(
        self, body: bytes, found: Sequence[find.Found], deny_limit: int, stop: StopFlag
    ) -> UnitResult:
        """Put back entries that were found, under the names that they have now.

        One that has several names is tried by each: any of them may be gone by now.
        """
        ending = Ending(RETRIES)
        parts = find.read_search(body)
        for part in reversed(parts):  # newest first, as everywhere
            loaded = self._batches.load(part)
            records = {change.index: change for change in loaded.records()}
            moved = [(records[f.index], f) for f in found if f.batch == part.batch]
            remade = [(change, one) for change, one in moved if one.is_remade]
            moved = [(change, one) for change, one in moved if not one.is_remade]
            known = self._batches.known_born(loaded)
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
            ending.note_moved(records.values(), calls)
        return replace(ending.result(), writes=[find.end_search(parts)])

    # -- set-id bits

    def _obstacle(self) -> str:
        """Return why set-id bits cannot come back on this share; "" if they can."""
        if self._known_obstacle is None:
            self._known_obstacle = set_id.obstacle(self.root)
        return self._known_obstacle

    def _put_set_id_back(self, loaded: LoadedPart, stop: StopFlag) -> None:
        """Put files back that lost set-id bits and were not written to; note when that was."""
        stamps = dict(loaded.before.stamps)
        if not stamps or self._obstacle():
            return
        noted = {}
        for change in loaded.records_of(choice(len(loaded.chosen), stamps)):
            if stop[0]:
                break
            apply = partial(self._put_one_back, loaded, change, stop)
            ctime = set_id.put_back(self.root, change, stamps[change.index], apply)
            if ctime is not None:
                noted[loaded.part.batch, change.index] = ctime
        if noted:
            self._batches.note_put_back(noted)

    def _put_one_back(self, loaded: LoadedPart, change: Change, stop: StopFlag) -> None:
        part = loaded.part
        found = find.Found(part.batch, change.index, change.within, change.path, change.inode)
        body = find.moved_changes([(change, found)])
        known = loaded.before.known.of([change.index])
        self.backend.apply(body, Verb.BACK, known=known, stop=stop)

    def _why_off(self, loaded: LoadedPart, applied: Applied) -> dict[int, str]:
        """Return why set-id bits are off, by index, where there is more to say than that."""
        if Outcome.SETID_OFF not in applied.outcomes or self._obstacle():
            return {}
        noted = self._batches.noted(loaded.part.batch)
        return {
            index: ASK if index in noted else set_id.WRITTEN
            for index, outcome in enumerate(applied.outcomes)
            if outcome == Outcome.SETID_OFF
        }

    def _restore_set_id(self, body: bytes, stop: StopFlag) -> UnitResult:
        """Give files their set-id bits back, where that is safe."""
        ending = Ending(RETRIES)
        done, left = [], []
        for part in set_id.read_unit(body):
            noted = self._batches.noted(part.batch)
            for change in self._batches.load(part).records():
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
            failure = Failure(change.path, "undo", error.errno or 0, set_id.words(change))
            return Outcome.FAILED, failure
        return Outcome.CHANGED if is_changed else Outcome.UNCHANGED, None

    # -- the share

    def _put_back(
        self, loaded: LoadedPart, known: Known, deny_limit: int, stop: StopFlag
    ) -> Applied:
        self._put_set_id_back(loaded, stop)
        return self.backend.apply(
            loaded.pack().packed,
            Verb.BACK,
            deny_limit=deny_limit,
            known=known,
            stop=stop,
        )

    def _known(self, loaded: LoadedPart) -> Known:
        """Return what is known of a batch's entries since their change."""
        if not self.backend.nfs_version:
            return loaded.before.known
        return self._batches.known_until(loaded)
