"""`archipmigrate resume`: continue a run that was cut off."""

from __future__ import annotations

import argparse
from contextlib import closing

from ..errors import UsageError
from ..jobs.ended import Ended
from ..jobs.registry import UNDO, kind_of, undo_target
from ..journal.store import RunHeader
from ..session.find import can_resume, named_run, resumable_run, undoable_run
from ..session.open import state_directory
from ..session.work import resume
from ..ui.progress import Subject
from ..ui.report import Report
from . import options, undo
from .parser import Commands, Parser

DESCRIPTION = """\
Continue a run that was interrupted, stopped or killed; with --failed also try its
failures again. What it changes was decided by the options that it began with."""
EXAMPLES = """\
  archipmigrate resume                                the latest unfinished run
  archipmigrate resume --failed                       the latest run with failures
  archipmigrate resume perms-20261122T184054-b931 --path /mnt/archip

exit status: that of the command that began the run"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "resume", "continue a run that was cut off", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="the run (default: the latest unfinished one)"
    )
    parser.add_argument(
        "--failed", action="store_true", help="also try the failures of the run again"
    )
    options.add_places_now(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_log_dir(parser, "for a run of mapfiles: ")
    options.add_copy(parser, "for a run of relocate: ")
    options.add_output(parser, lists=True)


def run(args: argparse.Namespace) -> int:
    """Resume a run. Raises Error."""
    run_options = options.run_options(args)
    state = state_directory(run_options)
    header = resumable_run(state, args.run_name, failed=args.failed)
    kind, target = kind_of(header), undo_target(header)
    needed: list[str] = []
    subject, decode = (Subject(UNDO, kind.noun), None) if target else (kind.subject, kind.decode)
    with (
        options.log_directory(args) as logs,
        closing(Report(subject, options.verbosity(args), decode)) as report,
    ):
        if not can_resume(header, failed=args.failed):
            return _nothing_left(header, report)
        if target:
            ended = undo.undo_and_tell(
                args,
                undoable_run(state, target),
                report,
                lambda: can_resume(named_run(state, header.run), failed=args.failed),
            )
        else:

            def tell(ended: Ended) -> None:
                kind.tell(ended, report, options.words(args, logs=logs))
                needed.extend(kind.needed(ended.journal))

            ended = resume(header, run_options, report, tell, failed=args.failed)
        if ended is None:
            return _nothing_left(named_run(state, header.run), report)
        if needed and ended.status == "stopped":
            return UsageError.exit_status
        return options.exit_status(ended)


def _nothing_left(header: RunHeader, report: Report) -> int:
    standing = f"undone by {header.undone}" if header.undone else header.status
    report.remark(f"{header.run} has nothing left to do ({standing})")
    return 0
