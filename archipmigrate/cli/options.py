"""Options that commands share. Every option can also be given as ARCHIPMIGRATE_<NAME>."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from ..backend.select import NAMES
from ..errors import UsageError
from ..share.url import is_domain
from ..ui.report import Verbosity

PREFIX = "ARCHIPMIGRATE_"
AUTO = 0
TRUE = ("1", "yes", "true", "on")
FALSE = ("", "0", "no", "false", "off")

Parser = argparse.ArgumentParser
Commands = argparse._SubParsersAction  # noqa: SLF001 -- argparse has no public name for it


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps descriptions and examples as they are written."""


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
    parser.set_defaults(run=run)
    return parser


def from_environment(parser: Parser) -> None:
    """Let the environment give what the command line does not. Raises UsageError on a bad value."""
    for action in parser._actions:  # noqa: SLF001 -- argparse has no public list of them
        if not action.option_strings or action.dest in ("help", "version"):
            continue
        name = PREFIX + action.option_strings[-1].lstrip("-").replace("-", "_").upper()
        text = os.environ.get(name)
        if text is not None:
            parser.set_defaults(**{action.dest: _value(action, name, text)})


def _value(action: argparse.Action, name: str, text: str) -> object:
    if action.nargs == 0:
        if text.lower() not in TRUE + FALSE:
            raise UsageError(f"{name}={text}: say 1 or 0")
        on = text.lower() in TRUE
        return action.const if on else action.default
    if isinstance(action, argparse._AppendAction):  # noqa: SLF001 -- see above
        return [*action.default, *text.split(":")] if text else action.default
    try:
        value = action.type(text) if callable(action.type) else text
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{name}={text}: {error}") from None
    if action.choices is not None and value not in action.choices:
        raise UsageError(f"{name}={text}: choose from {', '.join(map(str, action.choices))}")
    return value


def positive(text: str) -> int:
    """Read a positive number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def jobs(text: str) -> int:
    """Read a number of lanes; 0 is auto."""
    return AUTO if text == "auto" else positive(text)


def domain(text: str) -> str:
    """Read the domain of owners' names; it may be none."""
    if text and not is_domain(text):
        raise argparse.ArgumentTypeError(f"{text!r}: the domain is one like example.org")
    return text


def add_state(parser: Parser) -> None:
    """Add --state."""
    parser.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="where journals are kept: a directory of yours on a local disk, outside the share "
        "(default: /var/lib/archipmigrate for root, else ~/.local/state/archipmigrate)",
    )


def add_jobs(parser: Parser) -> None:
    """Add --jobs."""
    parser.add_argument(
        "--jobs",
        metavar="N|auto",
        type=jobs,
        default=AUTO,
        help="lanes at work at once, or calls in flight where an NFS server is spoken to directly; "
        "auto begins with one lane a core (8 on an NFS mount) and finds out whether more serve "
        "better, and with 256 calls, fewer while the server is slow (default: auto)",
    )


def add_backend(parser: Parser) -> None:
    """Add --backend."""
    parser.add_argument(
        "--backend",
        choices=NAMES,
        default="auto",
        help="native is C, python the same in Python, and both go through a mount; nfs speaks to "
        "the server of a URL, or of a mounted NFS share, itself (default: auto, the fastest that "
        "the share allows); one that is named and cannot serve is an error",
    )


def add_work(parser: Parser) -> None:
    """Add what decides how the work is done: --jobs, --max-ops and --backend."""
    add_jobs(parser)
    parser.add_argument(
        "--max-ops",
        metavar="N",
        type=positive,
        help="do at most N operations a second, for a share in use: a look at an entry is one, "
        "a change two more",
    )
    add_backend(parser)


def add_domain(parser: Parser) -> None:
    """Add --nfs4-domain."""
    parser.add_argument(
        "--nfs4-domain",
        metavar="DOMAIN",
        type=domain,
        default="",
        help="where a server is spoken to directly, and its NFSv4 has owners user@DOMAIN: map them "
        "by this host's users and groups (default: domain=DOMAIN of a URL, else none: where owners "
        "are names, NFSv3 is spoken)",
    )


def add_output(parser: Parser, *, lists: bool) -> None:
    """Add what decides what is shown."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON objects, one a line, the summary last"
    )
    if lists:
        parser.add_argument(
            "--list",
            dest="list_changes",
            action="store_true",
            help="print a line for each changed entry: old and new mode and group",
        )
    else:
        parser.set_defaults(list_changes=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="print failures only")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print each failure when it happens"
    )
    parser.add_argument(
        "--no-progress", dest="progress", action="store_false", help="show no progress"
    )
    parser.set_defaults(progress=True)


def verbosity(args: argparse.Namespace) -> Verbosity:
    """Return what `add_output` found."""
    return Verbosity(args.json, args.quiet, args.verbose, args.progress, args.list_changes)


def add_policy(parser: Parser) -> None:
    """Add what decides which entries comply."""
    parser.add_argument(
        "--group",
        metavar="NAME|GID",
        default="archipelago",
        help="the group to give the share to (default: archipelago)",
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="do not enter directories of this name, nor change them (may be repeated; "
        "in addition to .snapshot and .zfs)",
    )
    parser.add_argument(
        "--no-default-excludes",
        action="store_true",
        help="enter .snapshot and .zfs too",
    )
    parser.add_argument(
        "--hard-links",
        choices=("change", "skip"),
        default="change",
        help="what to do with files that have several names, of which some may lie outside the "
        "share: skip is advised where others can write to the share (default: change)",
    )
    parser.add_argument(
        "--cross-filesystems",
        action="store_true",
        help="enter other filesystems that are mounted below PATH",
    )
