"""`archipmigrate undo`: put back what a run changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing

from ..errors import FatalError, UsageError
from ..jobs.ended import Ended
from ..jobs.registry import PRUNE, RELOCATE, UNDO, is_of, kind_named, kind_of
from ..journal.store import RunHeader
from ..session.find import undoable_run
from ..session.open import open_earlier_share, state_directory
from ..session.work import begin, undo
from ..ui.progress import Subject
from ..ui.report import Report
from ..ui.summary import undo_summary
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Put back what a run of `archipmigrate perms`, `mapfiles`, `relocate` or `locks`
changed: mode, owner and group of every entry, the old maps of every volume, the
place of every object, or the locks, if all is still as the run left it. What somebody
else has changed since is left alone, and reported. Works on interrupted runs too, and
may be repeated.

Files do not get set-uid and set-gid bits back, unless --restore-set-id asks for
that: they are listed with the mode that they had. File capabilities cannot be put
back."""
EXAMPLES = """\
  archipmigrate undo                                  the latest run
  archipmigrate undo perms-20261122T184054-b931
  archipmigrate undo perms-20261122T184054-b931 --restore-set-id

exit status: 0 everything is back; 1 stopped; 3 some entries were left as they are,
or not found; 11, 130, 143 as perms"""


def add_parser(commands: Commands[Parser]) -> None:
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
    parser.add_argument(
        "--restore-set-id",
        action="store_true",
        help="last of all give files the set-uid and set-gid bits back that they had: on ext4, xfs "
        "and btrfs, if nobody has written to the file since the run began, or has it open for "
        "writing; also after an undo without this option",
    )
    options.add_prune(parser, "after the undo of relocate, ")
    parser.add_argument(
        "--v03-stopped", action="store_true", help="v0.3 is stopped on all nodes, for --prune"
    )
    options.add_places_now(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def run(args: argparse.Namespace) -> int:
    """Undo a run. Raises Error."""
    run_options = options.run_options(args)
    state = state_directory(run_options)
    target = undoable_run(state, args.run_name)
    if args.prune:
        _check_prune(target, args)
    with closing(Report(Subject(UNDO, kind_of(target).noun), options.verbosity(args))) as report:
        ended = undo_and_tell(
            args,
            target,
            report,
            lambda: undoable_run(state, args.run_name).run == target.run,
            prunes=args.prune,
        )
    if ended is None:
        raise FatalError(
            f"{target.run} is not the latest run to undo any more: another session came first; "
            "see `archipmigrate status`"
        )
    if args.prune and ended.status in ("done", "failures"):
        return options.exit_status(ended) or _prune(args, target)
    return options.exit_status(ended)


def _check_prune(target: RunHeader, args: argparse.Namespace) -> None:
    """Check that directories may be removed after an undo of *target*. Raises UsageError."""
    if not is_of(target, kind_named(RELOCATE)):
        raise UsageError(f"--prune goes with the undo of a run of relocate: {target.run} is none")
    options.check_both_stopped(args)


def _prune(args: argparse.Namespace, target: RunHeader) -> int:
    """Remove the empty directories that the undo of *target* leaves. Raises Error."""
    run_options, kind = options.run_options(args), kind_named(PRUNE)
    share = open_earlier_share(target, run_options)
    with closing(Report(kind.subject, options.verbosity(args), kind.decode)) as report:
        words = options.words(args)

        def tell(ended: Ended) -> None:
            kind.tell(ended, report, words)

        settings = kind.settings(target.settings)
        return options.exit_status(begin(kind, settings, share, run_options, report, tell))


def undo_and_tell(
    args: argparse.Namespace,
    target: RunHeader,
    report: Report,
    is_meant: Callable[[], bool],
    *,
    prunes: bool = False,
) -> Ended | None:
    """Undo the run *target* and print the summary. Return None as `undo` does. Raises Error.

    *prunes* says that what it leaves in the share is removed next.
    """
    run_options = options.run_options(args)
    kind = kind_of(target)

    def tell(ended: Ended) -> None:
        facts = ended.facts(runs=run_options.state_words)
        thing = ended.summary_object(undone=target.run)
        lines = undo_summary(facts, target.run, kind.noun)
        left = kind.left_by_undo(target, run_options)
        if left and facts.status in ("done", "failures") and not prunes:
            lines.append(left)
        report.summary(lines, thing, ended.reason)

    return undo(target, run_options, report, tell, is_meant=is_meant)
