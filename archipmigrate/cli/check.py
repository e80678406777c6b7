"""`archipmigrate check`: whether a site is ready, for v0.4 and for the jobs."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ..check.page import VOLUMES, show_page
from ..check.question import Question, Watch
from ..check.site import find_site
from ..check.topics import findings
from ..check.volumes import VolumesQuestion, volume_findings
from ..config.files import CONFIG
from ..ui.progress import Subject
from ..ui.report import Report, Verbosity
from . import options, places
from .parser import Commands, Parser

DESCRIPTION = """\
Look at a site, and say on one page what keeps it from v0.4: a line for each topic,
ok, warning or blocker, with what to do. Run it before the first job, and after the
last one, as root, on each node that has the share mounted.

It changes nothing, but for a directory of its own that it makes on the share, gives
to user and group, and removes: an NFS server that squashes root shows in that
(--no-probe leaves it out). Then it walks the share, as relocate -n, mapfiles -n and
verify do (--no-walk leaves that out). A blocker is what a job would fail for, or
what v0.4 would not serve; a warning is to be known or done, but nothing is lost.

--volumes looks at volumes instead, one by one: whether every object of each is
where v0.4 looks for it. --record writes the sha256 of each volume's whole content
into a file, as v0.3 or v0.4 serves it, and --compare holds them against it: record
before the first job, compare after the last one, while no guest writes. They read
all that is stored."""
EXAMPLES = """\
  archipmigrate check                          as archipelago.conf says
  archipmigrate check /srv/archip              blocks, maps and locks are in there
  archipmigrate check --hosts node2,node3      their user and group, too, by ssh
  archipmigrate check --no-walk                only what is quickly found
  archipmigrate check --volumes                every object of every volume
  archipmigrate check --record before.json --pithos-blocks /srv/pithos/data
  archipmigrate check --volumes --compare before.json

exit status: 0 all is ok; 1 the check could not be made; 2 usage; 4 warnings;
5 blockers, volumes that differ or miss among them; 130, 143 interrupted"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "check", "see what keeps a site from v0.4", DESCRIPTION, EXAMPLES, run
    )
    add_site(parser)
    parser.add_argument(
        "--hosts",
        metavar="A,B",
        default="",
        help="nodes whose numbers of user and group are compared with those here, by ssh",
    )
    parser.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="do not make, change and remove a directory on the share",
    )
    parser.add_argument(
        "--no-walk",
        dest="walk",
        action="store_false",
        help="do not walk the share: objects by place, maps by version, permissions and room are "
        "not looked at",
    )
    _add_volumes(parser)
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def _add_volumes(parser: Parser) -> None:
    parser.add_argument(
        "--volumes",
        action="store_true",
        help="look whether every object of every volume is where v0.4 looks, instead of the page",
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="hash the content of all volumes, and write the digests into FILE (JSON)",
    )
    parser.add_argument(
        "--compare",
        metavar="FILE",
        type=Path,
        help="hash the content of all volumes, and compare the digests with those in FILE",
    )
    parser.add_argument(
        "--pithos-blocks",
        metavar="DIR",
        default="",
        help="with --record and --compare: Pithos' own directory of blocks, which v0.3 reads, too",
    )
    places.add_sizes(parser)


def add_site(parser: Parser) -> None:
    """Add the options that say which site is meant, and whose it should be."""
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="the directory with blocks, maps and perhaps locks in it, without a configuration",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"v0.4's configuration (default: {CONFIG})",
    )
    parser.add_argument(
        "--owner",
        metavar="NAME|UID",
        help="the user that v0.4 runs as (default: USER of the configuration; archipelago, if that "
        "is root or there is none)",
    )
    parser.add_argument(
        "--group", metavar="NAME|GID", help="its group (default: GROUP, or as for --owner)"
    )


def run(args: argparse.Namespace) -> int:
    """Check a site. Raises Error."""
    run_options = options.run_options(args)
    site = find_site(args.path, args.config, args.owner, args.group, run_options.state_words)
    see = options.verbosity(args)
    hosts = tuple(host for host in args.hosts.split(",") if host)
    question = Question(site, args.walk, args.probe, hosts, run_options, watch(see))
    with (
        closing(Report(Subject("check"), replace(see, progress=False))) as report,
        places.given_sizes(args) as sizes,
    ):
        if not (args.volumes or args.record or args.compare):
            return show_page(findings(question), report)
        about = VolumesQuestion(
            question, sizes, args.volumes, args.record, args.compare, args.pithos_blocks
        )
        return show_page(volume_findings(about), report, VOLUMES)


def watch(see: Verbosity) -> Watch:
    """Show the progress of walks as other commands do; their results are the page's."""
    return lambda subject: closing(Report(subject, replace(see, json=False)))
