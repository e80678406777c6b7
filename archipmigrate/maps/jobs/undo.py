"""The undo of a mapfiles run: the volumes that it upgraded get their old maps back.

A unit is one batch of that run, newest first. The scan acquires the locks of its volumes and checks
that each still is as the run left it. Which of them go back is durable before the first is changed.
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
from ..blocker.preimage import VolumePreimage, unpack_preimages
from ..blocker.retained import MapsScan, RetainedLocks
from ..blocker.store import Different, Locked, Store

NUMBER = struct.Struct("<q")  # of a batch; below 0: volumes that were settled apart from theirs
INDEX = struct.Struct("<I")


@dataclass(slots=True)
class UndoMapfilesJob(Job[MapsScan]):
    """See the module. `target` is the journal of the run to undo; all its batches are settled.

    The pre-image of a batch is its number, and the indices of the volumes in it that go back.
    """

    store: Store
    target: Journal
    knows_total: bool = True
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run; the frontier hands out the last one first."""
        return (Unit(NUMBER.pack(number)) for number in self.target.batches())

    def scan(self, unit: Unit, limits: Limits) -> MapsScan:
        """Acquire the locks of a batch's volumes, and check which of them may go back."""
        del limits  # a batch has few volumes
        (number,) = NUMBER.unpack(unit.body)
        granted: list[int] = []
        failures: list[Failure] = []
        tally = Tally()
        retained = RetainedLocks(self.store)
        try:
            for index, volume in self._upgraded(number):
                tally.entries += 1
                failure, _ = _attempt(volume, partial(restore.check, self.store, volume))
                if failure is None:
                    granted.append(index)
                    retained.volumes.append(volume)
                else:
                    failures.append(failure)
                    tally.failed += bool(failure.errno)
                    tally.skipped += not failure.errno
        except BaseException:
            retained.close()
            raise
        preimage = unit.body + b"".join(map(INDEX.pack, granted)) if granted else b""
        return MapsScan(
            tally, preimage, len(granted), failures=failures, retained=retained if granted else None
        )

    def apply(self, scan: MapsScan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Put the old maps of one batch back."""
        del retries, deny_limit, stop  # a batch has few volumes
        return self._apply(scan.preimage, restore.apply, scan.retained)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish a batch that a killed undo had begun; its unit is scanned again."""
        del stop  # a batch has few volumes
        result = self._apply(preimage, restore.settle, None)
        return UnitResult(result.outcome, counting.settled(result.tally.changed))

    def _apply(
        self,
        preimage: bytes,
        work: Callable[[Store, VolumePreimage], bool],
        retained: RetainedLocks | None,
    ) -> UnitResult:
        (number,) = NUMBER.unpack_from(preimage)
        granted = {index for (index,) in INDEX.iter_unpack(preimage[NUMBER.size :])}
        tally, failures, outcomes = Tally(), [], bytearray()
        for index, volume in self._upgraded(number):
            if index not in granted:
                continue
            if retained is not None:
                retained.take_over()
            failure, changed = _attempt(volume, partial(work, self.store, volume))
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

    def _upgraded(self, number: int) -> list[tuple[int, VolumePreimage]]:
        """Return the volumes of a batch that were upgraded, with their indices in it."""
        with self._reading:
            volumes = unpack_preimages(self.target.preimage(number))
            outcomes = unpack_outcome(self.target.outcome(number)).outcomes
        return [(i, v) for i, v in enumerate(volumes) if outcomes[i] == Outcome.CHANGED]


def _attempt(
    volume: VolumePreimage, work: Callable[[], bool | None]
) -> tuple[Failure | None, bool | None]:
    """Call *work*; return why the volume was left as it is (errno 0) or failed, and its result."""
    try:
        return None, work()
    except (Different, Locked) as error:
        return Failure(volume.volume, "undo", 0, f"{error}: left as it is"), None
    except OSError as error:
        number = error.errno or errno.EIO
        return Failure(volume.volume, "undo", number, error.strerror or str(error)), None
