"""`archipmigrate rename`: take the suffix `.v03` off names."""

from __future__ import annotations

import argparse
from contextlib import closing
from functools import partial

from ..rename.kind import KIND, RenameSettings
from ..session.work import begin, dry_run
from ..share import open_share
from ..ui.report import Report
from . import options


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(commands, "rename", "take .v03 off names", "", "", run)
    options.add_share(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="change nothing")
    parser.add_argument("--fresh", action="store_true", help="start over")
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    share, settings = open_share(args.path), RenameSettings()
    with closing(Report(KIND.subject, options.verbosity(args))) as report:
        tell = partial(KIND.tell, report=report, words=options.words(args))
        do = dry_run if args.dry_run else partial(begin, fresh=args.fresh)
        ended = do(KIND, settings, share, options.run_options(args), report, tell)
    return options.exit_status(ended)
