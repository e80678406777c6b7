"""`archipmigrate relocate`: every object to where v0.4 looks for it."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..check.before import check_before
from ..config.files import CONFIG
from ..errors import FatalError, UsageError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind
from ..relocate.diverged_kind import KIND as MERGE
from ..relocate.kind import KIND
from ..relocate.locate import Places, locate_objects
from ..relocate.prune_kind import KIND as PRUNE
from ..relocate.report import at_old_places
from ..relocate.room import is_refusal
from ..relocate.settings import RelocateSettings
from ..relocate.tables import refusal_of
from ..session.work import begin, dry_run
from ..share import open_share
from ..share.daemons import check_stopped
from ..ui.report import Report
from ..ui.text import count
from . import options, prelink
from .parser import Commands, Parser

DESCRIPTION = """\
Move every block and every map from where v0.3 put it to where v0.4 looks for it, in
the same directories: v0.4 finds nothing of what v0.3 wrote, and the first write of
a guest hides the old data. Do this before perms and mapfiles.

v0.3 must be stopped on all nodes, and --v03-stopped says that it is: one that still
runs would serve zeros for what was moved, and make second objects. Objects keep
their inode, owner and mode; each has its old or its new name at every instant,
also after a power cut. Nothing is ever replaced.

With --prelink there is almost no downtime. Blocks get their second names while v0.3
runs; with --v03-stopped what it has changed since is seen to, and maps are copied and
moved: the milestone `linked`, after which perms runs and v0.4 may start. --drop-old
removes the old names while v0.4 runs, --back goes back to v0.3.

What is not moved is listed, with what to do: placeholders, locks, strays, names
that v0.4 cannot open, foreign files; and, with exit status 3, conflicts (the old
and the new place differ), what leads outside, and objects that a map names and
that are nowhere. `archipmigrate undo` moves back what is still as it was left.

What a rename does not reach, on another filesystem or mount, is refused with the
bytes that must be copied; --copy copies, compares, and then removes the original.
Pithos' own trees, where v0.3 looks first, are copied to where v0.4 looks."""
EXAMPLES = """\
  archipmigrate relocate -n                       what would be done
  archipmigrate relocate --v03-stopped            do it, as archipelago.conf says
  archipmigrate relocate --v03-stopped --blocks /srv/archip/blocks --maps /srv/archip/maps
  archipmigrate relocate --v03-stopped --pithos-blocks /srv/pithos/data
                                                  also what lies in Pithos' own tree
  archipmigrate relocate --v03-stopped --copy     also to other filesystems
  archipmigrate relocate --prune --v03-stopped --v04-stopped
                                                  remove empty directories, any time later
  archipmigrate relocate --merge-diverged VOLUME --v03-stopped --v04-stopped
                                                  v0.4 was started too early, and guests wrote

  archipmigrate relocate --prelink                while v0.3 runs; again, whenever you like
  archipmigrate relocate --prelink --v03-stopped  in the downtime; then perms, then v0.4
  archipmigrate relocate --drop-old               while v0.4 runs
  archipmigrate relocate --back --v04-stopped     back to v0.3

exit status: 0 v0.4 finds all that v0.3 served; 1 stopped (resumable), or refused;
2 usage, or it needs --copy; 3 conflicts, missing objects or failures; 11 another run holds the
directories; 130, 143 interrupted"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "relocate", "move objects to where v0.4 looks", DESCRIPTION, EXAMPLES, run
    )
    _add_places(parser)
    _add_pithos(parser)
    options.add_copy(parser, "")
    prelink.add_phases(parser)
    parser.add_argument(
        "--v03-stopped",
        action="store_true",
        help="v0.3 is stopped on all nodes: without this, nothing is moved",
    )
    options.add_prune(parser, "instead of moving anything: ")
    parser.add_argument(
        "--merge-diverged",
        metavar="VOLUME",
        help="instead of moving anything: of each object of VOLUME that v0.4 made a second time, "
        "lay the data of the newer file over a copy of the older; both originals are kept; needs "
        "--v03-stopped and --v04-stopped",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; show what would be moved"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_no_check(parser)
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def _add_places(parser: Parser) -> None:
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


def _add_pithos(parser: Parser) -> None:
    parser.add_argument(
        "--pithos-blocks",
        metavar="DIR",
        help="Pithos' own tree of blocks (PITHOS of v0.3): what is in it is copied below the "
        "blocks, where v0.4 looks; Pithos still reads the originals",
    )
    parser.add_argument(
        "--pithos-maps", metavar="DIR", help="the same for maps (PITHOSMAPS of v0.3)"
    )
    parser.add_argument(
        "--remove-source",
        action="store_true",
        help="move what is in Pithos' own trees; Pithos must read the blocker's directories then",
    )
    parser.add_argument(
        "--pithos-migrate",
        action="store_true",
        help="move objects of Pithos as v0.4 does with pithos_migrate, all at once",
    )


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    if prelink.is_asked(args):
        return prelink.run(args, _places(args), _options_same_share(args))
    places = _places(args)
    blocks, settings = locate_objects(places)
    if args.prune:
        return _other(PRUNE, args, blocks, PRUNE.settings(settings.as_dict()))
    if args.merge_diverged is not None:
        settings = replace(settings, diverged=args.merge_diverged)
        return _other(MERGE, args, blocks, settings)
    moves = args.v03_stopped and not args.dry_run
    share, run_options = open_share(blocks), options.run_options(args)
    KIND.check_backend(args.backend, share)
    if moves:
        if args.check_before:
            check_before(KIND, share, run_options, more=[settings.maps])
        check_stopped()
    waiting, refusal = 0, ""
    subject = KIND.subject if moves else KIND.subject.in_dry_run()
    with closing(Report(subject, options.verbosity(args), KIND.decode)) as report:
        words = options.words(args, _options_same_share(args))

        def tell(ended: Ended) -> None:
            nonlocal waiting, refusal
            KIND.tell(ended, report, words)
            refusal = refusal_of(ended.journal)
            waiting = at_old_places(ended.journal)

        do = partial(begin, fresh=args.fresh) if moves else dry_run
        ended = do(KIND, settings, share, run_options, report, tell)
    if waiting and not moves and not args.dry_run:
        raise FatalError(
            f"{count(waiting, 'object')} where only v0.3 looks; nothing was touched: stop v0.3 on "
            "all nodes, then repeat this with --v03-stopped"
        )
    must_copy = is_refusal(refusal or ended.reason)
    return UsageError.exit_status if must_copy else options.exit_status(ended)


def _other(
    kind: JobKind[RelocateSettings],
    args: argparse.Namespace,
    blocks: str,
    settings: RelocateSettings,
) -> int:
    """Do another job about the same directories, while neither version runs. Raises Error."""
    if not args.dry_run:
        options.check_both_stopped(args)
    share, run_options = open_share(blocks), options.run_options(args)
    subject = kind.subject.in_dry_run() if args.dry_run else kind.subject
    with closing(Report(subject, options.verbosity(args), kind.decode)) as report:
        words = options.words(args, _options_same_share(args))
        do = dry_run if args.dry_run else partial(begin, fresh=args.fresh)
        return options.exit_status(
            do(kind, settings, share, run_options, report, lambda e: kind.tell(e, report, words))
        )


def _places(args: argparse.Namespace) -> Places:
    return Places(
        args.config,
        args.blocks,
        args.maps,
        args.owner,
        args.group,
        args.umask,
        args.pithos_blocks,
        args.pithos_maps,
        args.remove_source,
        args.pithos_migrate,
    )


def _options_same_share(args: argparse.Namespace) -> list[str]:
    given = {
        "--config": args.config,
        "--blocks": args.blocks,
        "--maps": args.maps,
        "--owner": args.owner,
        "--group": args.group,
        "--pithos-blocks": args.pithos_blocks,
        "--pithos-maps": args.pithos_maps,
        "--umask": None if args.umask is None else f"{args.umask:03o}",
    }
    words = [
        word for key, value in given.items() if value is not None for word in (key, str(value))
    ]
    flags = {
        "--remove-source": args.remove_source,
        "--pithos-migrate": args.pithos_migrate,
        "--copy": args.copy,
    }
    return [*words, *(flag for flag, is_set in flags.items() if is_set)]
