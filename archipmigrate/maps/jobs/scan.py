"""The scan of one unit of volumes: each is judged, and got ready for its upgrade.

Those to be upgraded acquire their locks together, and are judged again under them. The old maps
that are kept become durable once a unit, at the end. The volumes' locks stay held, and go to
`apply` with the scan.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from ...model import RETRIES, TRANSIENT, Failure, Limits, Tally
from ..blocker.preimage import VolumePreimage, lock_names, pack_preimages
from ..blocker.prepare import (
    Prepared,
    Vanished,
    before_locks,
    check_current,
    existing_files,
    peek,
    prepare,
    under_locks,
)
from ..blocker.retained import MapsScan, RetainedLocks
from ..blocker.store import Store
from ..format.head import needed_length
from ..format.verdict import Plan, Result
from ..journal.tables import VolumeRow, drop_volumes, put_volumes, put_warnings
from ..survey.judge import CHECK, volume_row
from .outcomes import error_note, failed_row, volume_failure
from .pace import Pace
from .units import PlannedVolume, volumes_unit

MOST_BYTES = 64 << 20  # of old maps that one unit keeps before its first volume is upgraded


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A volume that is to be upgraded, before its locks are acquired."""

    name: bytes
    plan: Plan
    warning: str


@dataclass(slots=True)
class VolumesScanner:
    """Scans one unit of volumes. With `check`, looks for blocks and objects of current maps."""

    store: Store
    dry_run: bool
    check: bool
    retries: int
    limits: Limits
    pace: Pace
    _ready: list[VolumePreimage] = field(default_factory=list)
    _rows: list[VolumeRow] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)
    _failures: list[Failure] = field(default_factory=list)
    _again: list[PlannedVolume] = field(default_factory=list)
    _vanished: list[bytes] = field(default_factory=list)
    _warnings: dict[bytes, str] = field(default_factory=dict)
    _waiting: list[_Waiting] = field(default_factory=list)
    _waiting_bytes: int = 0

    def scan(self, volumes: Sequence[PlannedVolume]) -> MapsScan:
        """Scan volumes until done or a limit is reached.

        Raises JournalError; no lock is held then.
        """
        retained = RetainedLocks(self.store, self._ready, self.pace.clock())
        until = monotonic() + self.limits.seconds
        done = 0
        try:
            for plan, name in volumes:
                if done and (self._is_full() or monotonic() >= until):
                    break
                done += 1
                self._attempt(plan, name, partial(self._judge, plan, name))
            self._acquire()
            if self._ready and self.store.old_maps is not None:
                self.store.old_maps.sync()
        except BaseException:
            retained.close()
            raise
        rest = volumes[done:]
        return MapsScan(
            self._tally,
            pack_preimages(self._ready),
            len(self._ready),
            rest=volumes_unit(rest, self.retries) if rest else None,
            again=[volumes_unit(self._again, self.retries + 1)] if self._again else (),
            failures=self._failures,
            retained=retained if self._ready else None,
            attempted=len(self._failures),
            writes=[
                partial(put_volumes, rows=self._rows),
                partial(drop_volumes, names=self._vanished),
                partial(put_warnings, warnings=self._warnings),
            ],
        )

    def _is_full(self) -> bool:
        full = len(self._waiting) >= self.pace.most or self._waiting_bytes >= MOST_BYTES
        return full or bool(self.limits.stop[0])

    def _judge(self, plan: str, name: bytes) -> None:
        """Judge a volume without its locks; if it is to be upgraded, it waits for them."""
        store = self.store
        if plan in (CHECK, Plan.NONE):
            files = existing_files(store, name)
            verdict = files.verdict
            if verdict.plan is Plan.NONE:
                if self.check and verdict.result is Result.CURRENT:
                    checked = check_current(store, files, verdict)
                    self._warnings[name] = checked.warning
                    verdict = checked.verdict
                self._add_row(volume_row(name, verdict))
                return
        prepared = peek(store, name) if self.dry_run else before_locks(store, name)
        verdict = prepared.verdict
        if verdict.result is not Result.PENDING:
            self._add(name, prepared)
            return
        self._waiting.append(_Waiting(name, verdict.plan, prepared.warning))
        self._waiting_bytes += needed_length(verdict.head) if verdict.head else 0

    def _acquire(self) -> None:
        """Acquire the locks of those that wait, together; judge each again."""
        waiting, store = self._waiting, self.store
        groups = [lock_names(volume.name, volume.plan) for volume in waiting]
        acquired = store.acquire_together(groups) if groups else []
        held = [names for names, done in zip(groups, acquired, strict=True) if done]
        try:
            for volume, is_held in zip(waiting, acquired, strict=True):
                if is_held:
                    held.pop(0)
                work = partial(self._prepare, volume, is_held=is_held)
                self._attempt(volume.plan, volume.name, work)
        except BaseException:
            for names in held:
                with suppress(OSError):
                    store.release_locks(names)
            raise

    def _prepare(self, volume: _Waiting, *, is_held: bool) -> None:
        """Prepare a volume: if it did not get its locks with the others, alone, for the reason."""
        store, plan = self.store, volume.plan
        prepared = None
        if is_held:
            prepared = under_locks(store, volume.name, plan)
            plan = prepared.verdict.plan
        if prepared is None or (prepared.preimage is None and plan is not Plan.NONE):
            prepared = prepare(store, volume.name, plan)
        self._add(volume.name, replace(prepared, warning=prepared.warning or volume.warning))

    def _add(self, name: bytes, prepared: Prepared) -> None:
        self._warnings[name] = prepared.warning
        if prepared.preimage is not None:
            self._ready.append(prepared.preimage)
        else:
            self._add_row(volume_row(name, prepared.verdict))

    def _add_row(self, row: VolumeRow) -> None:
        self._rows.append(row)
        self._tally.changed += row.result == Result.WOULD_UPGRADE
        self._tally.compliant += row.result == Result.CURRENT
        self._tally.skipped += row.result not in (Result.WOULD_UPGRADE, Result.CURRENT)

    def _attempt(self, plan: str, name: bytes, work: Callable[[], None]) -> None:
        try:
            work()
        except Vanished:
            self._tally.vanished += 1
            self._vanished.append(name)
        except OSError as error:
            number = error.errno or errno.EIO
            if number in TRANSIENT and self.retries < RETRIES:
                self._again.append((plan, name))
                return
            failure = volume_failure(name, "prepare", number, error_note(error))
            self._failures.append(failure)
            self._tally.failed += 1
            self._rows.append(failed_row(name, failure))
