"""`archipmigrate undo`: put back what a run changed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..backend.select import demand_backend
from ..engine.loop import run_loop
from ..engine.settle import settle_run
from ..jobs.undo import UndoJob
from ..journal.runs import list_runs, new_run, open_run, supersede_run
from ..journal.store import Journal, RunHeader
from ..share import Share
from ..ui.report import Report
from ..ui.summary import undo_summary
from . import options
from .perms import Settings
from .session import (
    Session,
    choose_backend,
    exit_status,
    facts_of,
    find_run,
    locked,
    share_of,
    state_directory,
    state_option,
    summary_object,
)

DESCRIPTION = """\
Put back mode and group of every entry that a run of `archipmigrate perms` changed,
if it is still as the run left it: what somebody else changed since stays, and is
reported. Works on interrupted runs too, and may be repeated.

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
    parser.add_argument("run_name", metavar="RUN", nargs="?", help="the run (default: the latest)")
    add_path(parser)
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def add_path(parser: options.Parser) -> None:
    """Add --path."""
    parser.add_argument(
        "--path", metavar="PATH", help="where the share is mounted now, if no longer where it was"
    )


def run(args: argparse.Namespace) -> int:
    """Undo a run. Raises Error."""
    state = state_directory(args)
    target = find_run(state, args.run_name, ("perms",), "not undone")
    return undo(args, state, target)


def undo(args: argparse.Namespace, state: Path, target: RunHeader) -> int:
    """Undo the run *target*, or go on with an undo of it that was cut off. Raises Error."""
    demand_backend(args.backend)
    share = share_of(target, args.path)
    state_directory(args, share)
    report = Report("undo", options.verbosity(args))
    with locked(state, share) as lock:
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
        backend, lanes = choose_backend(self.args, self.share)
        self.header.backend = backend.name
        before = target.read_header()
        forward = Settings.from_dict(before.settings).job(backend, self.share, "perms", acts=True)
        target.check()
        run_loop(settle_run, forward, target, lanes.jobs)
        before.undone = self.header.run
        target.commit([lambda journal: journal.write_header(before)])
        session = Session(self.share, backend, self.journal, self.header, lanes, self.report)
        result, tally, seconds = session.run(UndoJob(backend, target))
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
        self.report.summary(undo_summary(facts), thing, facts.reason)
        return exit_status(result, status)


def _find_or_make(state: Path, share: Share, target: RunHeader, report: Report) -> Journal:
    """Return the journal of the undo to go on with, or of a new one.

    One that was stopped, because nothing worked, is begun again: what is back already stays.
    """
    stopped = []
    for header in list_runs(state):
        if header.job == "undo" and header.is_unfinished and header.settings["of"] == target.run:
            if header.status != "stopped":
                report.remark(f"resuming {header.run} ({header.status})")
                return open_run(state, header.run)
            stopped.append(header.run)
    journal = new_run(state, "undo", share, {"of": target.run})
    for run_name in stopped:
        supersede_run(state, run_name, journal.read_header().run)
    return journal
