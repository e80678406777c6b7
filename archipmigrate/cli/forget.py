"""`archipmigrate forget`: delete the journal of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import UsageError
from ..journal.location import runtime_directory, secure_directory
from ..journal.lock import ShareLock
from ..journal.runs import forget_run, list_runs, open_run
from ..journal.store import RunHeader
from . import options
from .session import shown_command, state_directory

DESCRIPTION = """\
Delete the journal of a run. It cannot be undone or resumed after that; the share
is not touched."""
EXAMPLES = """\
  archipmigrate forget perms-20261122T184054-b931"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "forget", "delete the journal of a run", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument("run_name", metavar="RUN", help="the run")
    parser.add_argument(
        "--force",
        action="store_true",
        help="forget it even if it left volumes half done, or locks, that only its journal knows",
    )
    options.add_state(parser)


def run(args: argparse.Namespace) -> int:
    """Forget a run. Raises Error."""
    state = state_directory(args)
    header = next((h for h in list_runs(state) if h.run == args.run_name), None)
    if header is None:
        raise UsageError(f"no run {args.run_name!r} in {state}")
    if not args.force:
        _refuse_half_done(args, state, header)
    lock = ShareLock(secure_directory(runtime_directory(state)), header.share, header.path)
    try:
        freed = forget_run(state, header.run)
    finally:
        lock.release()
    print(f"{header.run} is forgotten: {freed:,} bytes freed")
    return 0


def _refuse_half_done(args: argparse.Namespace, state: Path, header: RunHeader) -> None:
    """Refuse a run over mapfiles, or an undo of one, that may have left something. Raises Error."""
    of = str(header.settings.get("of", ""))
    if not (header.job == "mapfiles" or of.startswith("mapfiles-")):
        return
    journal = open_run(state, header.run)
    try:
        half_done = bool(journal.unsettled())
    finally:
        journal.close(fold=False)
    if half_done or header.is_resumable:
        raise UsageError(
            f"{header.run} ({header.status}) may have left volumes half done, or locks, which only "
            f"its journal knows of: finish it with `{shown_command(args, 'resume', header.run)}`, "
            f"or take it back with `{shown_command(args, 'undo', str(of or header.run))}`; --force "
            "forgets it all the same"
        )
