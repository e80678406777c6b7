"""The undo job: puts the entries of an earlier run back as their pre-images say.

A unit is one batch of that run, newest first. What this job makes durable before it acts is which
set-id bits may come back: the evidence (nobody wrote to the file since) is gone once undo has
touched the file, so a repeated undo must not judge again.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..backend.base import Backend
from ..engine.job import Acted
from ..frames import Change, Flag, read_changes, with_flags
from ..journal.store import Journal
from ..model import Applied, Failure, Held, Limits, Outcome, Scan, Tally, Unit, Verb
from .outcome import pack_outcome, unpack_outcome

NUMBER = struct.Struct("<Q")
INDEX = struct.Struct("<I")
DENIED = (errno.EPERM, errno.EACCES)
# What a run may have touched: a change that failed may have got half way.
TOUCHED = (Outcome.CHANGED, Outcome.FAILED)
TRIED = (Outcome.CHANGED, Outcome.SETID_OFF, Outcome.FAILED)
LEFT = {
    Outcome.DIFFERENT: "changed by somebody since: left as it is",
    Outcome.SETID_OFF: "set-id bits stay off: it may have been written to since",
}


@dataclass(slots=True)
class UndoJob:
    """See the module. `target` is the journal of the run to put back, settled."""

    backend: Backend
    target: Journal
    name: str = "undo"
    acts: bool = True
    knows_total: bool = True
    total: int | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        return (Unit(NUMBER.pack(number)) for number in self.target.batches())

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return nothing: the first units were all."""
        del journal
        return ()

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find out which files of a batch may get their set-id bits back."""
        del limits  # a batch was one unit of the run, and is one here
        (number,) = NUMBER.unpack(unit.body)
        changes, before = self._load(number)
        touched = [c for c in read_changes(changes) if before.outcomes[c.index] in TOUCHED]
        directories = sum(change.directory for change in touched)
        tally = Tally(len(touched), directories, len(touched) - directories)
        granted = self._granted(changes, before, touched)
        return Scan(tally, unit.body + b"".join(map(INDEX.pack, granted)), len(touched))

    def drop(self, changes: bytes, offsets: Iterable[int]) -> bytes:
        """Return *changes*: a run's batches never share an inode."""
        del offsets
        return changes

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield nothing: a new undo of the same run tries everything again."""
        del journal, failures
        return ()

    def act(self, changes: bytes, retries: int, deny_limit: int, held: Held | None = None) -> Acted:
        """Put the entries of one batch back."""
        del retries, held  # the scan looked into the journal only
        (number,) = NUMBER.unpack_from(changes)
        granted = {index for (index,) in INDEX.iter_unpack(changes[NUMBER.size :])}
        preimages, before = self._load(number)
        records = list(read_changes(preimages))
        left_alone = [c.offset for c in records if before.outcomes[c.index] not in TOUCHED]
        preimages = with_flags(preimages, left_alone, Flag.DROPPED)
        preimages = with_flags(
            preimages, [c.offset for c in records if c.index in granted], Flag.GRANTED
        )
        applied = self.backend.apply(
            preimages, Verb.BACK, deny_limit=deny_limit, born_before=before.first_ctime
        )
        return _acted(records, applied)

    def settle(self, changes: bytes) -> Acted:
        """Finish a batch that a killed undo was at; its unit will be looked at again.

        What that undo had put back counts as "already as before": it may be killed once more before
        the unit is done, and nothing must be counted twice.
        """
        acted = self.act(changes, 0, 0)
        changed = acted.tally.changed
        return Acted(acted.outcome, Tally(changed=changed, compliant=-changed))

    def _load(self, number: int) -> tuple[bytes, Applied]:
        with self._reading:
            return self.target.preimage(number), unpack_outcome(self.target.outcome(number))

    def _granted(self, changes: bytes, before: Applied, touched: Sequence[Change]) -> list[int]:
        """Return the changes whose files are, by size, mtime and ctime, as the run left them."""
        if not any(change.flags & Flag.SETID for change in touched):
            return []
        now = self.backend.apply(changes, Verb.CHECK, born_before=before.first_ctime)
        left = dict(before.stamps)
        return [index for index, ctime in now.stamps if left.get(index) == ctime]


def _acted(records: Sequence[Change], applied: Applied) -> Acted:
    """Count what became of a batch that was put back."""
    outcomes = applied.outcomes
    tally = Tally(
        changed=outcomes.count(Outcome.CHANGED),
        compliant=outcomes.count(Outcome.UNCHANGED),
        vanished=outcomes.count(Outcome.GONE),
    )
    why = {index: (operation, number, note) for index, operation, number, note in applied.failures}
    failures = []
    for change in records:
        outcome = outcomes[change.index]
        if outcome == Outcome.FAILED:
            tally.failed += 1
            failures.append(Failure(change.path, *why[change.index]))
        elif outcome in LEFT:
            tally.skipped += 1
            failures.append(Failure(change.path, "undo", 0, LEFT[Outcome(outcome)]))
        elif outcome == Outcome.UNTRIED:
            tally.failed += 1
            failures.append(Failure(change.path, "undo", errno.ECANCELED, "not tried"))
    return Acted(
        pack_outcome(applied),
        tally,
        failures,
        attempted=sum(outcomes.count(kind) for kind in TRIED),
        succeeded=tally.changed + outcomes.count(Outcome.SETID_OFF),
        denied=sum(f.errno in DENIED for f in failures),
    )
