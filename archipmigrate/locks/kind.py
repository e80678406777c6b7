"""The removal of locks as a kind of job: `locks`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from ..errors import ShareError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_lanes
from ..jobs.options import RunOptions
from ..jobs.outcome import outcomes_of, unpack_outcome
from ..journal.location import check_outside
from ..journal.store import Journal, RunHeader
from ..maps.open import find_lock_directory
from ..maps.settings import MapfilesSettings
from ..model import Outcome, Remade
from ..share import Share
from ..share.daemons import check_stopped
from ..tree.files import DIRECTORY
from ..ui.report import Report
from ..ui.text import quoted
from .job import LocksJob
from .lock import Kind, unpack_locks
from .remover import Remover
from .report import LocksReport
from .roots import OpenRoots
from .runs import runs_with_locks
from .settings import JOB, Action, LocksSettings
from .tables import lock_counts, prepare_tables
from .undo import UndoLocksJob


@dataclass
class LocksWork(Work):
    """The job, and the directories that it works on."""

    roots: OpenRoots
    opening: Opening[LocksSettings]

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Make the locks again."""
        del header
        remover = Remover(self.roots, self.opening.header.run)
        yield replace(self, job=UndoLocksJob(remover, self.opening.journal))


class LocksKind(JobKind[LocksSettings]):
    """See the module."""

    name = JOB
    noun = "lock"
    done = "removed"
    leaves_behind = "parts of locks that were being put back"

    def settings(self, stored: Mapping[str, object]) -> LocksSettings:
        """Read the settings that a run's header stores."""
        return LocksSettings.from_dict(stored)

    def more_roots(self, settings: LocksSettings) -> Mapping[str, str]:
        """Return the lock directory."""
        return {settings.locks_identity: settings.locks} if settings.locks else {}

    def check_state(self, settings: LocksSettings, share: Share, options: RunOptions) -> None:
        """Refuse a state directory inside the lock directory. Raises ShareError, StateError."""
        if settings.locks:
            fd = _find_locks(share, settings, options)
            try:
                check_outside(options.state_path, fd, f"the lock directory {settings.locks}")
            finally:
                os.close(fd)

    @contextmanager
    def open(self, opening: Opening[LocksSettings]) -> Iterator[Work]:
        """Open both directories, and make the job.

        Raises FatalError if v0.3 runs here, though it is said to be stopped.
        """
        share, settings, journal = opening.share, opening.settings, opening.journal
        if opening.purpose is Purpose.RUN and settings.v03_stopped:
            check_stopped()
        with ExitStack() as stack:
            maps = _readable(share.fd, share.path)
            stack.callback(os.close, maps)
            locks = -1
            if settings.locks:
                pin = _find_locks(share, settings, opening.options)
                try:
                    locks = _readable(pin, os.fsencode(settings.locks))
                finally:
                    os.close(pin)
                stack.callback(os.close, locks)
            roots = OpenRoots(maps, locks)
            journal.commit([prepare_tables])
            runs = runs_with_locks(opening.state, share)
            dry_run = opening.purpose is Purpose.DRY_RUN
            job = LocksJob(roots, settings, runs, opening.header.run, dry_run)
            yield LocksWork(job, choose_lanes(share, opening.options), "python", roots, opening)

    def may_have_changed(self, journal: Journal) -> bool:
        """Say whether a lock was removed, or may have been."""
        return bool(journal.unsettled()) or Outcome.CHANGED in outcomes_of(journal)

    def remade(self, journal: Journal) -> Iterator[Remade]:
        """Yield the locks that were removed, which undo makes again."""
        for number in journal.batches():
            outcomes = unpack_outcome(journal.outcome(number)).outcomes
            locks = unpack_locks(journal.preimage(number))
            for (lock, _), outcome in zip(locks, outcomes, strict=True):
                if outcome == Outcome.CHANGED:
                    mode = stat.S_IFREG | lock.mode
                    yield Remade(lock.inode, mode, lock.uid, lock.gid, lock.length, lock.mtime)

    def status(self, ended: Ended) -> str:
        """Return `failures` if locks of v0.3 still count as held."""
        settings = self.settings(ended.header.settings)
        is_left = (
            settings.action is Action.CLEAN
            and not settings.v03_stopped
            and lock_counts(ended.journal, goes=False).get(Kind.V03)
        )
        return "failures" if ended.status == "done" and is_left else ended.status

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the locks, and the summary."""
        LocksReport(report, ended.journal, self.settings(ended.header.settings)).show(ended, words)

    def results(self, journal: Journal) -> Mapping[str, Mapping[str, int]]:
        """Return how many locks of each kind were removed, and how many were left."""
        removed, left = (lock_counts(journal, goes=goes) for goes in (True, False))
        return {
            "removed": {Kind(kind).word: number for kind, number in removed.items()},
            "left": {Kind(kind).word: number for kind, number in left.items()},
        }


def _find_locks(share: Share, settings: LocksSettings, options: RunOptions) -> int:
    """Open the lock directory of a run where it is now. Raises ShareError."""
    path = options.locks or settings.locks
    return find_lock_directory(share, MapfilesSettings(path, settings.locks_identity))


def _readable(fd: int, path: bytes) -> int:
    """Open a directory, so that it can be listed and synced. Raises ShareError."""
    try:
        return os.open(b".", DIRECTORY, dir_fd=fd)
    except OSError as error:
        raise ShareError(f"{quoted(path)}: {error.strerror}") from None


KIND = LocksKind()
