"""The mapfiles job: every volume's map to v2.

First a survey: units are directories to list, and what is found goes into the journal. When all is
found it is judged there; then units are volumes, with a hint for what is to be done with each. The
scan of a volume takes its locks, judges it again and keeps what will go away; its change is the
record of all that; to apply is to upgrade it. With `dry_run` nothing is upgraded; that is the
survey alone, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from ...engine.job import Job, UnitResult
from ...errors import FatalError
from ...journal.location import SPARE_BYTES, spare_bytes
from ...journal.store import Journal
from ...model import RETRIES, Failure, Limits, StopFlag, Unit, Unsettled
from ...packed.groups import Hint, unpack_groups
from ..blocker import upgrade
from ..blocker.judge import judge_survey
from ..blocker.record import lock_names, read_records
from ..blocker.store import Store
from ..blocker.survey import Survey
from ..format.verdict import Plan, Result
from ..journal.tables import (
    begin_survey,
    bytes_to_keep,
    is_surveying,
    pending_count,
    pending_volumes,
    put_files,
    wait_again,
)
from .volumes import HINTS, PLANS, VolumesEnding, VolumesLook, VolumesScan, volumes_unit

IN_A_UNIT = 64  # volumes
AT_ONCE = 20_000  # volumes that are in the frontier at once


@dataclass(slots=True)
class MapfilesJob(Job[VolumesScan]):
    """See the module. `check` says whether the blocks of current maps are read.

    `say` is told what the administrator should know before volumes are upgraded. Settling goes on
    with upgrades that had not got to the header, unless `finish` says to take them back.
    """

    store: Store
    dry_run: bool = False
    check: bool = False
    say: Callable[[str], None] = lambda _: None
    finish: bool = True
    total: int | None = None

    def first_units(self) -> Iterable[Unit]:
        """Yield the directories of maps and locks."""
        return self._survey().first_units()

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Judge the survey; then yield the volumes to work on, so many at once."""
        if is_surveying(journal):
            judge_survey(journal, locks_apart=self.store.locks.flat, check=self.check)
        if self.total is None:
            self.total = pending_count(journal)
            if not self.dry_run:
                self._make_room(bytes_to_keep(journal))
        names = [(HINTS[row.plan], row.name) for row in pending_volumes(journal, AT_ONCE)]
        return [volumes_unit(names[at : at + IN_A_UNIT]) for at in range(0, len(names), IN_A_UNIT)]

    def _make_room(self, needed: int) -> None:
        """Say what is going to be kept. Raises FatalError if there is no room for it."""
        kept = self.store.kept
        if kept is None or not needed:
            return
        spare = max(spare_bytes(kept.path.parent) - SPARE_BYTES, 0)
        size = f"{needed / 1e6:,.1f} MB" if needed >= 1e5 else f"{needed:,} bytes"
        words = f"{size} of old maps are kept for undo in {kept.path.parent}"
        if needed > spare:
            raise FatalError(
                f"{words}, which has {spare / 1e6:,.1f} MB for it: make room there, or choose "
                "another directory with --state, or give up the undo with --no-keep"
            )
        self.say(f"{words} (--no-keep keeps none)")

    def scan(self, unit: Unit, limits: Limits) -> VolumesScan:
        """List directories, or prepare volumes."""
        if unit.cursor is None:
            names = [name for group in unpack_groups(unit.body) for name in group.names]
            if names[0][0] in PLANS:
                return VolumesLook(self.store, not self.dry_run, self.check, unit, limits).scan(
                    names
                )
        scan, files = self._survey().scan(unit, limits)
        return VolumesScan(
            scan.tally,
            rest=scan.rest,
            wide=scan.wide,
            again=scan.again,
            failures=scan.failures,
            writes=[partial(put_files, files=files)],
        )

    def _survey(self) -> Survey:
        return Survey(self.store.maps, self.store.locks, self.store.sizes, not self.dry_run)

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield the volumes that failed; everything anew if a directory could not be listed.

        What was locked is tried again, too.
        """
        if any(failure.hint == Hint.WALK for failure in failures):
            begin_survey(journal)
            yield from self.first_units()
            return
        wait_again(journal, (Result.LOCKED, Result.FAILED))

    def apply(
        self, scan: VolumesScan, *, retries: int, deny_limit: int, stop: StopFlag
    ) -> UnitResult:
        """Upgrade volumes whose locks are retained."""
        del deny_limit
        ending = VolumesEnding(retries)
        for record in read_records(scan.preimage):
            if scan.retained is not None:
                scan.retained.records.pop(0)
            if ending.outcomes and stop[0]:
                ending.untried(record)
                with suppress(OSError):  # then it is a dead run's
                    self.store.release_locks(record.lock_names)
                continue
            ending.note(record, partial(upgrade.apply, self.store, record))
        return ending.acted()

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed session, or a failure, left of upgrades.

        A unit that a kill cut off will be looked at again, and finds these current.
        """
        ending = VolumesEnding(RETRIES)
        for record in read_records(preimage):
            if stop[0]:
                raise Unsettled
            work = partial(upgrade.settle, self.store, record, finish=self.finish)
            ending.note(record, work, settling=True)
        acted = ending.acted()
        tally = replace(acted.tally, compliant=-acted.tally.changed)
        return replace(acted, tally=tally, again=())


def release_left(store: Store, journal: Journal) -> list[bytes]:
    """Release what a killed session may hold of volumes that it had not begun.

    Return the volumes whose locks could not be looked at.
    """
    failed = []
    for row in pending_volumes(journal):
        try:
            for name in lock_names(row.name, Plan.RENAME):
                store.locks.sweep(name)
                store.locks.release(name)
        except OSError:
            failed.append(row.name)
    return failed
