"""How the entries of a unit of an undo end: counted, and what is left of them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ..engine.job import UnitResult
from ..jobs.outcome import pack_outcome
from ..model import RETRIES, TRANSIENT, Applied, Failure, Known, Outcome, Tally, Unit
from ..packed.changes import Change
from ..policy import NO_ID, restored_mode
from . import find, set_id
from .batches import LoadedPart, choosing
from .reasons import Reasons
from .retried import Part, entry_of

NO_REASONS = Reasons(Applied(b""), ())
BACK = (Outcome.CHANGED, Outcome.UNCHANGED, Outcome.SETID_OFF)
# Outcomes of changes of which there is no more to say than how many they are.
PLAIN = bytes([Outcome.CHANGED, Outcome.UNCHANGED])
# All others, but those of changes that were not to be put back.
ODD = choosing(*(outcome for outcome in Outcome if outcome not in (*PLAIN, Outcome.DROPPED)))
NOT_PLAIN = bytes(number for number in range(256) if number not in PLAIN)
# Plain numbers: enums are slow in loops over many changes.
FAILED, UNTRIED = int(Outcome.FAILED), int(Outcome.UNTRIED)
LEFT = {
    int(Outcome.GONE): "not found: removed, or elsewhere and keeps what the run gave it",
    int(Outcome.DIFFERENT): "changed by somebody since: left as it is",
}


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


class Ending:
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
        once: bool = False,
    ) -> None:
        """Have entries that are not there sought in the share *root* is of, if it is not -1.

        *is_remade* says whether an undo made files again in place of one with an inode number.
        With *restores* files whose set-id bits are off wait for the last phase. *once* says that
        the unit has one part, thus one attempt at each entry: most are only counted then.
        """
        self._once = once
        self._plain = b""  # outcomes of those
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

    def retry_older(self, loaded: LoadedPart) -> None:
        """Note the older attempts, in another part, at entries that are to be retried."""
        self._retry(loaded, {c.index for c in loaded.records() if entry_of(c) in self._retrying})

    def _retry(self, loaded: LoadedPart, indices: set[int]) -> None:
        if indices:
            self._again.append(Part(loaded.part.batch, frozenset(indices)))

    def known(self, loaded: LoadedPart, known: Known) -> Known:
        """Return what is *known* of the entries of a part, and of those that are back already.

        An entry that is back has changed since the run: only its identity of now tells it again.
        """
        if not self._identities or known.kind == self._identity_kind:
            return known
        identities = (self._identities.get(entry_of(c), 0) for c in loaded.every())
        packed = b"".join(identity.to_bytes(8, "little") for identity in identities)
        return replace(known, kind=self._identity_kind, identities=packed)

    def note_identities(self, loaded: LoadedPart, applied: Applied) -> None:
        """Note the identities of entries of which older attempts may follow."""
        now = applied.known
        self._identity_kind = now.kind
        for change in loaded.records():
            if identity := now.identity(change.index):
                self._identities[entry_of(change)] = identity

    def note(
        self, loaded: LoadedPart, applied: Applied, why_off: Mapping[int, str], *, stopped: bool
    ) -> None:
        """Note the result of putting a part back."""
        reasons = Reasons(applied)
        left, again = set(), set()
        if self._once:
            self._plain += applied.outcomes.translate(None, NOT_PLAIN)
            records = loaded.records_of(applied.outcomes.translate(ODD))
        else:
            records = loaded.records()
        for change in records:
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
        outcomes = self._plain + bytes(outcome for outcome, _ in self._ends.values())
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
