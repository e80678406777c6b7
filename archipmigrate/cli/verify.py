"""`archipmigrate verify`: check whether a share is as `perms` would leave it."""

from __future__ import annotations

import argparse

from ..perms.kind import VERIFY
from . import options, perms
from .parser import Commands, Parser

DESCRIPTION = """\
Look at every entry below PATH and count those that are not as `archipmigrate perms`
with the same options would leave them; --list names them. Nothing is changed."""
EXAMPLES = """\
  archipmigrate verify /srv/archip
  archipmigrate verify --list --json /srv/archip
  archipmigrate verify --owner archipelago --group synnefo /srv/pithos/data

exit status: 0 all comply; 3 some entries could not be read; 4 some do not comply"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "verify", "check whether a share complies", DESCRIPTION, EXAMPLES, run
    )
    options.add_share(parser)
    options.add_policy(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=True)


def run(args: argparse.Namespace) -> int:
    """Verify a share. Raises Error."""
    settings, share = perms.settings_and_share(args, VERIFY)
    return perms.scan_only(args, VERIFY, settings, share)
