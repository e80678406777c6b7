"""`archipmigrate perms`: give a share to a group."""

from __future__ import annotations

import argparse
from contextlib import closing
from functools import partial

from ..check.before import check_before
from ..jobs.kind import JobKind
from ..perms.kind import KIND
from ..perms.settings import (
    PermsSettings,
    read_excludes,
    read_mode,
    resolve_group,
    resolve_user,
)
from ..policy import NO_ID
from ..session.work import begin, dry_run
from ..share import Share, open_share
from ..share.url import domain_of
from ..ui.report import Report
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Give every directory and regular file below PATH to a group: directories get the
group and g+rwxs, files the group and g+rw, as the upgrade guide's find commands
would leave them. With --owner they get that owner, too; with --mode what it says
in place of these modes. Symbolic links and special files are left alone.

What complies already is not touched. Every change is written to a journal first:
repeat the command to continue an interrupted run, and `archipmigrate undo` puts
everything back."""
EXAMPLES = """\
  archipmigrate perms -n --list /srv/archip      what would change
  archipmigrate perms /srv/archip                change it
  archipmigrate perms --group synnefo /srv/pithos/data
  archipmigrate perms --owner archipelago --group synnefo /srv/pithos/data
  archipmigrate perms --mode 'd:g=rwxs,o= f:g=u,o=' --group staff /srv/data
  archipmigrate perms --hard-links skip /srv/archip

exit status: 0 done; 1 stopped (resumable); 2 usage; 3 done, with failures;
11 another run holds the share; 130, 143 interrupted after a checkpoint"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "perms", "give a share to a group", DESCRIPTION, EXAMPLES, run
    )
    options.add_share(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; count what would change"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_policy(parser)
    options.add_no_check(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=True)


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    settings, share = settings_and_share(args, KIND)
    if args.dry_run:
        return scan_only(args, KIND, settings, share)
    run_options = options.run_options(args)
    if args.check_before:
        check_before(KIND, share, run_options, v03_may_run=True)
    with closing(Report(KIND.subject, options.verbosity(args), KIND.decode)) as report:
        tell = partial(KIND.tell, report=report, words=options.words(args))
        ended = begin(KIND, settings, share, run_options, report, tell, fresh=args.fresh)
    return options.exit_status(ended)


def settings_and_share(
    args: argparse.Namespace, kind: JobKind[PermsSettings]
) -> tuple[PermsSettings, Share]:
    """Return the settings that the options ask for, and the share, open. Raises Error."""
    settings = PermsSettings(
        resolve_group(args.group),
        read_excludes(args.exclude),
        args.hard_links == "skip",
        args.cross_filesystems,
        domain_of(args.path, args.nfs4_domain),
        snapshots=not args.no_default_excludes,
        uid=NO_ID if args.owner is None else resolve_user(args.owner),
        mode=read_mode(args.mode),
    )
    share = open_share(args.path, remote=kind.past_mount, domain=args.nfs4_domain)
    kind.check_backend(args.backend, share)
    return settings, share


def scan_only(
    args: argparse.Namespace,
    kind: JobKind[PermsSettings],
    settings: PermsSettings,
    share: Share,
) -> int:
    """Change nothing: the dry run, and `verify`. Raises Error."""
    with closing(Report(kind.subject, options.verbosity(args), kind.decode)) as report:
        tell = partial(kind.tell, report=report, words=options.words(args))
        ended = dry_run(kind, settings, share, options.run_options(args), report, tell)
    return options.exit_status(ended)
