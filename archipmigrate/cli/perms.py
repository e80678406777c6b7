"""`archipmigrate perms`: give a share to a group."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ..check.before import check_before
from ..errors import UsageError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind
from ..journal.location import check_outside
from ..perms.kind import KIND
from ..perms.plan import PlanHeader, PlanWriter
from ..perms.settings import (
    PermsSettings,
    read_excludes,
    read_mode,
    resolve_group,
    resolve_user,
)
from ..perms.transitions import Transitions
from ..policy import NO_ID
from ..session.work import begin, dry_run
from ..share import Share, open_share
from ..share.url import domain_of
from ..ui.report import Report
from ..ui.text import command_line
from . import options
from .parser import Commands, Parser

COMPLETE = ("done", "failures")  # how a dry run ends that has seen every entry
DESCRIPTION = """\
Give every directory and regular file below PATH to a group: directories get the
group and g+rwxs, files the group and g+rw, as the upgrade guide's find commands
would leave them. With --owner they get that owner, too; with --mode what it says
in place of these modes. Symbolic links and special files are left alone.

What complies already is not touched. Every change is written to a journal first:
repeat the command to continue an interrupted run; `archipmigrate undo` puts back
what nobody else has changed since."""
EXAMPLES = """\
  archipmigrate perms -n --list /srv/archip      what would change
  archipmigrate perms -n --save FILE --by-dir 1 --exit-code /srv/archip
  archipmigrate perms /srv/archip                change it
  archipmigrate perms --group synnefo /srv/pithos/data
  archipmigrate perms --owner archipelago --group synnefo /srv/pithos/data
  archipmigrate perms --mode 'd:g=rwxs,o= f:g=u,o=' --group staff /srv/data
  archipmigrate perms --hard-links skip /srv/archip

exit status: 0 done; 1 stopped (resumable); 2 usage; 3 done, with failures;
4 something would change (-n --exit-code); 11 another run holds the share;
130, 143 interrupted after a checkpoint"""


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
        "--save",
        metavar="FILE",
        type=Path,
        help="with -n: keep what would change in FILE, and print a table of it (see `plan show`)",
    )
    options.add_by_dir(parser)
    parser.add_argument(
        "--exit-code", action="store_true", help="with -n: exit status 4 if anything would change"
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
        return dry_run_only(args, settings, share)
    if args.save or args.by_dir or args.exit_code:
        raise UsageError("--save, --by-dir and --exit-code go with -n")
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


def dry_run_only(args: argparse.Namespace, settings: PermsSettings, share: Share) -> int:
    """Say what would change; keep it, and count it by kind and place, if asked. Raises Error."""
    if args.save and share.fd >= 0:
        check_outside(args.save.absolute().parent, share.fd, "the share", "--save")
    found = Transitions(args.by_dir)
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(closing(_plan(args, settings, share))) if args.save else None

        def add(preimage: bytes) -> None:
            changes = KIND.decode(preimage, None)
            for change in changes:
                found.add(change)
            if plan:
                plan.add(preimage, len(changes))

        def ending(ended: Ended, report: Report) -> None:
            if ended.status not in COMPLETE:
                if plan:
                    report.remark(f"{args.save} is not saved: not all of the share was seen")
                return
            if args.save or args.by_dir:
                found.show(report, kinds=plan is not None)
            if plan:
                plan.finish()
                show = command_line(["archipmigrate", "plan", "show", str(args.save)])
                report.remark(f"saved; show it with: {show}")

        listens = args.save or args.by_dir
        return scan_only(args, KIND, settings, share, add if listens else None, ending)


def _plan(args: argparse.Namespace, settings: PermsSettings, share: Share) -> PlanWriter:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    path = os.fsdecode(share.path)
    return PlanWriter(args.save, PlanHeader(share.identity, path, created, settings.as_dict()))


def scan_only(
    args: argparse.Namespace,
    kind: JobKind[PermsSettings],
    settings: PermsSettings,
    share: Share,
    also: Callable[[bytes], None] | None = None,
    ending: Callable[[Ended, Report], None] = lambda _ended, _report: None,
) -> int:
    """Change nothing: the dry run, and `verify`. Raises Error.

    *also* is given the changes of each unit; *ending* is called before the summary.
    """
    subject = kind.subject.in_dry_run()
    with closing(Report(subject, options.verbosity(args), kind.decode)) as report:
        report.also = also

        def tell(ended: Ended) -> None:
            ending(ended, report)
            kind.tell(ended, report, options.words(args))

        ended = dry_run(kind, settings, share, options.run_options(args), report, tell)
    if getattr(args, "exit_code", False) and ended.status == "done" and ended.tally.changed:
        return options.EXIT["drift"]
    return options.exit_status(ended)
