"""Options that commands share."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..backend.select import NAMES
from ..errors import UsageError
from ..jobs.ended import Ended
from ..jobs.kind import Words
from ..jobs.logs import LogDirectory
from ..jobs.options import AUTO, RunOptions
from ..modes import GUIDE_TEXT
from ..numerals import read_number
from ..share.url import is_domain
from ..ui.report import Verbosity
from .environment import Listed
from .parser import Commands, Formatter, Parser

MOST = 10**9  # that a number may be: an int of C holds it
MOST_LANES = 1024  # each may be a thread, with its stack
EXIT = {"done": 0, "stopped": 1, "failures": 3, "drift": 4}
# What `run_options` finds where a command has no such option.
NOT_ASKED: dict[str, object] = {
    "state": None,
    "backend": "auto",
    "jobs": AUTO,
    "max_ops": None,
    "nfs4_domain": "",
    "path_now": None,
    "locks_now": None,
    "restore_set_id": False,
    "copy": False,
}


def command(
    commands: Commands[Parser],
    name: str,
    help_line: str,
    description: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
) -> Parser:
    """Add a command with its help and its examples."""
    parser = commands.add_parser(
        name,
        help=help_line,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser, **NOT_ASKED)
    return parser


def number(least: int, most: int = MOST, more: str = "") -> Callable[[str], int]:
    """Return what reads a number from *least* to *most*; *more* says what else may be given."""

    def read(text: str) -> int:
        value = read_number(text)
        if value is None or not least <= value <= most:
            words = f"give a number from {least:,} to {most:,}{more}, not {text!r}"
            raise argparse.ArgumentTypeError(words)
        return value

    return read


def umask(text: str) -> int:
    """Read a umask."""
    if not re.fullmatch("(0o)?[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise argparse.ArgumentTypeError(f"give a umask in octal, such as 007, not {text!r}")
    return int(text, 8)


def jobs(text: str) -> int:
    """Read a number of lanes, or auto."""
    return AUTO if text == "auto" else number(1, MOST_LANES, ", or auto")(text)


def domain(text: str) -> str:
    """Read the domain of NFSv4 owners; it may be empty."""
    if text and not is_domain(text):
        raise argparse.ArgumentTypeError(f"{text!r}: the domain is one like example.org")
    return text


def add_share(parser: Parser) -> None:
    """Add PATH."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="the share: /srv/archip or nfs://server/srv/archip; nfs://a,b/srv/archip if the "
        "server has several addresses",
    )


def add_places_now(parser: Parser) -> None:
    """Add --path and --locks: where those of an earlier run are now."""
    parser.add_argument(
        "--path",
        dest="path_now",
        metavar="PATH",
        help="where the share is mounted now, if it has moved",
    )
    parser.add_argument(
        "--locks",
        dest="locks_now",
        metavar="DIR",
        help="the lock directory of the maps now, if the daemons use another one since the run "
        "began",
    )


def add_log_dir(parser: Parser, only: str = "") -> None:
    """Add --log-dir; *only* says for which runs."""
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        type=Path,
        help=f"{only}write upgraded.log, invalid.log and failed.log there, as finalize_upgrade_0.4 "
        "does",
    )


def add_state(parser: Parser) -> None:
    """Add --state."""
    parser.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="where journals are kept: a directory of your own, on a local disk, outside the share "
        "(default: /var/lib/archipmigrate for root, else ~/.local/state/archipmigrate)",
    )


def add_jobs(parser: Parser) -> None:
    """Add --jobs."""
    parser.add_argument(
        "--jobs",
        metavar="N|auto",
        type=jobs,
        default=AUTO,
        help="parallel lanes, or NFS calls in flight where the server is called directly; auto "
        "begins with one lane a core (8 on an NFS mount) and adds lanes while throughput rises, or "
        "keeps 256 calls in flight, fewer while the server is slow (default: auto)",
    )


def add_backend(parser: Parser) -> None:
    """Add --backend."""
    parser.add_argument(
        "--backend",
        choices=NAMES,
        default="auto",
        help="native (C) and python work through a mount; nfs calls the server of a URL, or of a "
        "mounted NFS share, directly; auto takes the fastest that the share allows; naming one "
        "that cannot serve is an error (default: auto)",
    )


def add_max_ops(parser: Parser) -> None:
    """Add --max-ops."""
    parser.add_argument(
        "--max-ops",
        metavar="N",
        type=number(1),
        help="do at most N operations a second, for a share in use: reading an entry is one, "
        "changing it two more; the bytes of files that are hashed, compared or copied do not count",
    )


def add_no_check(parser: Parser) -> None:
    """Add --no-check."""
    parser.add_argument(
        "--no-check",
        dest="check_before",
        action="store_false",
        help="begin without a look at what the job begins with: a share that is mounted, no "
        "unfinished run of another job on it, no v0.3 here where that would do harm",
    )


def add_work(parser: Parser) -> None:
    """Add --jobs, --max-ops and --backend."""
    add_jobs(parser)
    add_max_ops(parser)
    add_backend(parser)


def add_domain(parser: Parser) -> None:
    """Add --nfs4-domain."""
    parser.add_argument(
        "--nfs4-domain",
        metavar="DOMAIN",
        type=domain,
        default="",
        help="the server, called directly, sends NFSv4 owners as user@DOMAIN: map them to this "
        "host's users and groups (default: domain=DOMAIN of a URL; without a domain, NFSv3 is used "
        "where owners are names)",
    )


def add_by_dir(parser: Parser) -> None:
    """Add --by-dir."""
    parser.add_argument(
        "--by-dir",
        metavar="N",
        type=number(1, 100),
        default=0,
        help="also count what would change by directory, N levels deep",
    )


def add_output(parser: Parser, *, lists: bool) -> None:
    """Add the options of the output; *lists*: also --list."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON objects, one a line, the summary last"
    )
    if lists:
        parser.add_argument(
            "--list",
            dest="list_changes",
            action="store_true",
            help="print a line for each change: old and new mode and group",
        )
    else:
        parser.set_defaults(list_changes=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print each failure as it happens, and each entry that is skipped",
    )
    parser.add_argument(
        "--no-progress", dest="progress", action="store_false", help="do not show progress"
    )
    parser.set_defaults(progress=True)
    parser.add_argument(
        "--progress-every",
        metavar="S",
        type=number(1, 86_400),
        default=0,
        help="with --json: print a status object every S seconds; where stderr is no terminal: "
        "print the line of progress every S seconds (default: 10)",
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="paint results and failures; auto: on a terminal, unless NO_COLOR is set "
        "(default: auto)",
    )


def run_options(args: argparse.Namespace) -> RunOptions:
    """Return what the options say of how a session works."""
    return RunOptions(
        state=args.state,
        backend=args.backend,
        jobs=args.jobs,
        max_ops=args.max_ops or 0,
        domain=args.nfs4_domain,
        path=args.path_now,
        locks=args.locks_now,
        restore_set_id=args.restore_set_id,
        copy=args.copy,
    )


def words(
    args: argparse.Namespace,
    same_share: Sequence[str] | None = None,
    logs: LogDirectory | None = None,
) -> Words:
    """Return what the commands in a summary need."""
    return Words(run_options(args).state_words, same_share, logs)


@contextlib.contextmanager
def log_directory(args: argparse.Namespace) -> Iterator[LogDirectory | None]:
    """Open the directory that logs are written into, if they are. Raises UsageError."""
    path: Path | None = args.log_dir
    if path is None:
        yield None
        return
    try:
        logs = LogDirectory(path)
    except OSError:
        raise UsageError(f"--log-dir {path} is not a directory that can be written to") from None
    with contextlib.closing(logs):
        yield logs


def exit_status(ended: Ended) -> int:
    """Return the exit status for how a session ended."""
    return 128 + ended.signal if ended.signal else EXIT[ended.status]


def verbosity(args: argparse.Namespace) -> Verbosity:
    """Return what the options of `add_output` ask for."""
    return Verbosity(
        args.json,
        args.quiet,
        args.verbose,
        args.progress,
        args.list_changes,
        args.progress_every,
        args.color,
    )


def add_prune(parser: Parser, when: str) -> None:
    """Add --prune and --v04-stopped."""
    parser.add_argument(
        "--prune",
        action="store_true",
        help=f"{when}remove empty directories below blocks and maps that have the shape of a "
        "layout; needs --v03-stopped and --v04-stopped",
    )
    parser.add_argument("--v04-stopped", action="store_true", help="v0.4 is stopped on all nodes")


def add_copy(parser: Parser, what: str) -> None:
    """Add --copy."""
    parser.add_argument(
        "--copy",
        action="store_true",
        help=f"{what}move by copying what a rename does not reach: to another filesystem, or "
        "another mount; without this, such a share is refused",
    )


def check_both_stopped(args: argparse.Namespace) -> None:
    """Check that both versions are said to be stopped. Raises UsageError."""
    if not (args.v03_stopped and args.v04_stopped):
        raise UsageError(
            "a daemon that still runs would lose what it is about to write: this needs "
            "--v03-stopped and --v04-stopped, with Archipelago stopped on all nodes"
        )


def add_policy(parser: Parser) -> None:
    """Add the options that decide which entries comply."""
    parser.add_argument(
        "--group",
        metavar="NAME|GID",
        default="archipelago",
        help="the group to give the share to (default: archipelago)",
    )
    parser.add_argument(
        "--owner",
        metavar="NAME|UID",
        help="the user to give the share to as well (default: each entry keeps its owner)",
    )
    parser.add_argument(
        "--mode",
        metavar="MODES",
        default=GUIDE_TEXT,
        help="the modes to give: d:MODE for directories, f:MODE for files, MODE for both, with a "
        "space between; each as chmod reads it (u=rwX,g=u,o= or 0660), for whom always said; a "
        f"kind that is not named keeps its modes (default: {GUIDE_TEXT!r})",
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action=Listed,
        default=[],
        help="neither enter nor change directories of this name (may be repeated)",
    )
    parser.add_argument(
        "--no-default-excludes",
        action="store_true",
        help="also enter directories of snapshots: .snapshot, .zfs, .snapshots, ~snapshot and "
        "#snapshot, in the root of PATH or of a mount, on another filesystem than the directory "
        "they are in, or read-only (an ordinary directory of such a name is always entered)",
    )
    parser.add_argument(
        "--hard-links",
        choices=("change", "skip"),
        default="change",
        help="what to do with files that have several names, some of which may lie outside the "
        "share: skip them if others can write to the share (default: change)",
    )
    parser.add_argument(
        "--cross-filesystems",
        action="store_true",
        help="enter what is mounted below PATH, and other filesystems that an NFS server shows "
        "there",
    )
