"""Renaming as a kind of job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..journal.store import Journal, RunHeader
from ..ui.report import Report
from .job import RenameJob, UndoRenameJob


class RenameSettings:
    """There is nothing to choose."""

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps."""
        return {}


@dataclass
class RenameWork(Work):
    """The open directory, and the journal of the run."""

    root: int
    journal: Journal

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Rename the files back."""
        del header
        yield replace(self, job=UndoRenameJob(self.root, self.journal))


class RenameKind(JobKind[RenameSettings]):
    """See the module."""

    name = "rename"
    noun = "file"
    done = "renamed"

    def settings(self, stored: Mapping[str, object]) -> RenameSettings:
        """Read what a run's header stored."""
        del stored
        return RenameSettings()

    @contextmanager
    def open(self, opening: Opening[RenameSettings]) -> Iterator[Work]:
        """Open the share's root."""
        root = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=opening.share.fd)
        try:
            job = RenameJob(root, dry_run=opening.purpose is Purpose.DRY_RUN)
            lanes = choose_lanes(opening.share, opening.options)
            yield RenameWork(job, lanes, "python", root, opening.journal)
        finally:
            os.close(root)

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the summary."""
        del words
        line = f"{ended.header.run or 'dry run'}: {ended.status}, {ended.tally.changed:,} renamed"
        report.summary([line], ended.summary_object(dry_run=ended.dry_run), ended.reason)


KIND = RenameKind()
