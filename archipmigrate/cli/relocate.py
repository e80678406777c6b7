"""`archipmigrate relocate`: every object to where v0.4 looks for it."""

from __future__ import annotations

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path

from ..errors import FatalError
from ..jobs.ended import Ended
from ..maps.locate import CONFIG
from ..relocate.daemons import check_stopped
from ..relocate.kind import KIND
from ..relocate.locate import Places, locate_objects
from ..relocate.report import at_old_places
from ..session.work import begin, dry_run
from ..share import open_share
from ..ui.report import Report
from ..ui.text import count
from . import options

DESCRIPTION = """\
Move every block and every map from where v0.3 put it to where v0.4 looks for it, in
the same directories: v0.4 finds nothing of what v0.3 wrote, and the first write of
a guest hides the old data. Do this before perms and mapfiles.

v0.3 must be stopped on all nodes, and --v03-stopped says that it is: one that still
runs would serve zeros for what was moved, and make second objects. Objects keep
their inode, owner and mode; each has its old or its new name at every instant,
also after a power cut. Nothing is ever replaced.

What is not moved is listed, with what to do: placeholders, locks, strays, names
that v0.4 cannot open, foreign files; and, with exit status 3, conflicts (the old
and the new place differ), what leads outside, and objects that a map names and
that are nowhere. `archipmigrate undo` moves everything back."""
EXAMPLES = """\
  archipmigrate relocate -n                       what would be done
  archipmigrate relocate --v03-stopped            do it, as archipelago.conf says
  archipmigrate relocate --v03-stopped --blocks /srv/archip/blocks --maps /srv/archip/maps

exit status: 0 v0.4 finds all that v0.3 served; 1 stopped (resumable), or refused;
2 usage; 3 conflicts, missing objects or failures; 11 another run holds the
directories; 130, 143 interrupted"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "relocate", "move objects to where v0.4 looks", DESCRIPTION, EXAMPLES, run
    )
    _add_places(parser)
    parser.add_argument(
        "--v03-stopped",
        action="store_true",
        help="v0.3 is stopped on all nodes: without this, nothing is moved",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; show what would be moved"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def _add_places(parser: options.Parser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="v0.4's configuration: archip_dir and umask of [blockerb] and [blockerm], USER and "
        f"GROUP (default: {CONFIG})",
    )
    parser.add_argument("--blocks", metavar="DIR", help="the blocks, without a configuration")
    parser.add_argument("--maps", metavar="DIR", help="the maps, without a configuration")
    parser.add_argument(
        "--owner",
        metavar="NAME|UID",
        help="who new directories belong to (default: USER of the configuration; without one, the "
        "owner of the directory that they are in)",
    )
    parser.add_argument(
        "--group",
        metavar="NAME|GID",
        help="the group of new directories (default: GROUP, or as for --owner)",
    )
    parser.add_argument(
        "--umask",
        metavar="OCTAL",
        type=options.umask,
        help="new directories have mode 2777 less these bits (default: those of the configuration, "
        "or 007)",
    )


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    places = Places(args.config, args.blocks, args.maps, args.owner, args.group, args.umask)
    blocks, settings = locate_objects(places)
    moves = args.v03_stopped and not args.dry_run
    if moves:
        check_stopped()
    share = open_share(blocks)
    KIND.check_backend(args.backend, share)
    run_options, waiting = options.run_options(args), 0
    with closing(Report(KIND.subject, options.verbosity(args), KIND.decode)) as report:
        words = options.words(args, _options_same_share(args))

        def tell(ended: Ended) -> None:
            nonlocal waiting
            KIND.tell(ended, report, words)
            waiting = at_old_places(ended.journal)

        do = partial(begin, fresh=args.fresh) if moves else dry_run
        ended = do(KIND, settings, share, run_options, report, tell)
    if waiting and not moves and not args.dry_run:
        raise FatalError(
            f"{count(waiting, 'object')} where only v0.3 looks; nothing was touched: stop v0.3 on "
            "all nodes, then repeat this with --v03-stopped"
        )
    return options.exit_status(ended)


def _options_same_share(args: argparse.Namespace) -> list[str]:
    given = {
        "--config": args.config,
        "--blocks": args.blocks,
        "--maps": args.maps,
        "--owner": args.owner,
        "--group": args.group,
        "--umask": None if args.umask is None else f"{args.umask:03o}",
    }
    return [word for key, value in given.items() if value is not None for word in (key, str(value))]
