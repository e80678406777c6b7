"""The mapfiles job: every volume's map to v2.

It begins with a survey: units are directories to list, and the files found go into the journal.
Once all are found they are judged there, and units are volumes with their plans. The scan of a
volume acquires its locks, judges it again and keeps what goes away; to apply is to upgrade it. A
dry run upgrades nothing, and acquires no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ...engine.job import Job, UnitResult
from ...errors import FatalError
from ...journal import counting
from ...journal.location import SPARE_BYTES, spare_bytes
from ...journal.store import Journal
from ...model import RETRIES, Failure, Limits, StopFlag, Unit, Unsettled
from ...packed.groups import Hint
from ..blocker import together, upgrade
from ..blocker.files import NativeFiles
from ..blocker.preimage import lock_names, unpack_preimages
from ..blocker.retained import MapsScan
from ..blocker.store import Store
from ..format.verdict import Plan, Result
from ..journal.tables import (
    begin_survey,
    bytes_to_keep,
    is_surveying,
    make_pending,
    pending_count,
    pending_volumes,
)
from ..survey.judge import judge_survey
from ..survey.walk import Survey
from .outcomes import VolumeOutcomes
from .pace import MOST, Pace
from .scan import VolumesScanner
from .units import is_volumes, split, unpack_volumes, volumes_unit

NOT_LOOKED_FOR = (
    "there is no directory of blocks here: whether v0.4 finds the objects of volumes is not "
    "checked (--blocks DIR)"
)
IN_A_UNIT = MOST  # volumes
AT_ONCE = 20_000  # volumes that are in the frontier at once


@dataclass(slots=True)
class MapfilesJob(Job[MapsScan]):
    """See the module.

    With `check`, the blocks of maps that are current are read. `say` is told, from a worker thread,
    what the administrator should know before volumes are upgraded. `finish` is for settling: it
    upgrades volumes whose new header is not in place yet (the run is resumed); without it, they are
    rolled back (another run, or the undo, takes over).
    """

    store: Store
    dry_run: bool = False
    check: bool = False
    say: Callable[[str], None] = lambda _: None
    finish: bool = True
    total: int | None = None
    pace: Pace = field(default_factory=Pace)

    def first_units(self) -> Iterable[Unit]:
        """Yield the directories of maps and locks."""
        return self._survey().first_units()

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Judge the survey; then yield pending volumes, at most `AT_ONCE` of them."""
        if is_surveying(journal):
            judge_survey(journal, locks_apart=self.store.locks.flat, check=self.check)
            if self.store.objects is None and pending_count(journal):
                self.say(NOT_LOOKED_FOR)
        if self.total is None:
            self.total = pending_count(journal)
            if not self.dry_run:
                self._check_room(bytes_to_keep(journal))
        volumes = [(row.plan, row.name) for row in pending_volumes(journal, AT_ONCE)]
        return [
            volumes_unit(volumes[at : at + IN_A_UNIT]) for at in range(0, len(volumes), IN_A_UNIT)
        ]

    def left(self, journal: Journal) -> int | None:
        """Return the number of pending volumes, once the survey has found all."""
        return None if is_surveying(journal) else pending_count(journal)

    def _check_room(self, needed: int) -> None:
        """Say how many bytes will be kept. Raises FatalError if there is no room for them."""
        old_maps = self.store.old_maps
        if old_maps is None or not needed:
            return
        spare = max(spare_bytes(old_maps.path.parent) - SPARE_BYTES, 0)
        size = f"{needed / 1e6:,.1f} MB" if needed >= 1e5 else f"{needed:,} bytes"
        words = f"up to {size} of old maps will be kept for undo in {old_maps.path.parent}"
        if needed > spare:
            raise FatalError(
                f"{words}, which has {spare / 1e6:,.1f} MB for it: make room there, or choose "
                "another directory with --state, or give up the undo with --no-keep"
            )
        self.say(f"{words} (--no-keep keeps none)")

    def scan(self, unit: Unit, limits: Limits) -> MapsScan:
        """List directories, or prepare volumes."""
        if unit.cursor is None and is_volumes(unit.body):
            scanner = VolumesScanner(
                self.store, self.dry_run, self.check, unit.retries, limits, self.pace
            )
            return scanner.scan(unpack_volumes(unit.body))
        return self._survey().scan(unit, limits)

    def _survey(self) -> Survey:
        store = self.store
        native = isinstance(store.files, NativeFiles)
        return Survey(store.maps, store.locks, store.sizes, not self.dry_run, native)

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Cut a unit of directories or of volumes."""
        return split(unit, parts)

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Retry volumes that were not upgraded for reasons that may pass.

        Survey again if a directory was not listed.
        """
        if any(failure.hint == Hint.WALK for failure in failures):
            begin_survey(journal)
            yield from self.first_units()
            return
        make_pending(journal, (Result.LOCKED, Result.MISPLACED, Result.FAILED))

    def apply(self, scan: MapsScan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Upgrade the volumes of a scan, at least one even after a stop; release their locks."""
        del deny_limit
        outcomes, retained = VolumeOutcomes(retries), scan.retained
        left = unpack_preimages(scan.preimage)
        count = len(left)
        while left and not (outcomes and stop[0]):
            batch = left[:1] if stop[0] else together.first_batch(left)
            left = left[len(batch) :]
            if retained is not None:
                retained.take_over(len(batch))
            for preimage, error in zip(batch, together.apply(self.store, batch), strict=True):
                outcomes.attempt(preimage, partial(_raise, error))
        for preimage in left:
            outcomes.leave(preimage)
        if retained is not None:
            retained.close()
            self.pace.observe(count, retained.since)
        return outcomes.result()

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Settle the upgrades that a killed session, or an error, left; see `finish`.

        The unit of a killed session is scanned again, and finds these volumes current.
        """
        outcomes = VolumeOutcomes(RETRIES, settling=True)
        for volume in unpack_preimages(preimage):
            if stop[0]:
                raise Unsettled
            work = partial(upgrade.settle, self.store, volume, finish=self.finish)
            outcomes.attempt(volume, work)
        result = outcomes.result()
        tally = replace(counting.settled(result.tally.changed), failed=result.tally.failed)
        return replace(result, tally=tally, again=())


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def release_left(store: Store, journal: Journal) -> list[bytes]:
    """Release the locks that a killed session holds of volumes whose upgrade it had not begun.

    Return the volumes whose locks could not be read.
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
