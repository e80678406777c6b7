"""`archipmigrate mapfiles`: every volume's mapfile to v2."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from functools import partial

from ..check.before import check_before
from ..maps.format.codec import codec_of
from ..maps.kind import KIND
from ..maps.locate import check_no_locks_beside, locate_maps
from ..session.work import begin, dry_run
from ..share import open_share
from ..ui.report import Report
from . import options, places, show
from .parser import Commands, Parser

DESCRIPTION = """\
Bring every volume's mapfile to the format of v0.4 (v2): v1 maps, with or without
the prefix archip_, where v0.4 or v0.3 put them; v0 maps of Pithos, given their
sizes; renames that were cut off. Each map is locked as the blocker locks it,
checked, written anew and read back, and only then the old one is removed. At every
instant v0.4 finds either the complete old or the complete new map.

What cannot be upgraded safely is left alone and reported: invalid, shadowed,
conflict, leftover, locked or misplaced (its objects lie where v0.3 put them, and
v0.4 could read none of them), with the reason. The old maps are kept in the state
directory, and `archipmigrate undo` puts them back."""
EXAMPLES = """\
  archipmigrate mapfiles -n                       what would be done
  archipmigrate mapfiles                          do it, as archipelago.conf says
  archipmigrate mapfiles --maps /srv/archip/maps --locks /srv/archip/locks
  archipmigrate mapfiles --v03-stopped            locks that v0.3 left hold nothing
  archipmigrate mapfiles --sizes sizes.csv        v0 maps, too: lines of mapfile,size
  archipmigrate mapfiles show VOLUME              the header of one map; -v its entries

exit status: 0 every volume is upgraded or current; 1 stopped (resumable); 2 usage;
3 some volumes are neither; 11 another run holds the share; 130, 143 interrupted"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "mapfiles", "bring mapfiles to v2", DESCRIPTION, EXAMPLES, run
    )
    places.add_place(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; show what each would become"
    )
    parser.add_argument(
        "--survey",
        dest="dry_run",
        action="store_true",
        help="only look at what there is (the same as --dry-run)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="also read the blocks of maps that are v2 already, and check that they can be opened; "
        "look for every object of each volume, not only for some of those to be upgraded",
    )
    parser.add_argument(
        "--v03-stopped",
        action="store_true",
        help="v0.3 is stopped on all nodes: the locks that it left beside its maps (it never "
        "releases one) hold nothing",
    )
    places.add_sizes(parser)
    parser.add_argument(
        "--no-keep",
        dest="keep",
        action="store_false",
        help="keep no old maps: saves space in the state directory, but rules out an undo",
    )
    options.add_log_dir(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_no_check(parser)
    options.add_jobs(parser)
    options.add_backend(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)
    show.add_parser(parser)


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    codec_of(args.backend)
    maps, settings = locate_maps(args.config, args.maps, args.locks, args.blocks)
    if args.maps is not None and not args.locks:
        check_no_locks_beside(maps)
    run_options = options.run_options(args)
    with options.log_directory(args) as logs, places.given_sizes(args) as sizes:
        words = options.words(args, places.options_same_share(args), logs)
        share = open_share(maps)
        settings = replace(
            settings, check=args.check, keep=args.keep, v03_stopped=args.v03_stopped
        ).with_sizes(sizes)
        if args.check_before and not args.dry_run:
            check_before(KIND, share, run_options)
        subject = KIND.subject.in_dry_run() if args.dry_run else KIND.subject
        with closing(Report(subject, options.verbosity(args), KIND.decode)) as report:
            tell = partial(KIND.tell, report=report, words=words)
            if args.dry_run:
                ended = dry_run(KIND, settings, share, run_options, report, tell)
            else:
                ended = begin(KIND, settings, share, run_options, report, tell, fresh=args.fresh)
    return options.exit_status(ended)
