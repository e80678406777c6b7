"""The outcomes of one unit's volumes, for the engine, and their rows for the journal's tables."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ...engine.job import UnitResult
from ...jobs.outcome import pack_outcome
from ...journal import checksummed
from ...journal.store import Journal, Write
from ...model import RETRIES, TRANSIENT, Applied, Failure, FailureKind, Outcome, Tally
from ...packed.groups import Hint
from ..blocker.entries import BadEntry
from ..blocker.preimage import VolumePreimage, pack_preimages
from ..blocker.store import Different, Locked
from ..blocker.upgrade import HalfDone
from ..format.verdict import Plan, Result
from ..journal.tables import VolumeRow, put_volumes
from .units import volumes_unit

# An upgrade needs room on the share: without it, it would fail for each volume in turn.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class VolumeOutcomes:
    """Collects the outcomes of one unit's volumes, in the order of its pre-image.

    `retries` is that of the unit. With `settling`, volumes that cannot be settled now are left to
    the next session, and earlier failures of those that can are forgiven.
    """

    retries: int
    settling: bool = False
    _outcomes: bytearray = field(default_factory=bytearray)
    _rows: list[VolumeRow] = field(default_factory=list)
    _failures: list[Failure] = field(default_factory=list)
    _again: list[bytes] = field(default_factory=list)
    _untried: list[bytes] = field(default_factory=list)
    _half_done: list[VolumePreimage] = field(default_factory=list)
    _settled: list[bytes] = field(default_factory=list)
    _pause: bool = False

    def __bool__(self) -> bool:
        """Whether any volume has an outcome."""
        return bool(self._outcomes)

    def attempt(self, preimage: VolumePreimage, work: Callable[[], bool | None]) -> None:
        """Upgrade or settle a volume by *work*; it returns False if the volume is not upgraded."""
        try:
            upgraded = work()
        except (HalfDone, Locked) as error:
            self._half_done.append(preimage)
            self._fail(preimage, errno.EIO, f"not finished yet: {error}")
        except BadEntry as error:
            row = VolumeRow(preimage.volume, Result.INVALID, str(error), version=preimage.version)
            self._rows.append(row)
            self._outcomes.append(Outcome.UNCHANGED)
        except Different as error:
            self._retry(preimage, errno.EAGAIN, str(error), pause=False)
        except OSError as error:
            number = error.errno or errno.EIO
            if self.settling:
                self._half_done.append(preimage)
            if number in TRANSIENT:
                self._retry(preimage, number, error_note(error), pause=True)
            else:
                self._fail(preimage, number, error_note(error))
        else:
            if upgraded is False:
                self._outcomes.append(Outcome.GONE)
                return
            self._outcomes.append(Outcome.CHANGED)
            self._rows.append(_upgraded_row(preimage))
            if self.settling:
                self._settled.append(preimage.volume)

    def leave(self, preimage: VolumePreimage) -> None:
        """Leave a volume to the next session: the run stops."""
        self._outcomes.append(Outcome.UNTRIED)
        self._untried.append(preimage.volume)

    def _retry(self, preimage: VolumePreimage, number: int, note: str, *, pause: bool) -> None:
        if self.retries >= RETRIES:
            self._fail(preimage, number, note)
            return
        self._outcomes.append(Outcome.UNCHANGED)
        self._again.append(preimage.volume)
        self._pause = self._pause or pause

    def _fail(self, preimage: VolumePreimage, number: int, note: str) -> None:
        failure = volume_failure(preimage.volume, "upgrade", number, note)
        self._outcomes.append(Outcome.FAILED)
        self._failures.append(failure)
        self._rows.append(failed_row(preimage.volume, failure, preimage.version))

    def result(self) -> UnitResult:
        """Return the result of the unit."""
        changed = self._outcomes.count(Outcome.CHANGED)
        units = [
            volumes_unit([(Plan.NONE, name) for name in names], retries)
            for names, retries in ((self._again, self.retries + 1), (self._untried, self.retries))
            if names
        ]
        return UnitResult(
            pack_outcome(Applied(bytes(self._outcomes))),
            Tally(changed=changed, failed=len(self._failures)),
            self._failures,
            units,
            self._pause,
            attempted=len(self._outcomes) - len(self._untried),
            succeeded=changed,
            writes=self._writes(),
        )

    def _writes(self) -> list[Write]:
        writes: list[Write] = [partial(put_volumes, rows=self._rows)]
        writes += [partial(Journal.forgive, path=volume) for volume in self._settled]
        if self._half_done:
            preimage = checksummed.pack(pack_preimages(self._half_done))
            writes.append(partial(Journal.add_unsettled, preimage=preimage))
        return writes


def volume_failure(volume: bytes, operation: str, number: int, note: str) -> Failure:
    """Return the failure of a volume, which `resume --failed` retries."""
    kind = FailureKind.NO_ROOM if number in NO_ROOM else FailureKind.ENTRY
    return Failure(volume, operation, number, note, Hint.ENTRY, kind)


def failed_row(volume: bytes, failure: Failure, version: int | None = None) -> VolumeRow:
    """Return the row of a volume that failed."""
    name = errno.errorcode.get(failure.errno, str(failure.errno))
    reason = f"{failure.operation}: {name} ({failure.note or os.strerror(failure.errno)})"
    return VolumeRow(volume, Result.FAILED, reason, version=version)


def error_note(error: OSError) -> str:
    """Return what an error says beyond its number, or ""."""
    words = error.strerror or str(error)
    return "" if error.errno and words == os.strerror(error.errno) else words


def _upgraded_row(preimage: VolumePreimage) -> VolumeRow:
    header = preimage.header
    return VolumeRow(
        preimage.volume,
        Result.UPGRADED,
        plan=preimage.plan,
        map_name=preimage.volume,
        version=preimage.version,
        objects=header.objects,
        size=header.size,
        epoch=header.epoch,
    )
