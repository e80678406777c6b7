"""`archipmigrate config`: convert v0.3's configuration, set options of v0.4's, check it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..config.check import check_config
from ..config.convert import convert
from ..config.edit import edit
from ..config.files import CONFIG, V03, diff, read_file, read_text, replace_file
from ..config.findings import ConfigFinding, Level
from ..config.host import AnyHost, ThisHost
from ..config.ini import BadLine
from ..config.v03 import read_v03
from ..errors import FatalError, UsageError
from ..ui.printer import print_line
from ..ui.text import as_json, command_line, count
from . import options
from .parser import Commands, Parser

FINDINGS, BLOCKERS = 4, 5  # exit statuses

DESCRIPTION = """\
Bring a node's configuration from v0.3 to v0.4: convert the old file, set options of
the new one as the upgrade goes on, check what v0.4 makes of it. All of it is about
the files of this node: do the same on each."""
EXAMPLES = """\
  archipmigrate config convert -n         what v0.4's file would be
  archipmigrate config convert --force    write it in place of the package's own
  archipmigrate config check
  archipmigrate config set USER=archipelago GROUP=archipelago"""

CONVERT = f"""\
Make v0.4's configuration from v0.3's. FILE is read, never executed: assignments of
numbers and strings are converted, anything else is named with its line. Values that
v0.4 would refuse are adapted, and said to be: nr_ops becomes a power of two, fdcache
at least twice that. What has no successor is in comments at the end.

USER and GROUP are root, as the upgrade guide wants it, until the permissions of the
share are adjusted; with RADOS they are archipelago.

The difference to a file that is there already is shown, and the file is replaced
with --force only: in one step, its mode and owner stay. Default of FILE: {V03}."""
CONVERT_EXAMPLES = """\
  archipmigrate config convert -n
  archipmigrate config convert --force
  archipmigrate config convert /root/default-archipelago -o /tmp/archipelago.conf
  archipmigrate config convert -o -    print it

exit status: 0 converted; 1 cannot be written, or is there already; 2 usage, or FILE
cannot be read; 4 converted, with warnings; 5 nothing written: v0.4 would not start
with these values"""

SET = """\
Set options of v0.4's configuration; comments, order and everything else stay. What
v0.4 would not start with is refused, and nothing written. The file is replaced in one
step, its mode and owner stay.

KEY is the name of an option, with its section if several have it: USER, lock_dir,
pithos_migrate (of both blockers), blockerb.umask. Needs ConfigUpdater:
pip install configupdater."""
SET_EXAMPLES = """\
  archipmigrate config set USER=archipelago GROUP=archipelago
  archipmigrate config set lock_dir=/srv/archip/locks
  archipmigrate config set -n pithos_migrate=True
  archipmigrate config set blockerb.nr_ops=128 blockerb.fdcache=512

exit status: 0 set; 1 cannot be edited or written; 2 usage; 5 nothing written: v0.4
would not start with these values"""

CHECK = f"""\
Say what v0.4 would choke on, or silently ignore, with the line and what to do: missing
options, bad values, options that it does not know (pithos-migrate), comments that are
none, ports and caches that its daemons die of, directories, users and groups that are
not on this node. Default of FILE: {CONFIG}."""
CHECK_EXAMPLES = """\
  archipmigrate config check
  archipmigrate config check --json /tmp/archipelago.conf

exit status: 0 nothing found; 1 FILE cannot be read; 4 warnings; 5 v0.4 would not
start, or could not serve a volume"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command and those below it."""
    help_line = "convert, edit and check archipelago.conf"
    parser = options.command(commands, "config", help_line, DESCRIPTION, EXAMPLES, run)
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_convert(below)
    _add_set(below)
    _add_check(below)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 -- never called: a command below is required
    """Do nothing."""
    return 0


def _add_convert(commands: Commands[Parser]) -> None:
    help_line = "make v0.4's configuration from v0.3's"
    parser = options.command(commands, "convert", help_line, CONVERT, CONVERT_EXAMPLES, run_convert)
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=V03, help="v0.3's")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=CONFIG,
        help=f"where to write v0.4's; - is standard output (default: {CONFIG})",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    _add_dry_run(parser)


def _add_set(commands: Commands[Parser]) -> None:
    parser = options.command(commands, "set", "set options", SET, SET_EXAMPLES, run_set)
    parser.add_argument("settings", metavar="[SECTION.]KEY=VALUE", nargs="+", help="what to set")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, default=CONFIG, help=f"default: {CONFIG}"
    )
    _add_dry_run(parser)


def _add_check(commands: Commands[Parser]) -> None:
    help_line = "say what v0.4 would choke on, or ignore"
    parser = options.command(commands, "check", help_line, CHECK, CHECK_EXAMPLES, run_check)
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=CONFIG, help="v0.4's")
    parser.add_argument(
        "--json", action="store_true", help="print JSON objects, one a line, the summary last"
    )


def _add_dry_run(parser: Parser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="write nothing; show it")


def run_convert(args: argparse.Namespace) -> int:
    """Convert a configuration. Raises Error."""
    output: Path = args.output
    is_shown = str(output) == "-"
    try:
        v03 = read_v03(_content(args.file))
    except BadLine as error:
        raise UsageError(f"{args.file}: {error}") from None
    converted = convert(v03, str(args.file))
    findings = converted.findings
    if not converted.blocked:
        findings += _of_this_host(converted.text)
    _print_findings(findings, args.file, to_stderr=is_shown)
    if converted.blocked:
        print_line("nothing was written: v0.4 would not start with these values")
        return BLOCKERS
    if is_shown:
        _print_text(converted.text)
    else:
        _write(output, _now(output), converted.text, args)
    return FINDINGS if findings else 0


def _of_this_host(text: str) -> list[ConfigFinding]:
    """Return as warnings what is wrong on this host only: it may not have v0.4 yet, or no share."""
    everywhere = check_config(text, AnyHost())
    return [
        replace(finding, line=0, level=Level.WARNING)
        for finding in check_config(text, ThisHost())
        if finding not in everywhere
    ]


def _print_text(text: str) -> None:
    lines = text.split("\n")[:-1]
    if not all(line.isprintable() for line in lines):
        raise FatalError("there are bytes in it that cannot be printed: name a file with -o")
    for line in lines:
        print_line(line)


def _write(path: Path, old: str | None, new: str, args: argparse.Namespace) -> None:
    """Write a converted file. Raises FatalError."""
    if old == new:
        print_line(f"{path} is so already")
        return
    if old is not None or args.dry_run:
        for line in diff(old or "", new, path):
            print_line(line)
    if args.dry_run:
        print_line(f"{path}: nothing was written")
        return
    if old is not None and not args.force:
        raise FatalError(f"{path} is there and differs, see above: --force replaces it")
    replace_file(path, old, new)
    print_line(f"wrote {path}; next: archipmigrate config check {command_line([str(path)])}")


def run_set(args: argparse.Namespace) -> int:
    """Set options. Raises Error."""
    path: Path = args.config
    old = _text(path)
    try:
        new = edit(old, args.settings)
    except BadLine as error:
        raise FatalError(f"{path}: {error}") from None
    known = {finding.text for finding in _blockers(old)}
    added = [finding for finding in _blockers(new) if finding.text not in known]
    if added:
        _print_findings(added, path)
        print_line("nothing was written: v0.4 would not start with these values")
        return BLOCKERS
    if old == new:
        print_line(f"{path} is so already")
        return 0
    for line in diff(old, new, path):
        print_line(line)
    if args.dry_run:
        print_line(f"{path}: nothing was written")
        return 0
    replace_file(path, old, new)
    print_line(f"wrote {path}; daemons read it when they start: do the same on every node")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check a configuration. Raises Error."""
    findings = check_config(_text(args.file), ThisHost())
    status = _status(findings)
    if args.json:
        print_line(as_json({"type": "version", "version": __version__, "job": "config check"}))
        for finding in findings:
            print_line(as_json(_as_object(finding)))
        print_line(as_json(_summary(findings, args.file)))
        return status
    _print_findings(findings, args.file)
    numbers = {level: sum(f.level is level for f in findings) for level in reversed(Level)}
    words = ", ".join(count(number, level) for level, number in numbers.items() if number)
    print_line(f"{args.file}: {words or 'v0.4 reads it as it looks'}")
    return status


def _status(findings: Iterable[ConfigFinding]) -> int:
    levels = {finding.level for finding in findings}
    if Level.BLOCKER in levels:
        return BLOCKERS
    return FINDINGS if levels else 0


def _as_object(finding: ConfigFinding) -> dict[str, object]:
    return {
        "type": "finding",
        "line": finding.line or None,
        "level": finding.level,
        "text": finding.text,
        "todo": finding.todo,
    }


def _summary(findings: list[ConfigFinding], path: Path) -> dict[str, object]:
    status = {0: "done", FINDINGS: "warnings", BLOCKERS: "blockers"}[_status(findings)]
    return {
        "type": "summary",
        "job": "config check",
        "config": str(path),
        "status": status,
        "warnings": sum(finding.level is Level.WARNING for finding in findings),
        "blockers": sum(finding.level is Level.BLOCKER for finding in findings),
    }


def _print_findings(
    findings: Iterable[ConfigFinding], path: Path, *, to_stderr: bool = False
) -> None:
    stream = sys.stderr if to_stderr else None
    for finding in findings:
        where = f"{path}:{finding.line}" if finding.line else str(path)
        todo = f": {finding.todo}" if finding.todo else ""
        print_line(f"{where}: {finding.level}: {finding.text}{todo}", stream)


def _blockers(text: str) -> list[ConfigFinding]:
    return [f for f in check_config(text, ThisHost()) if f.level is Level.BLOCKER]


def _content(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: name v0.3's configuration") from None


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from None


def _now(path: Path) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from None
