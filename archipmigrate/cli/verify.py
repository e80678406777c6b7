"""`archipmigrate verify`: see whether a share is as `perms` would leave it."""

from __future__ import annotations

import argparse

from ..share import open_share
from . import options, perms

DESCRIPTION = """\
Look at every entry below PATH and count those that are not as `archipmigrate perms`
with the same options would leave them; --list names them. Nothing is changed."""
EXAMPLES = """\
  archipmigrate verify /srv/archip
  archipmigrate verify --list --json /srv/archip

exit status: 0 all comply; 3 some entries could not be looked at; 4 some do not comply"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "verify", "see whether a share complies", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "path", metavar="PATH", help="the share: /srv/archip or nfs://server/srv/archip"
    )
    options.add_policy(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=True)


def run(args: argparse.Namespace) -> int:
    """Look. Raises Error."""
    share = open_share(args.path, remote=True, domain=args.nfs4_domain)
    return perms.look(args, share, perms.settings_of(args), "verify")
