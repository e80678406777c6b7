"""`archipmigrate undo`: put back what a run changed."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ..backend.select import demand_backend
from ..engine.job import Job, S
from ..engine.loop import run_loop
from ..engine.session import Lanes
from ..engine.settle import settle_run
from ..errors import FatalError
from ..journal.runs import list_runs, new_run, open_run, supersede_run
from ..journal.store import Journal, RunHeader
from ..maps.jobs.undo import UndoMapfilesJob
from ..maps.journal.sizes import Sizes
from ..perms.undo import UndoJob
from ..share import Share
from ..ui.report import Report
from ..ui.summary import undo_summary
from ..ui.text import quoted, reason
from . import mapfiles, options
from .blocker import blocker_of, open_store
from .perms import Settings
from .reach import reach, wait_for_mount
from .session import (
    Session,
    Works,
    choose_backend,
    choose_lanes,
    exit_status,
    facts_of,
    find_run,
    locked,
    share_of,
    state_directory,
    state_option,
    summary_object,
)

JOBS = ("perms", "mapfiles")
DESCRIPTION = """\
Put back what a run of `archipmigrate perms` or `archipmigrate mapfiles` changed:
mode and group of every entry, or the old maps of every volume, if it is still as
the run left it. What somebody else changed since stays, and is reported. Works on
interrupted runs too, and may be repeated.

Set-uid, and set-gid on executables, come back only if nobody can have written to
the file in between. File capabilities cannot be put back."""
EXAMPLES = """\
  archipmigrate undo                                  the latest run
  archipmigrate undo perms-20261122T184054-b931

exit status: 0 all is back; 1 stopped; 3 some entries were left as they are;
11, 130, 143 as perms"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "undo", "put back what a run changed", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "run_name",
        metavar="RUN",
        nargs="?",
        help="the run (default: the latest that changed something)",
    )
    add_path(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def add_path(parser: options.Parser) -> None:
    """Add what says where a run's share is now."""
    parser.add_argument(
        "--path", metavar="PATH", help="where the share is mounted now, if no longer where it was"
    )
    parser.add_argument(
        "--locks",
        dest="locks_now",
        metavar="DIR",
        help="the lock directory of the maps now, if it is another one than when the run was begun",
    )


def run(args: argparse.Namespace) -> int:
    """Undo a run. Raises Error."""
    state = state_directory(args)
    target = find_run(state, args.run_name, JOBS, "not undone")
    return undo(args, state, target)


def undo(args: argparse.Namespace, state: Path, target: RunHeader) -> int:
    """Undo the run *target*, or go on with an undo of it that was cut off. Raises Error."""
    share = share_of(target, args.path, args.nfs4_domain)
    demand_backend(args.backend, share)
    state_directory(args, share)
    report = Report("undo", options.verbosity(args))
    with locked(state, share) as lock:
        share = replace(share, lock=lock.fd)
        if target.job == "perms":
            domain = args.nfs4_domain or Settings.from_dict(target.settings).domain
            share = reach(args, share, report, domain)
        else:
            wait_for_mount(state, share, report)
        journal = _find_or_make(state, share, target, report)
        header = journal.read_header()
        lock.sign(header.run)
        work = _Undo(args, share, target.run, journal, header, report)
        with_target = open_run(state, target.run)
        try:
            return work.run(with_target)
        finally:
            with_target.close()
            journal.close()
            report.close()


@dataclass(slots=True)
class _Undo:
    """One session of an undo."""

    args: argparse.Namespace
    share: Share
    target: str
    journal: Journal
    header: RunHeader
    report: Report

    def run(self, target: Journal) -> int:
        before = target.read_header()
        target.check()
        if before.job == "mapfiles":
            return self._run_mapfiles(target, before)
        backend, lanes = choose_backend(self.args, self.share)
        forward = Settings.from_dict(before.settings).job(backend, self.share, dry_run=False)
        try:
            run_loop(settle_run, forward, target, lanes.jobs)
            self._mark(target, before)
        except BaseException:
            backend.close()
            raise
        return self._put_back(backend, lanes, UndoJob(backend, target), "entry")

    def _run_mapfiles(self, target: Journal, before: RunHeader) -> int:
        args, state = self.args, state_directory(self.args)
        mapfiles.settle_mapfiles(args, state, self.share, target, self.report, finish=False)
        if target.unsettled():
            why = "; ".join(f"{quoted(f.path)}: {reason(f)}" for f in islice(target.failures(), 3))
            raise FatalError(
                f"{before.run} left upgrades half done that cannot be finished now ({why}): see to "
                "that, then try again"
            )
        self._mark(target, before)
        blocker = blocker_of(args, before)
        with closing(Sizes.empty()) as sizes, mapfiles.masked(blocker.umask):
            opened = open_store(
                self.share, blocker, self.header, args.backend, sizes, state, before.run
            )
            job = UndoMapfilesJob(opened.store, target)
            return self._put_back(opened, choose_lanes(args, self.share), job, "volume")

    def _mark(self, target: Journal, before: RunHeader) -> None:
        """Note in the run's journal that this undo takes it back."""
        before.undone = self.header.run
        target.commit([lambda journal: journal.write_header(before)])

    def _put_back(self, works: Works, lanes: Lanes, job: Job[S], noun: str) -> int:
        self.header.backend = works.name
        session = Session(self.share, works, self.journal, self.header, lanes, self.report)
        result, tally, seconds = session.run(job)
        status = "failures" if result.status == "done" and tally.skipped else result.status
        thing = summary_object(session, status, tally, seconds, undone=self.target)
        facts = facts_of(
            session,
            replace(result, status=status),
            tally,
            seconds,
            target=self.target,
            runs=state_option(self.args),
        )
        self.report.summary(undo_summary(facts, noun), thing, facts.reason)
        return exit_status(result, status)


def _find_or_make(state: Path, share: Share, target: RunHeader, report: Report) -> Journal:
    """Return the journal of the undo to go on with, or of a new one.

    One that was stopped, because nothing worked, is begun again: what is back already stays.
    """
    stopped = []
    for header in list_runs(state):
        if header.job == "undo" and header.is_resumable and header.settings["of"] == target.run:
            if header.status != "stopped":
                report.remark(f"resuming {header.run} ({header.status})")
                return open_run(state, header.run)
            stopped.append(header.run)
    journal = new_run(state, "undo", share, {"of": target.run})
    for run_name in stopped:
        supersede_run(state, run_name, journal.read_header().run)
    return journal
