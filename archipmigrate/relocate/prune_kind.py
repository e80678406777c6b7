"""Removal of empty directories as a kind of job: `prune`, begun by `relocate --prune`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ..errors import FatalError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..jobs.options import RunOptions
from ..journal.store import Journal, RunHeader
from ..share import Share
from ..share.daemons import check_all_stopped
from ..ui.report import Report
from ..ui.summary import how_it_ended
from ..ui.text import count, quoted
from .opened import open_roots
from .prune import PruneJob
from .settings import RelocateSettings

JOB = "prune"
NO_UNDO = "prune removes empty directories only, and has no undo: whoever needs one makes it again"


@dataclass
class PruneWork(Work):
    """The job."""

    def undo(self, header: RunHeader) -> AbstractContextManager[Work]:
        """Refuse; `check_undo` did before. Raises FatalError."""
        del header
        raise FatalError(NO_UNDO)


class PruneKind(JobKind[RelocateSettings]):
    """See the module."""

    name = JOB
    noun = "directory"
    done = "removed"

    def settings(self, stored: Mapping[str, object]) -> RelocateSettings:
        """Read the settings that a run's header stores, this one or of relocate."""
        settings = RelocateSettings.from_dict(stored)
        return RelocateSettings(settings.maps, settings.maps_identity)

    def more_roots(self, settings: RelocateSettings) -> Mapping[str, str]:
        """Return the directory of the maps."""
        return {settings.maps_identity: settings.maps}

    def check_undo(self, target: RunHeader, share: Share, options: RunOptions) -> None:
        """Refuse: there is nothing to put back. Raises FatalError."""
        del target, share, options
        raise FatalError(NO_UNDO)

    @contextmanager
    def open(self, opening: Opening[RelocateSettings]) -> Iterator[Work]:
        """Open both directories, and make the job. Raises FatalError if a daemon runs here."""
        if opening.purpose is Purpose.RUN:
            check_all_stopped()
        with open_roots(opening.share, opening.settings) as roots:
            job = PruneJob(roots, opening.purpose is Purpose.DRY_RUN)
            yield PruneWork(job, choose_lanes(opening.share, opening.options), "python")

    def may_have_changed(self, journal: Journal) -> bool:
        """Say no: there is nothing that an undo would have to put back."""
        del journal
        return False

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the summary."""
        facts = ended.facts(runs=words.runs)
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        verb = "would be removed" if ended.dry_run else "removed"
        removed = f"{count(facts.tally.changed, 'empty directory')} {verb}"
        lines = [
            f"prune {quoted(os.fsencode(facts.path))}: {how_it_ended(facts)}{run}",
            f"  {removed}, {facts.tally.failed:,} failed",
        ]
        if facts.status in ("stopped", "interrupted"):
            lines.append(f"go on with: {facts.command('resume', facts.run, options=facts.runs)}")
        report.summary(lines, ended.summary_object(dry_run=ended.dry_run), ended.reason)


KIND = PruneKind()
