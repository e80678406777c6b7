"""One unit of volumes of the mapfiles job: how it is looked at, and what became of it.

A name's hint says what is to be done with the volume. The locks of volumes that are to be upgraded
are taken by the look, and released by whoever upgrades them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from ...engine.job import UnitResult
from ...jobs.outcome import pack_outcome
from ...journal import checksummed
from ...journal.store import Journal, Write
from ...model import (
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    FailureKind,
    Limits,
    Outcome,
    Scan,
    Tally,
    Unit,
)
from ...packed.groups import Group, Hint, walk_unit
from ..blocker import prepare
from ..blocker.entries import BadEntry
from ..blocker.judge import CHECK, volume_row
from ..blocker.prepare import Vanished, judged
from ..blocker.record import Record, pack_records
from ..blocker.store import Different, Locked, Store
from ..blocker.upgrade import HalfDone
from ..format.verdict import Plan, Result
from ..journal.tables import VolumeRow, drop_volumes, put_volumes

# What is to be done with a volume, as the hint of its name in a unit.
HINTS = {
    Plan.RENAME: ord("R"),
    Plan.IN_PLACE: ord("I"),
    Plan.FINISH: ord("F"),
    CHECK: ord("C"),
    Plan.NONE: ord("N"),  # to be seen
}
PLANS = {hint: plan for plan, hint in HINTS.items()}
# An upgrade writes: without room it would fail for each volume in turn.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
MOST_BYTES = 64 << 20  # of old maps that one unit keeps before the first is upgraded

Names = Sequence[tuple[int, bytes]]  # hints and volumes


def volumes_unit(names: Names, retries: int = 0) -> Unit:
    """Return the unit of some volumes."""
    return walk_unit([Group(b"", 0, tuple(names))], retries=retries)


@dataclass(slots=True)
class RetainedLocks:
    """The volumes of one unit whose locks are retained: `apply` takes them over one by one."""

    store: Store
    records: list[Record] = field(default_factory=list)

    def close(self) -> None:
        """Release what `apply` did not take over; a lock that cannot be is a dead run's."""
        for record in self.records:
            try:
                self.store.release_locks(record.lock_names)
            except OSError:
                continue
        self.records.clear()


@dataclass(frozen=True, slots=True)
class VolumesScan(Scan):
    """What the scan of a unit of a mapfiles job, or of its undo, found."""

    retained: RetainedLocks | None = None


@dataclass(slots=True)
class VolumesLook:
    """One unit of volumes while they are looked at."""

    store: Store
    acts: bool
    check: bool
    unit: Unit
    limits: Limits
    records: list[Record] = field(default_factory=list)
    rows: list[VolumeRow] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    again: list[tuple[int, bytes]] = field(default_factory=list)
    vanished: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    def scan(self, volumes: Sequence[tuple[int, bytes]]) -> VolumesScan:
        """Look at volumes until done or a limit is reached."""
        store = self.store
        retained = RetainedLocks(store, self.records)
        until = monotonic() + self.limits.seconds
        done = 0
        try:
            for hint, name in volumes:
                if done and (self._is_full() or monotonic() >= until):
                    break
                done += 1
                self._look(hint, name)
            if self.records and store.kept is not None:
                store.kept.sync()
        except BaseException:
            retained.close()
            raise
        rest = volumes[done:]
        return VolumesScan(
            self.tally,
            pack_records(self.records) if self.records else b"",
            len(self.records),
            rest=volumes_unit(rest, self.unit.retries) if rest else None,
            again=[volumes_unit(self.again, self.unit.retries + 1)] if self.again else (),
            failures=self.failures,
            retained=retained if self.records else None,
            attempted=len(self.failures),
            writes=[
                partial(put_volumes, rows=self.rows),
                partial(drop_volumes, names=self.vanished),
            ],
        )

    def _is_full(self) -> bool:
        limits = self.limits
        full = len(self.records) >= limits.changes or self._bytes >= MOST_BYTES
        return full or bool(limits.stop[0])

    def _look(self, hint: int, name: bytes) -> None:
        try:
            row, record = self._volume(hint, name)
        except Vanished:
            self.tally.vanished += 1
            self.vanished.append(name)
            return
        except OSError as error:
            number = error.errno or errno.EIO
            if number in TRANSIENT and self.unit.retries < RETRIES:
                self.again.append((hint, name))
                return
            failure = _failure(name, "prepare", number, _note(error))
            self.failures.append(failure)
            self.tally.failed += 1
            self.rows.append(failed_row(name, failure))
            return
        if record is not None:
            self.records.append(record)
            self._bytes += sum(file.length for file in record.sources)
            return
        self.rows.append(row)
        self.tally.changed += row.result == Result.WOULD_UPGRADE
        self.tally.compliant += row.result == Result.CURRENT
        self.tally.skipped += row.result not in (Result.WOULD_UPGRADE, Result.CURRENT)

    def _volume(self, hint: int, name: bytes) -> tuple[VolumeRow, Record | None]:
        store, plan = self.store, PLANS[hint]
        if plan == CHECK or not plan:
            verdict = judged(store, name).verdict
            if verdict.plan is Plan.NONE:
                if self.check and verdict.result is Result.CURRENT:
                    verdict = prepare.checked_verdict(store, name, verdict)
                return volume_row(name, verdict), None
            plan = verdict.plan
        if not self.acts:
            return volume_row(name, prepare.peek(store, name).verdict), None
        prepared = prepare.prepare(store, name, Plan(plan))
        return volume_row(name, prepared.verdict), prepared.record


@dataclass(slots=True)
class VolumesEnding:
    """What became of the volumes of one unit."""

    retries: int
    outcomes: bytearray = field(default_factory=bytearray)
    rows: list[VolumeRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    again: list[bytes] = field(default_factory=list)
    untried_names: list[bytes] = field(default_factory=list)
    unfinished: list[Record] = field(default_factory=list)
    settled: list[bytes] = field(default_factory=list)
    pause: bool = False

    def note(self, record: Record, work: Callable[[], object], *, settling: bool = False) -> None:
        """Do it, and take note of how it ends."""
        try:
            ours = work()
        except (HalfDone, Locked) as error:
            self.unfinished.append(record)
            self._fail(record, errno.EIO, f"not finished yet: {error}")
        except BadEntry as error:
            row = VolumeRow(record.volume, Result.INVALID, str(error), version=record.version)
            self.rows.append(row)
            self.outcomes.append(Outcome.UNCHANGED)
        except Different as error:
            self._try_again(record, errno.EAGAIN, str(error), pause=False)
        except OSError as error:
            number = error.errno or errno.EIO
            if settling:
                self.unfinished.append(record)
            if number in TRANSIENT:
                self._try_again(record, number, _note(error), pause=True)
            else:
                self._fail(record, number, _note(error))
        else:
            if ours is False:
                self.outcomes.append(Outcome.GONE)
            else:
                self.outcomes.append(Outcome.CHANGED)
                self.rows.append(upgraded_row(record))
                self.settled += [record.volume] if settling else []

    def untried(self, record: Record) -> None:
        """Leave a volume to the next session."""
        self.outcomes.append(Outcome.UNTRIED)
        self.untried_names.append(record.volume)

    def _try_again(self, record: Record, number: int, note: str, *, pause: bool) -> None:
        if self.retries >= RETRIES:
            self._fail(record, number, note)
            return
        self.outcomes.append(Outcome.UNCHANGED)
        self.again.append(record.volume)
        self.pause = self.pause or pause

    def _fail(self, record: Record, number: int, note: str) -> None:
        failure = _failure(record.volume, "upgrade", number, note)
        self.outcomes.append(Outcome.FAILED)
        self.failures.append(failure)
        self.rows.append(failed_row(record.volume, failure, record))

    def acted(self) -> UnitResult:
        """Return it for the engine."""
        changed = self.outcomes.count(Outcome.CHANGED)
        units = []
        for names, retries in ((self.again, self.retries + 1), (self.untried_names, self.retries)):
            if names:
                units.append(volumes_unit([(HINTS[Plan.NONE], n) for n in names], retries))
        return UnitResult(
            pack_outcome(Applied(bytes(self.outcomes))),
            Tally(changed=changed, failed=len(self.failures)),
            self.failures,
            units,
            self.pause,
            attempted=len(self.outcomes) - len(self.untried_names),
            succeeded=changed,
            writes=self._writes(),
        )

    def _writes(self) -> list[Write]:
        writes: list[Write] = [partial(put_volumes, rows=self.rows)]
        writes += [partial(Journal.forgive, path=volume) for volume in self.settled]
        if self.unfinished:
            preimage = checksummed.pack(pack_records(self.unfinished))
            writes.append(partial(Journal.add_unsettled, preimage=preimage))
        return writes


def _failure(volume: bytes, operation: str, number: int, note: str) -> Failure:
    kind = FailureKind.NO_ROOM if number in NO_ROOM else FailureKind.ENTRY
    return Failure(volume, operation, number, note, Hint.ENTRY, kind)


def upgraded_row(record: Record) -> VolumeRow:
    """Return the result of a volume that was upgraded."""
    header = record.header
    return VolumeRow(
        record.volume,
        Result.UPGRADED,
        plan=record.plan,
        map_name=record.volume,
        version=record.version,
        objects=header.objects,
        size=header.size,
        epoch=header.epoch,
    )


def failed_row(volume: bytes, failure: Failure, record: Record | None = None) -> VolumeRow:
    """Return the result of a volume that failed."""
    name = errno.errorcode.get(failure.errno, str(failure.errno))
    reason = f"{failure.operation}: {name} ({failure.note or os.strerror(failure.errno)})"
    version = record.version if record else None
    return VolumeRow(volume, Result.FAILED, reason, version=version)


def _note(error: OSError) -> str:
    """Return what an error says beyond its number."""
    words = error.strerror or str(error)
    return "" if error.errno and words == os.strerror(error.errno) else words
