"""Relocation as a kind of job: `relocate`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from ..backend.extensions import uses_native
from ..errors import UsageError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..jobs.options import RunOptions
from ..jobs.outcome import outcomes_of, unpack_outcome
from ..journal.runs import open_run
from ..journal.store import Journal, RunHeader
from ..model import Outcome, Remade
from ..packed.moves import Root, Verb, unpack_moves
from ..share import Share
from ..share.daemons import check_stopped
from ..ui.report import Report
from ..ui.text import command_line
from .classify import BAD
from .job import RelocateJob
from .opened import open_roots
from .report import RelocateReport
from .returnable import check_maps, upgraded_maps
from .room import COPY, is_refusal
from .roots import Roots
from .settings import JOB, RelocateSettings, open_maps
from .tables import (
    SURVEY,
    allow_copies,
    class_counts,
    has_originals,
    knows_upgraded,
    may_copy,
    note_upgraded,
    original_of,
    prepare_tables,
    refusal_of,
    stage_of,
    upgraded_before,
)
from .undo import UndoRelocateJob
from .ways import Ways

NATIVE, PYTHON = "native", "python"
PRUNE = ("--prune", "--v03-stopped", "--v04-stopped")
EMPTY_STAY = "empty directories stay; once neither version runs on any node"


@dataclass
class RelocateWork(Work):
    """The job, and the directories that it works on."""

    roots: Roots
    journal: Journal

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Move the objects back."""
        del header
        native = self.backend == NATIVE
        yield replace(self, job=UndoRelocateJob(self.roots, self.journal, native=native))


class RelocateKind(JobKind[RelocateSettings]):
    """See the module."""

    name = JOB
    noun = "object"
    done = "moved"
    moves_objects = True

    def settings(self, stored: Mapping[str, object]) -> RelocateSettings:
        """Read the settings that a run's header stores."""
        return RelocateSettings.from_dict(stored)

    def more_roots(self, settings: RelocateSettings) -> Mapping[str, str]:
        """Return the directory of the maps, and Pithos' own trees."""
        roots = {settings.maps_identity: settings.maps}
        roots.update((tree.identity, tree.path) for tree in settings.trees.values())
        return roots

    def check_backend(self, name: str, share: Share) -> None:
        """Check that C is there if it is demanded; a server is reached through a mount only."""
        del share
        uses_native(name)
        if name == "nfs":
            raise UsageError("--backend nfs: objects are moved through a mount only")

    def check_undo(self, target: RunHeader, share: Share, options: RunOptions) -> None:
        """Refuse while a v2 map rests on the new places. Raises FatalError."""
        with closing(open_run(options.state_path, target.run)) as journal:
            before = upgraded_before(journal)
        maps = open_maps(share, self.settings(target.settings))
        try:
            check_maps(maps, before)
        finally:
            os.close(maps)

    @contextmanager
    def open(self, opening: Opening[RelocateSettings]) -> Iterator[Work]:
        """Open both directories, and make the job. Raises FatalError if v0.3 runs here."""
        if opening.purpose is Purpose.RUN:
            check_stopped()  # also for a run that is resumed
        share, settings, journal = opening.share, opening.settings, opening.journal
        with open_roots(share, settings) as roots:
            journal.commit([prepare_tables, *([allow_copies] if opening.options.copy else [])])
            ways = Ways(roots, settings.pithos_migrate, settings.remove_source)
            is_dry = opening.purpose is Purpose.DRY_RUN
            if opening.purpose is Purpose.RUN:
                _note_upgraded(journal, roots)
            native = uses_native(opening.options.backend) and not ways.has_mounts
            job = RelocateJob(roots, ways, is_dry, may_copy(journal), native)
            job.load_conflicts(journal)
            lanes = choose_lanes(share, opening.options)
            yield RelocateWork(job, lanes, NATIVE if native else PYTHON, roots, journal)

    def may_have_changed(self, journal: Journal) -> bool:
        """Say whether an object was moved, or may be half done."""
        return bool(journal.unsettled()) or Outcome.CHANGED in outcomes_of(journal)

    def remade(self, journal: Journal) -> Iterator[Remade]:
        """Yield the objects that were carried, which undo copies back."""
        if not has_originals(journal):
            return
        for number in journal.batches():
            outcomes = unpack_outcome(journal.outcome(number)).outcomes
            moves = unpack_moves(journal.preimage(number))
            for move, outcome in zip(moves, outcomes, strict=True):
                if move.verb is Verb.CARRY and outcome == Outcome.CHANGED:
                    file = original_of(journal, move.path, move.inode)
                    if file is not None:
                        yield file

    def status(self, ended: Ended) -> str:
        """Return `failures` if v0.4 does not find all that v0.3 served."""
        counts = class_counts(ended.journal)
        left = ended.status == "done" and any(counts.get(kind) for kind in BAD)
        return "failures" if left else ended.status

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print what was found, and the summary."""
        RelocateReport(report, ended.journal).show(ended, words)

    def left_by_undo(self, target: RunHeader, options: RunOptions) -> str:
        """Name the directories."""
        words = ["archipmigrate", "undo", *options.state_words, *PRUNE, target.run]
        return f"{EMPTY_STAY}: {command_line(words)}"

    def needed(self, journal: Journal) -> Sequence[str]:
        """Return `--copy` if the run stopped since it would have to copy."""
        stopped = stage_of(journal) == SURVEY and is_refusal(refusal_of(journal))
        return [] if may_copy(journal) or not stopped else [COPY]

    def results(self, journal: Journal) -> Mapping[str, Mapping[str, int]]:
        """Return how many files there are of each class."""
        return {"classes": class_counts(journal)}


def _note_upgraded(journal: Journal, roots: Roots) -> None:
    """Keep which maps are v2 already, unless the run has begun to move objects."""
    if knows_upgraded(journal) or stage_of(journal) != SURVEY:
        return
    names = list(upgraded_maps(roots[Root.MAPS].fd))
    journal.commit([partial(note_upgraded, names=names)])


KIND = RelocateKind()
