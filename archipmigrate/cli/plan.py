"""`archipmigrate plan`: show and compare what dry runs have saved."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ..perms.differences import Differences
from ..perms.plan import Plan
from ..perms.transitions import Transitions
from ..ui.progress import Subject
from ..ui.report import Report, change_line, change_object
from ..ui.text import count
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Show and compare plans, the files in which `archipmigrate perms -n --save FILE` keeps
what it would change. They are only read if they are your own and nobody else can write
to them."""
EXAMPLES = """\
  archipmigrate perms -n --save monday.plan /srv/archip
  archipmigrate plan show monday.plan
  archipmigrate plan diff monday.plan tuesday.plan"""
SHOW = "Show what a plan would change: how many entries in which way and, with --by-dir, where."
SHOW_EXAMPLES = """\
  archipmigrate plan show monday.plan
  archipmigrate plan show --by-dir 2 monday.plan
  archipmigrate plan show --list monday.plan | less

exit status: 0 shown; 2 usage, no plan, or a damaged one"""
DIFF = """\
Say in what two plans differ, a line an entry: `-` only the first changes it, `+` only the
second one does, and both for an entry that they change differently."""
DIFF_EXAMPLES = """\
  archipmigrate plan diff monday.plan tuesday.plan
  archipmigrate plan diff -q monday.plan tuesday.plan

exit status: 0 they change the same; 4 they differ; 2 usage, no plan, or a damaged one"""


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command and those below it."""
    parser = options.command(
        commands, "plan", "show and compare saved dry runs", DESCRIPTION, EXAMPLES, run
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = options.command(below, "show", "show a plan", SHOW, SHOW_EXAMPLES, run_show)
    show.add_argument("file", metavar="FILE", type=Path, help="the plan")
    options.add_by_dir(show)
    options.add_output(show, lists=True)
    diff = options.command(below, "diff", "compare two plans", DIFF, DIFF_EXAMPLES, run_diff)
    for name in ("a", "b"):
        diff.add_argument(name, metavar=name.upper(), type=Path, help="a plan")
    options.add_output(diff, lists=False)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 -- never called: a command below is required
    """Do nothing."""
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Show a plan. Raises Error."""
    found = Transitions(args.by_dir)
    number = 0
    with _report(args) as report, closing(Plan(args.file)) as plan:
        for change in plan.changes():
            number += 1
            found.add(change)
            if args.list_changes:
                report.line(change_line(change)) if not report.is_json else report.emit(
                    change_object(change)
                )
        header = plan.header
        found.show(report)
        thing = {
            "type": "summary",
            "job": "plan",
            "share": header.path,
            "created": header.created,
            "settings": header.settings,
            "changes": number,
        }
        words = f"{args.file}: {count(number, 'change')} of {header.path}, saved {header.created}"
        report.summary([words], {**thing, "status": "done"})
    return 0


def run_diff(args: argparse.Namespace) -> int:
    """Compare two plans. Raises Error."""
    with (
        _report(args) as report,
        closing(Plan(args.a)) as a,
        closing(Plan(args.b)) as b,
        closing(Differences(a, b)) as found,
    ):
        if a.header.share != b.header.share:
            report.remark(f"these are plans of two shares: {a.header.path} and {b.header.path}")
        numbers = dict.fromkeys(("only_a", "only_b", "differ"), 0)
        for ours, theirs in found:
            numbers["differ" if ours and theirs else "only_a" if ours else "only_b"] += 1
            for sign, change in (("-", ours), ("+", theirs)):
                if change is None or report.is_quiet:
                    continue
                if report.is_json:
                    report.emit({**change_object(change), "type": "difference", "sign": sign})
                else:
                    report.line(f"{sign} {change_line(change)}")
        differ = any(numbers.values())
        line = "{only_a:,} only in the first, {only_b:,} only in the second, {differ:,} differ"
        status = "drift" if differ else "done"
        thing = {"type": "summary", "job": "plan", "status": status, **numbers}
        report.summary([line.format(**numbers)], thing)
    return options.EXIT[status]


def _report(args: argparse.Namespace) -> closing[Report]:
    return closing(Report(Subject("plan"), replace(options.verbosity(args), progress=False)))
