"""`archipmigrate guide`: the upgrade guide as a checklist for a site."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ..check.question import Question
from ..check.site import Site, find_site
from ..config.files import CONFIG, V03
from ..errors import UsageError
from ..guide.back import way_back
from ..guide.facts import Node, find_node_site, gather, read_node
from ..guide.page import show_guide
from ..guide.plan import plan
from ..ui.progress import Subject
from ..ui.report import Report
from . import options
from .check import add_site, watch
from .parser import Commands, Parser

DESCRIPTION = """\
Print the upgrade guide as a checklist for this site: the steps that remain, in their
order, node by node, with the commands to copy. It looks at the configurations of this
node and makes a check, as `archipmigrate check` does; it executes nothing and changes
nothing. What is done disappears from the list: run it again after each step.

Where the share is comes from v0.4's configuration; while that is not there, or has
other directories, from v0.3's. With PATH nothing is known of nodes, and only steps
that the share needs are listed.

With objects in RADOS there is no share: nodes are upgraded one after the other, and
v0.4's own tool converts the maps. Where the group is synnefo, or the share is below
/srv/pithos, the steps are those of Synnefo's notes."""
EXAMPLES = """\
  archipmigrate guide --hosts node1,node2
  archipmigrate guide --prelink --hosts node1,node2    with almost no downtime
  archipmigrate guide --group synnefo /srv/pithos/data
  archipmigrate guide --no-walk                        quickly, as if nothing were done

exit status: 0 nothing is left; 1 the check could not be made; 2 usage; 4 steps are
left; 130, 143 interrupted"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "guide", "print what remains of the upgrade", DESCRIPTION, EXAMPLES, run
    )
    add_site(parser)
    parser.add_argument(
        "--v03-config",
        metavar="FILE",
        type=Path,
        default=V03,
        help=f"v0.3's configuration (default: {V03})",
    )
    parser.add_argument("--hosts", metavar="A,B", default="", help="the nodes, by name")
    parser.add_argument(
        "--prelink",
        action="store_true",
        help="the way with almost no downtime: blocks get their second names while v0.3 runs",
    )
    parser.add_argument(
        "--no-walk",
        dest="walk",
        action="store_false",
        help="do not walk the share: everything about it is taken to remain",
    )
    options.add_work(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def run(args: argparse.Namespace) -> int:
    """Print the guide. Raises Error."""
    see = options.verbosity(args)
    hosts = tuple(host for host in args.hosts.split(",") if host)
    if any(host.startswith("-") for host in hosts):
        raise UsageError(f"--hosts {args.hosts}: there is something that is no host")
    node, site = _located(args)
    run_options = options.run_options(args)
    question = None
    if site is not None:
        site = replace(site, state=run_options.state_words)
        question = Question(site, args.walk, False, (), run_options, watch(see))
    with closing(Report(Subject("guide"), replace(see, progress=False))) as report:
        facts = replace(gather(node, question, prelink=args.prelink), hosts=hosts)
        return show_guide(plan(facts), way_back(facts), report)


def _located(args: argparse.Namespace) -> tuple[Node | None, Site | None]:
    """Return the configurations of this node, unless the site is named, and the site."""
    if args.path is not None:
        return None, find_site(args.path, args.config, args.owner, args.group)
    node = read_node(args.config or CONFIG, args.v03_config)
    return node, find_node_site(node, args.owner, args.group)
