"""The scan of one unit of volumes: each is judged, and got ready for its upgrade.

The old maps that are kept become durable once a unit, at the end. The volumes' locks stay held, and
go to `apply` with the scan.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from ...model import RETRIES, TRANSIENT, Failure, Limits, Tally
from ..blocker.preimage import VolumePreimage, pack_preimages
from ..blocker.prepare import Vanished, check_current, existing_files, peek, prepare
from ..blocker.retained import MapsScan, RetainedLocks
from ..blocker.store import Store
from ..format.verdict import Plan, Result
from ..journal.tables import VolumeRow, drop_volumes, put_volumes, put_warnings
from ..survey.judge import CHECK, volume_row
from .outcomes import error_note, failed_row, volume_failure
from .units import PlannedVolume, volumes_unit

MOST_BYTES = 64 << 20  # of old maps that one unit keeps before its first volume is upgraded


@dataclass(slots=True)
class VolumesScanner:
    """Scans one unit of volumes. With `check`, looks for blocks and objects of current maps."""

    store: Store
    dry_run: bool
    check: bool
    retries: int
    limits: Limits
    _ready: list[VolumePreimage] = field(default_factory=list)
    _rows: list[VolumeRow] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)
    _failures: list[Failure] = field(default_factory=list)
    _again: list[PlannedVolume] = field(default_factory=list)
    _vanished: list[bytes] = field(default_factory=list)
    _warnings: dict[bytes, str] = field(default_factory=dict)
    _bytes: int = 0

    def scan(self, volumes: Sequence[PlannedVolume]) -> MapsScan:
        """Scan volumes until done or a limit is reached.

        Raises JournalError; no lock is held then.
        """
        retained = RetainedLocks(self.store, self._ready)
        until = monotonic() + self.limits.seconds
        done = 0
        try:
            for plan, name in volumes:
                if done and (self._is_full() or monotonic() >= until):
                    break
                done += 1
                self._volume(plan, name)
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
        limits = self.limits
        full = len(self._ready) >= limits.changes or self._bytes >= MOST_BYTES
        return full or bool(limits.stop[0])

    def _volume(self, plan: str, name: bytes) -> None:
        try:
            row, preimage = self._prepare(plan, name)
        except Vanished:
            self._tally.vanished += 1
            self._vanished.append(name)
            return
        except OSError as error:
            number = error.errno or errno.EIO
            if number in TRANSIENT and self.retries < RETRIES:
                self._again.append((plan, name))
                return
            failure = volume_failure(name, "prepare", number, error_note(error))
            self._failures.append(failure)
            self._tally.failed += 1
            self._rows.append(failed_row(name, failure))
            return
        if preimage is not None:
            self._ready.append(preimage)
            self._bytes += sum(file.length for file in preimage.sources)
            return
        self._rows.append(row)
        self._tally.changed += row.result == Result.WOULD_UPGRADE
        self._tally.compliant += row.result == Result.CURRENT
        self._tally.skipped += row.result not in (Result.WOULD_UPGRADE, Result.CURRENT)

    def _prepare(self, plan: str, name: bytes) -> tuple[VolumeRow, VolumePreimage | None]:
        store = self.store
        if plan in (CHECK, Plan.NONE):
            files = existing_files(store, name)
            verdict = files.verdict
            if verdict.plan is Plan.NONE:
                if self.check and verdict.result is Result.CURRENT:
                    checked = check_current(store, files, verdict)
                    self._warnings[name] = checked.warning
                    verdict = checked.verdict
                return volume_row(name, verdict), None
            plan = verdict.plan
        prepared = peek(store, name) if self.dry_run else prepare(store, name, Plan(plan))
        self._warnings[name] = prepared.warning
        return volume_row(name, prepared.verdict), prepared.preimage
