"""Prelinking as a kind of job: `relocate --prelink`, and the phases that follow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FatalError, ShareError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..jobs.options import RunOptions
from ..jobs.registry import RELOCATE
from ..journal.runs import open_run
from ..journal.store import Journal, RunHeader
from ..layout.names import shown
from ..packed.moves import Root
from ..relocate.classify import BAD
from ..relocate.kind import EMPTY_STAY, PRUNE
from ..relocate.roots import OpenRoot, Roots
from ..relocate.settings import RelocateSettings, open_blocks, open_maps
from ..relocate.tables import class_counts
from ..share import Share
from ..share.bypass import cached_seconds
from ..share.daemons import check_stopped
from ..ui.report import Report
from ..ui.text import command_line
from .job import PrelinkJob
from .keep import Keep
from .known import Known
from .phases import V04_MAY_RUN, Phase
from .report import PrelinkReport
from .tables import linked_count, prepare_tables, set_standing, standing
from .undo import UndoPrelinkJob

JOB = "prelink"  # in headers and names of runs
# Phases that judge what other nodes did until they were stopped.
BACK = ("--back", "--v04-stopped")
JUDGE_OTHERS = (Phase.SURVEY, Phase.LOOK, Phase.BACK)


@dataclass
class PrelinkWork(Work):
    """The job, and what it works on."""

    roots: Roots
    keep: Keep
    known: Known

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Remove the second names."""
        del header
        yield replace(self, job=UndoPrelinkJob(self.roots, self.keep, self.known))


class PrelinkKind(JobKind[RelocateSettings]):
    """See the module."""

    name = JOB
    noun = "object"
    done = "done"
    leaves_behind = "second names of blocks, and objects and maps that are kept aside"
    has_phases = True
    moves_objects = True

    def settings(self, stored: Mapping[str, object]) -> RelocateSettings:
        """Read the settings that a run's header stores."""
        return RelocateSettings.from_dict(stored)

    def more_roots(self, settings: RelocateSettings) -> Mapping[str, str]:
        """Return the directory of the maps."""
        return {settings.maps_identity: settings.maps}

    def pairs(self, journal: Journal) -> int:
        """Return how many blocks have both names, while old names stand."""
        return linked_count(journal) if self.rests(journal) else 0

    def rests(self, journal: Journal) -> bool:
        """Whether old names still stand, or new ones beside them."""
        return standing(journal).phase is not Phase.DROPPED

    def forbids(
        self, run: RunHeader, journal: Journal, other: JobKind[Any], options: RunOptions
    ) -> str:
        """Say why another job must wait, in the phases before `linked`."""
        phase = standing(journal).phase
        if phase is Phase.DROPPED or (phase in V04_MAY_RUN and not other.moves_objects):
            return ""
        if phase in V04_MAY_RUN:
            drop = _command(run, options, "--drop-old")
            back = _command(run, options, *BACK)
            return f"its old names still stand: first `{drop}`, or `{back}`"
        return (
            f"it is in its phase `{phase}`: a change of permissions would erase what tells which "
            "objects v0.3 has deleted, and v0.3 still needs its maps; go on, until it is `linked`, "
            f"with `{_command(run, options, '--prelink', '--v03-stopped')}`, or undo it"
        )

    def check_undo(self, target: RunHeader, share: Share, options: RunOptions) -> None:
        """Refuse once the survey has begun: that is taken back by --back. Raises FatalError."""
        del share
        with closing(open_run(options.state_path, target.run)) as journal:
            phase = standing(journal).phase
        if phase is not Phase.LINK:
            raise FatalError(
                f"{target.run} is in its phase `{phase}`: go back to v0.3 first, with "
                f"`{_command(target, options, *BACK)}`; what is left then are the second names"
            )

    def left_by_undo(self, target: RunHeader, options: RunOptions) -> str:
        """Name the directories."""
        return f"{EMPTY_STAY}: {_command(target, options, *PRUNE)}"

    @contextmanager
    def open(self, opening: Opening[RelocateSettings]) -> Iterator[Work]:
        """Open both directories, and make the job. Raises FatalError if v0.3 runs here."""
        share, settings, journal = opening.share, opening.settings, opening.journal
        with ExitStack() as stack:
            owner = (settings.uid, settings.gid)
            blocks = OpenRoot(open_blocks(share), settings.blocks_umask, *owner)
            stack.enter_context(closing(blocks))
            maps = OpenRoot(open_maps(share, settings), settings.maps_umask, *owner)
            stack.enter_context(closing(maps))
            stack.callback(os.umask, os.umask(0))
            journal.commit([prepare_tables])
            keep = Keep(_run_of(opening))
            now = standing(journal)
            if opening.purpose is Purpose.RUN:
                if now.phase is not Phase.LINK:
                    check_stopped()
                if now.phase in JUDGE_OTHERS:
                    _wait_for_mount(opening)
                if not now.began:
                    now = replace(now, began=_clock(keep, blocks))
                    journal.commit([lambda j: set_standing(j, now)])
            known = stack.enter_context(closing(Known(journal.path)))
            roots = {Root.BLOCKS: blocks, Root.MAPS: maps}
            dry_run = opening.purpose is Purpose.DRY_RUN
            job = PrelinkJob(roots, keep, known, now.phase, now.passed, dry_run)
            lanes = choose_lanes(share, opening.options)
            yield PrelinkWork(job, lanes, "python", roots, keep, known)

    def status(self, ended: Ended) -> str:
        """Return `failures` if v0.4 does not find all that v0.3 served."""
        counts = class_counts(ended.journal)
        is_over = standing(ended.journal).phase in V04_MAY_RUN
        left = ended.status == "done" and is_over and any(counts.get(kind) for kind in BAD)
        return "failures" if left else ended.status

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print what was found, where the run is, and what comes next."""
        PrelinkReport(report, ended.journal).show(ended, words)

    def phase(self, journal: Journal) -> str:
        """Return the phase that a run is in."""
        return standing(journal).phase.value

    def results(self, journal: Journal) -> Mapping[str, Mapping[str, int]]:
        """Return how many blocks have both names, and how many files there are of each class."""
        return {"prelink": {"linked": linked_count(journal)}, "classes": class_counts(journal)}


def _command(run: RunHeader, options: RunOptions, *words: str) -> str:
    """Return the command by which a run enters a phase."""
    places = ["--blocks", run.path, "--maps", str(run.settings["maps"])]
    return command_line(["archipmigrate", RELOCATE, *places, *options.state_words, *words])


def _run_of(opening: Opening[RelocateSettings]) -> str:
    return opening.header.run or "dry-run"


def _clock(keep: Keep, blocks: OpenRoot) -> int:
    """Return the time by the clock of the filesystem. Raises ShareError."""
    try:
        return keep.clock(blocks)
    except OSError as error:
        raise ShareError(
            f"the directory {shown(keep.name)} cannot be made among the blocks: {error.strerror}"
        ) from None


def _wait_for_mount(opening: Opening[RelocateSettings]) -> None:
    """Wait until an NFS mount has forgotten what anybody saw through it before this session.

    Else a block that another node has deleted since would still seem to be there, and one that it
    has made not.
    """
    if not opening.share.is_nfs:
        return
    seconds = cached_seconds(opening.share.mount)
    opening.reporter.remark(
        f"waiting {seconds} s: the mount may still show what was before other nodes' latest changes"
    )
    time.sleep(seconds)


KIND = PrelinkKind()
