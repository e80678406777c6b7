"""Merging of diverged objects as a kind of job: `merge-diverged`, begun by `relocate`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import FatalError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..journal.store import Journal, RunHeader
from ..packed.moves import Root
from ..share.daemons import check_all_stopped
from ..ui.report import Report
from ..ui.summary import how_it_ended
from ..ui.text import count, quoted
from .diverged import MergeJob, UndoMergeJob, objects_of
from .opened import open_roots
from .overlay import NO_EXTENTS, tells_extents
from .roots import Roots
from .settings import RelocateSettings

JOB = "merge-diverged"


@dataclass
class MergeWork(Work):
    """The job, and what it works on."""

    roots: Roots
    journal: Journal

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Take the objects apart again."""
        del header
        batches = {number: self.journal.preimage(number) for number in self.journal.batches()}
        yield replace(self, job=UndoMergeJob(self.roots, batches))


class MergeKind(JobKind[RelocateSettings]):
    """See the module."""

    name = JOB
    noun = "object"
    done = "merged"
    leaves_behind = "objects whose newer file has a second name"

    def settings(self, stored: Mapping[str, object]) -> RelocateSettings:
        """Read the settings that a run's header stores."""
        return RelocateSettings.from_dict(stored)

    def more_roots(self, settings: RelocateSettings) -> Mapping[str, str]:
        """Return the directory of the maps."""
        return {settings.maps_identity: settings.maps}

    @contextmanager
    def open(self, opening: Opening[RelocateSettings]) -> Iterator[Work]:
        """Open the directories, and make the job.

        Raises FatalError if a daemon runs here, if there is no map of the volume, or if the
        filesystem does not tell data from holes.
        """
        is_dry = opening.purpose is Purpose.DRY_RUN
        if not is_dry:
            check_all_stopped()
        with open_roots(opening.share, opening.settings) as roots:
            if opening.purpose is Purpose.RUN and not tells_extents(roots[Root.BLOCKS]):
                raise FatalError(f"{NO_EXTENTS}; nothing was touched")
            volume = os.fsencode(opening.settings.diverged)
            job = MergeJob(roots, volume, objects_of(roots[Root.MAPS], volume), is_dry)
            lanes = choose_lanes(opening.share, opening.options)
            yield MergeWork(job, lanes, "python", roots, opening.journal)

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the summary."""
        facts = ended.facts(runs=words.runs)
        tally = facts.tally
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        volume = quoted(os.fsencode(str(ended.header.settings["diverged"])))
        verb = "to merge" if ended.dry_run else "merged"
        lines = [
            f"merge-diverged {volume}: {how_it_ended(facts)}{run}",
            f"  {count(tally.changed, 'object')} {verb}, {tally.failed:,} failed",
        ]
        if facts.status in ("stopped", "interrupted"):
            lines.append(f"go on with: {facts.command('resume', facts.run, options=facts.runs)}")
        elif tally.changed and not ended.dry_run:
            undo = facts.command("undo", facts.run, options=facts.runs)
            lines.append(f"both originals are kept; take it back with: {undo}")
        report.summary(lines, ended.summary_object(dry_run=ended.dry_run), ended.reason)


KIND = MergeKind()
