"""The upgrade of maps as a kind of job: `mapfiles`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..engine.job import Lanes
from ..engine.limits import UNIT_SECONDS
from ..errors import JournalError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..jobs.options import AUTO, RunOptions
from ..jobs.outcome import outcomes_of, unpack_outcome
from ..journal.location import check_outside
from ..journal.store import Journal, RunHeader
from ..model import Outcome, Remade
from ..share import Share
from ..ui.report import Report
from ..ui.text import quoted
from .blocker.preimage import unpack_preimages
from .blocker.store import Store
from .format.codec import codec_of
from .jobs.undo import UndoMapfilesJob
from .jobs.upgrade import MapfilesJob, release_left
from .journal.sizes import Sizes
from .journal.tables import is_surveying, prepare_tables, result_counts
from .open import find_lock_directory, open_store
from .report import VolumesReport, volumes_left
from .settings import JOB, MapfilesSettings

SIZES = ".journal-sizes"


@dataclass
class MapsWork(Work):
    """The job, and the store that it works on."""

    store: Store
    opening: Opening[MapfilesSettings]

    def settled(self) -> None:
        """Release the locks of volumes that a killed session had not begun to upgrade."""
        for volume in release_left(self.store, self.opening.journal):
            self.opening.reporter.remark(
                f"{quoted(volume)}: its lock cannot be read: left as it is"
            )

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Put the old maps back, under locks of the undo's own."""
        opening = self.opening
        with (
            closing(Sizes.empty()) as sizes,
            closing(open_store(opening, sizes, undo=header)) as opened,
        ):
            job = UndoMapfilesJob(opened.store, opening.journal)
            lanes = choose_lanes(opening.share, opening.options)
            yield MapsWork(job, lanes, opened.name, opened.store, opening)


class MapfilesKind(JobKind[MapfilesSettings]):
    """See the module."""

    name = JOB
    noun = "volume"
    done = "upgraded"
    leaves_behind = "volumes half done, or locks"
    settles_earlier = True
    writes_maps = True

    def settings(self, stored: Mapping[str, object]) -> MapfilesSettings:
        """Read the settings that a run's header stores."""
        return MapfilesSettings.from_dict(stored)

    def check_backend(self, name: str, share: Share) -> None:
        """Check that there is a codec of that name."""
        del share
        codec_of(name)

    def check_state(self, settings: MapfilesSettings, share: Share, options: RunOptions) -> None:
        """Refuse a state directory inside the lock directory. Raises ShareError, StateError."""
        settings = settings.with_locks(options.locks)
        if settings.locks:
            fd = find_lock_directory(share, settings)
            try:
                called = f"the lock directory {settings.locks}"
                check_outside(options.state_path, fd, called)
            finally:
                os.close(fd)

    @contextmanager
    def open(self, opening: Opening[MapfilesSettings]) -> Iterator[Work]:
        """Open maps and locks, and make the job; meanwhile the process has the blocker's umask."""
        from ..engine.threads import call_on_loop  # noqa: PLC0415 -- trio takes long to import

        opening = replace(opening, settings=opening.settings.with_locks(opening.options.locks))
        settings, journal = opening.settings, opening.journal
        with ExitStack() as stack:
            sizes = stack.enter_context(_sizes(opening))
            opened = stack.enter_context(closing(open_store(opening, sizes)))
            journal.commit([prepare_tables])
            stack.callback(os.umask, os.umask(settings.umask))
            job = MapfilesJob(
                opened.store,
                dry_run=opening.purpose is Purpose.DRY_RUN,
                check=settings.check,
                say=partial(call_on_loop, opening.reporter.remark),
                finish=opening.purpose is not Purpose.SETTLE,
            )
            yield MapsWork(job, _lanes(opening), opened.name, opened.store, opening)

    def may_have_changed(self, journal: Journal) -> bool:
        """Say whether a volume was upgraded, or may be half done."""
        return bool(journal.unsettled()) or Outcome.CHANGED in outcomes_of(journal)

    def remade(self, journal: Journal) -> Iterator[Remade]:
        """Yield the old maps, and the files that blocks had replaced, that undo puts back."""
        for number in journal.batches():
            outcomes = unpack_outcome(journal.outcome(number)).outcomes
            for volume, outcome in zip(
                unpack_preimages(journal.preimage(number)), outcomes, strict=True
            ):
                if outcome != Outcome.CHANGED:
                    continue
                for file in (*volume.sources, *volume.replaced):
                    if file.pieces is not None:
                        yield Remade(
                            file.inode, file.mode, file.uid, file.gid, file.length, file.mtime
                        )

    def begun(self, settings: MapfilesSettings, state: Path, run: str) -> None:
        """Save the sizes that the run was given, unless it has them."""
        path = state / f"{run}{SIZES}"
        if settings.sizes and settings.table is not None and not path.exists():
            settings.table.save(path)

    def status(self, ended: Ended) -> str:
        """Return `failures` if some volumes are neither upgraded nor current."""
        left = ended.status == "done" and volumes_left(ended.journal)
        return "failures" if left else ended.status

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the volumes and the summary, and write the logs that were asked for."""
        volumes = VolumesReport(report, ended.journal)
        volumes.show(ended, words)
        if words.logs is not None:
            volumes.write_logs(words.logs)

    def results(self, journal: Journal) -> Mapping[str, Mapping[str, int]]:
        """Return how many volumes there are of each result."""
        return {"volumes": result_counts(journal)}


@contextmanager
def _sizes(opening: Opening[MapfilesSettings]) -> Iterator[Sizes]:
    """Yield the sizes of v0 maps: those just given, or those that the run was begun with.

    Raises JournalError if a run's are not there.
    """
    settings = opening.settings
    if opening.purpose is Purpose.DRY_RUN and settings.table is not None:
        yield settings.table  # its owner closes it
        return
    sizes = Sizes.empty()
    if opening.purpose is Purpose.RUN and settings.sizes:
        sizes.close()
        path = opening.state / f"{opening.header.run}{SIZES}"
        if not path.exists():
            raise JournalError(
                f"{opening.header.run} was killed before its sizes were saved: repeat the command "
                "that began it"
            )
        sizes = Sizes.open(path)
    with closing(sizes):
        yield sizes


def _lanes(opening: Opening[MapfilesSettings]) -> Lanes:
    """Return the lanes; one for a survey on a local disk: two would wait for each other."""
    if opening.purpose is Purpose.SETTLE:
        return Lanes(1, UNIT_SECONDS)
    lanes = choose_lanes(opening.share, opening.options)
    is_local = not opening.share.is_nfs and opening.options.jobs == AUTO
    return replace(lanes, survey=1) if is_local and is_surveying(opening.journal) else lanes


KIND = MapfilesKind()
