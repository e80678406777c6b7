"""`archipmigrate forget`: delete the journal of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import JournalError, UsageError
from ..jobs.options import RunOptions
from ..jobs.registry import kind_of, undo_target
from ..journal.runs import Unreadable, forget_run, open_run, read_runs
from ..journal.store import RunHeader
from ..session.find import named_run
from ..session.open import locked, state_directory
from ..ui.printer import print_line
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Delete the journal of a run. It cannot be undone or resumed after that; the share
is not touched."""
EXAMPLES = """\
  archipmigrate forget perms-20261122T184054-b931"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "forget", "delete the journal of a run", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument("run_name", metavar="RUN", help="the run")
    parser.add_argument(
        "--force",
        action="store_true",
        help="forget it even if it may have left volumes half done, or locks, that only its "
        "journal knows of, or if its journal cannot be read",
    )
    options.add_state(parser)


def run(args: argparse.Namespace) -> int:
    """Forget a run. Raises Error."""
    run_options = options.run_options(args)
    state = state_directory(run_options)
    for bad in read_runs(state).unreadable:
        if bad.run == args.run_name:
            return _forget_unreadable(state, bad, force=args.force)
    header = named_run(state, args.run_name)
    with locked(state, {header.share: header.path, **header.roots}):
        header = named_run(state, args.run_name)  # which a session may have changed since
        if not args.force:
            _refuse_half_done(state, header, run_options)
        freed = forget_run(state, header.run)
    return _forgotten(header.run, freed)


def _forget_unreadable(state: Path, bad: Unreadable, *, force: bool) -> int:
    if not force:
        raise JournalError(
            f"{bad.why}. Once it is deleted, nothing can put back what it holds: --force forgets "
            "it all the same"
        )
    with locked(state, {bad.share: bad.share} if bad.share else {}):
        return _forgotten(bad.run, forget_run(state, bad.run))


def _forgotten(run: str, freed: int) -> int:
    print_line(f"{run} is forgotten: {freed:,} bytes freed")
    return 0


def _refuse_half_done(state: Path, header: RunHeader, run_options: RunOptions) -> None:
    """Refuse a run that may have left something that only its journal knows of. Raises Error."""
    kind = kind_of(header)
    leaves_behind = kind.leaves_behind
    if not leaves_behind:
        return
    journal = open_run(state, header.run)
    try:
        half_done = bool(journal.unsettled()) or (not header.undone and kind.rests(journal))
    finally:
        journal.close(fold=False)
    if half_done or header.is_resumable:
        target = undo_target(header) or header.run
        raise UsageError(
            f"{header.run} ({header.status}) may have left {leaves_behind}, which only its journal "
            f"knows of: finish it with `{run_options.command('resume', header.run)}`, or take it "
            f"back with `{run_options.command('undo', target)}`; --force forgets it all the same"
        )
