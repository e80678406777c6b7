"""`archipmigrate locks`: list the locks of maps, remove those that nobody can hold any more."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..check.before import check_before
from ..config.files import CONFIG
from ..errors import FatalError, UsageError
from ..jobs.ended import Ended
from ..locks.adopt import Adoption, adopt
from ..locks.kind import KIND
from ..locks.locate import locate_adopted, locate_locks
from ..locks.settings import Action, LocksSettings
from ..session.work import begin, dry_run
from ..share import open_share
from ..share.daemons import check_stopped
from ..ui.printer import print_line
from ..ui.report import Report
from ..ui.text import as_json, printable, quoted
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
List the locks of all maps, in the maps directory and in the lock directory: volume,
holder, age, and what each is. Changes nothing, unless it is told to:

  held       by a daemon of v0.4, whose name is in it
  v0.3       left by v0.3, which never releases a lock: counts as held, until
             --v03-stopped says that v0.3 is stopped on all nodes
  temporary  made by somebody who was about to take a lock; stale after an hour
  ours       of a run of `archipmigrate mapfiles`, or of its undo
  odd        called like a lock, but none of these: always left

--clean removes what nobody can hold any more: locks of v0.3, stale temporaries, and
those of our runs that need them no more. --break removes the locks of one holder:
only if you know that it is stopped, for two who work on one volume destroy it. A lock
is removed only if it still is what was judged. Both are journaled: the same command
resumes them, and `archipmigrate undo` makes every lock again, but where somebody has
taken it since.

--adopt makes the lock directory (lock_dir of [blockerm]) as v0.4 needs it: USER's and
GROUP's, with mode 2770. It makes a missing one, and says what an existing one was."""
EXAMPLES = """\
  archipmigrate locks                             what there is, as archipelago.conf says
  archipmigrate locks --json | jq 'select(.kind == "held")'
  archipmigrate locks --adopt
  archipmigrate locks --clean --v03-stopped -n    what would be removed
  archipmigrate locks --clean --v03-stopped
  archipmigrate locks --break node7_1002          node7 is dead
  archipmigrate locks --maps /srv/archip/maps --locks /srv/archip/locks

exit status: 0 listed, or done; 1 refused, or stopped (resumable); 2 usage; 3 locks of
v0.3 count as held (--clean), or failures; 11 another run holds the directories; 130,
143 interrupted"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "locks", "list locks, remove what nobody holds", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"v0.4's configuration, section [blockerm] (default: {CONFIG})",
    )
    parser.add_argument("--maps", metavar="DIR", help="the maps directory, without a configuration")
    parser.add_argument(
        "--locks", metavar="DIR", help="the lock directory that goes with --maps, or to --adopt"
    )
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--clean", action="store_true", help="remove what nobody can hold any more")
    does.add_argument(
        "--break",
        dest="holder",
        metavar="HOLDER",
        help="remove the locks of this holder, by its exact name: it is stopped for ever",
    )
    does.add_argument(
        "--adopt", action="store_true", help="make the lock directory as v0.4 needs it"
    )
    parser.add_argument(
        "--v03-stopped",
        action="store_true",
        help="v0.3 is stopped on all nodes: the locks that it left hold nothing",
    )
    parser.add_argument(
        "--owner", metavar="NAME|UID", help="with --adopt: whose it becomes (default: USER)"
    )
    parser.add_argument(
        "--group", metavar="NAME|GID", help="with --adopt: its group (default: GROUP)"
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; show what would be done"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_no_check(parser)
    options.add_jobs(parser)
    options.add_max_ops(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)


def run(args: argparse.Namespace) -> int:
    """List or remove locks, or adopt the lock directory. Raises Error."""
    if args.adopt:
        wanted = locate_adopted(args.config, args.locks, args.owner, args.group)
        _tell_adoption(adopt(wanted, dry_run=args.dry_run), args)
        return 0
    if args.owner is not None or args.group is not None:
        raise UsageError("--owner and --group go with --adopt")
    if args.holder == "":
        raise UsageError("--break needs a holder's name; locks without one are those of v0.3")
    place = locate_locks(args.config, args.maps, args.locks)
    if place.missing:
        where = quoted(os.fsencode(place.missing))
        print_line(f"the lock directory {where} is missing: --adopt makes it", sys.stderr)
    return _run(args, place.maps, _settings(args, place.settings))


def _settings(args: argparse.Namespace, settings: LocksSettings) -> LocksSettings:
    action = Action.LIST if args.holder is None else Action.BREAK
    return replace(
        settings,
        action=Action.CLEAN if args.clean else action,
        holder=args.holder or "",
        v03_stopped=args.v03_stopped,
    )


def _run(args: argparse.Namespace, maps: str, settings: LocksSettings) -> int:
    removes = settings.action is not Action.LIST and not args.dry_run
    run_options, share = options.run_options(args), open_share(maps)
    if removes:
        if args.check_before:
            more = [settings.locks] if settings.locks else []
            check_before(KIND, share, run_options, more=more, v03_may_run=True)
        if settings.v03_stopped:
            check_stopped()
    subject = KIND.subject if removes else KIND.subject.in_dry_run()
    with closing(Report(subject, options.verbosity(args), KIND.decode)) as report:
        tell = partial(KIND.tell, report=report, words=options.words(args, _same_share(args)))
        do = partial(begin, fresh=args.fresh) if removes else dry_run
        ended = do(KIND, settings, share, run_options, report, tell)
    if settings.action is Action.BREAK:
        _check_found(ended, settings.holder)
    return options.exit_status(ended)


def _check_found(ended: Ended, holder: str) -> None:
    """Check that the holder held something: its name may be misspelt. Raises FatalError."""
    tally = ended.tally
    found = tally.changed or tally.vanished or tally.failed or ended.header.sessions > 1
    if ended.status == "done" and not found:
        raise FatalError(
            f"there is no lock of {printable(holder)} that can be broken: `archipmigrate locks` "
            "shows who holds what"
        )


def _tell_adoption(done: Adoption, args: argparse.Namespace) -> None:
    if args.json:
        thing = {
            "type": "lock-directory",
            "path": done.path,
            "before": None if done.before is None else str(done.before),
            "after": str(done.after),
            "changed": done.is_needed and not args.dry_run,
        }
        print_line(as_json(thing))
        return
    where = quoted(os.fsencode(done.path))
    if not done.is_needed:
        print_line(f"{where} is {done.after} already: nothing to do")
    elif done.before is None:
        verb = "would be made" if args.dry_run else "was missing: made,"
        print_line(f"{where} {verb} {done.after}")
    else:
        verb = "would become" if args.dry_run else "was changed to"
        print_line(f"{where} was {done.before}, {verb} {done.after}")


def _same_share(args: argparse.Namespace) -> list[str]:
    given = {
        "--config": args.config,
        "--maps": args.maps,
        "--locks": args.locks,
        "--break": args.holder,
    }
    words = [w for key, value in given.items() if value is not None for w in (key, str(value))]
    flags = {"--clean": args.clean, "--v03-stopped": args.v03_stopped}
    return [*words, *(flag for flag, given in flags.items() if given)]
