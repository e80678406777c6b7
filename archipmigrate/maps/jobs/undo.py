"""The undo of a mapfiles run: volumes that it upgraded get their old maps back.

A unit is one batch of that run, newest first. The scan takes the locks of its volumes and sees that
each still is as the run left it; which ones go back is durable before the first is touched.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from ...engine.job import Job, UnitResult
from ...jobs.outcome import pack_outcome, unpack_outcome
from ...journal import counting
from ...journal.store import Journal
from ...model import Applied, Failure, Limits, Outcome, StopFlag, Tally, Unit
from ..blocker import restore
from ..blocker.record import Record, read_records
from ..blocker.store import Different, Locked, Store
from .volumes import RetainedLocks, VolumesScan

NUMBER = struct.Struct("<q")  # below 0: what was settled apart from its batch
INDEX = struct.Struct("<I")


@dataclass(slots=True)
class UndoMapfilesJob(Job[VolumesScan]):
    """See the module. `target` is the journal of the run to put back, settled."""

    store: Store
    target: Journal
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        return (Unit(NUMBER.pack(number)) for number in self.target.batches())

    def scan(self, unit: Unit, limits: Limits) -> VolumesScan:
        """Take the locks of a batch's volumes, and see which of them may go back."""
        del limits  # a batch has few volumes
        (number,) = NUMBER.unpack(unit.body)
        granted: list[int] = []
        failures: list[Failure] = []
        tally = Tally()
        retained = RetainedLocks(self.store)
        try:
            for index, record in self._upgraded(number):
                tally.entries += 1
                failure, _ = _tried(record, partial(restore.check, self.store, record))
                if failure is None:
                    granted.append(index)
                    retained.records.append(record)
                else:
                    failures.append(failure)
                    tally.failed += bool(failure.errno)
                    tally.skipped += not failure.errno
        except BaseException:
            retained.close()
            raise
        preimage = unit.body + b"".join(map(INDEX.pack, granted)) if granted else b""
        return VolumesScan(
            tally, preimage, len(granted), failures=failures, retained=retained if granted else None
        )

    def apply(
        self, scan: VolumesScan, *, retries: int, deny_limit: int, stop: StopFlag
    ) -> UnitResult:
        """Put the old maps of one batch back."""
        del retries, deny_limit, stop  # a batch has few volumes
        return self._apply(scan.preimage, restore.apply, scan.retained)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish a batch that a killed undo was at; its unit will be looked at again."""
        del stop  # a batch has few volumes
        acted = self._apply(preimage, restore.settle, None)
        return UnitResult(acted.outcome, counting.settled(acted.tally.changed))

    def _apply(
        self, preimage: bytes, work: Callable[[Store, Record], bool], locks: RetainedLocks | None
    ) -> UnitResult:
        (number,) = NUMBER.unpack_from(preimage)
        granted = {index for (index,) in INDEX.iter_unpack(preimage[NUMBER.size :])}
        tally, failures, outcomes = Tally(), [], bytearray()
        for index, record in self._upgraded(number):
            if index not in granted:
                continue
            if locks is not None:
                locks.records.pop(0)
            failure, changed = _tried(record, partial(work, self.store, record))
            if failure is None:
                outcomes.append(Outcome.CHANGED if changed else Outcome.UNCHANGED)
                tally.changed += bool(changed)
                tally.compliant += not changed
            else:
                outcomes.append(Outcome.FAILED)
                failures.append(failure)
                tally.failed += bool(failure.errno)
                tally.skipped += not failure.errno
        return UnitResult(
            pack_outcome(Applied(bytes(outcomes))),
            tally,
            failures,
            attempted=len(outcomes),
            succeeded=tally.changed,
        )

    def _upgraded(self, number: int) -> list[tuple[int, Record]]:
        """Return the volumes of a batch that were upgraded, by their index in it."""
        with self._reading:
            records = read_records(self.target.preimage(number))
            outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        return [(i, r) for i, r in enumerate(records) if outcomes[i] == Outcome.CHANGED]


def _tried(record: Record, work: Callable[[], bool | None]) -> tuple[Failure | None, bool | None]:
    """Do it; return why a volume was left (errno 0) or failed, or else what it returned."""
    try:
        return None, work()
    except (Different, Locked) as error:
        return Failure(record.volume, "undo", 0, f"{error}: left as it is"), None
    except OSError as error:
        number = error.errno or errno.EIO
        return Failure(record.volume, "undo", number, error.strerror or str(error)), None
