"""`archipmigrate status`: show runs, how far they are, and the commands that continue them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import JournalError, UsageError
from ..jobs.options import RunOptions
from ..jobs.registry import known_kind
from ..journal import counting
from ..journal.location import runtime_directory
from ..journal.lock import ShareLock
from ..journal.runs import Unreadable, open_run, read_runs, run_bytes
from ..journal.store import RunHeader
from ..model import Examples, Tally
from ..session.open import state_directory
from ..ui.causes import Causes
from ..ui.notices import notice_counts, notice_line
from ..ui.printer import print_line
from ..ui.text import (
    as_json,
    command_line,
    count,
    duration,
    examples_line,
    quoted,
    reason,
)
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Show the runs that have a journal: how they ended or how far they are, what failed,
how much space their journals take, and the command that continues them."""
EXAMPLES = """\
  archipmigrate status
  archipmigrate status perms-20261122T184054-b931
  archipmigrate status --json | jq 'select(.status == "killed")'"""

# How the undo of a run is worded by the status of that undo; "" if its journal was forgotten.
UNDONE = {
    "done": "put back by {}",
    "failures": "put back by {}, with failures",
    "": "undo {} begun, and forgotten since",
}
OVER = ("done", "failures")
NOT_UNDONE = "undo {} not finished"


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "status", "show runs and how far they are", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument("run_name", metavar="RUN", nargs="?", help="the run (default: all)")
    options.add_state(parser)
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a run")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one run stands. `status` is the header's; `killed` if that is running and nobody runs it.

    `results` are more counts that the job has, each under its heading. `undo` is the status of the
    run that put this one back, or began to; "" if there is none, or its journal is gone. `needed`
    are options without which it would stop again at once. `waiting` entries were seen, and are not
    done yet: only known of a walk that changes what it sees, and none once it is over.
    """

    header: RunHeader
    status: str
    holder: str
    tally: Tally
    failures: Causes
    notices: Mapping[str, Examples]
    seconds: float
    size: int
    results: Mapping[str, Mapping[str, int]]
    phase: str
    undo: str
    needed: Sequence[str]
    waiting: int

    @property
    def rate(self) -> float:
        """Entries a second, over all sessions."""
        return self.tally.entries / self.seconds if self.seconds else 0.0


def run(args: argparse.Namespace) -> int:
    """Show the runs. Raises Error."""
    run_options = options.run_options(args)
    if not run_options.state_path.exists():
        return _nothing(args, run_options.state_path)
    state = state_directory(run_options)
    shown = 0
    runs = read_runs(state)
    unreadable = list(runs.unreadable)
    statuses = {header.run: header.status for header in runs.headers}
    for header in runs.headers:
        if args.run_name in (None, header.run):
            try:
                standing = _standing(state, header, statuses)
            except JournalError as error:
                unreadable.append(Unreadable(header.run, str(error)))
                continue
            resume = _resume(standing, run_options)
            if args.json:
                print_line(as_json(_object(standing, resume)))
            else:
                for line in _lines(standing, resume):
                    print_line(line)
            shown += 1
    for bad in unreadable:
        if args.run_name in (None, bad.run):
            if args.json:
                print_line(as_json({"type": "unreadable", "run": bad.run, "why": bad.why}))
            else:
                print_line(f"{bad.run}: unreadable")
                print_line(f"  {bad.why}")
            shown += 1
    return 0 if shown else _nothing(args, state)


def _nothing(args: argparse.Namespace, state: Path) -> int:
    """Say that there is no run. Raises UsageError if one was named."""
    if args.run_name:
        raise UsageError(
            f"no run {args.run_name} in {state}: `archipmigrate status` lists those that are there"
        )
    if not args.json:
        print_line(f"no run in {state}")
    return 0


def _standing(state: Path, header: RunHeader, statuses: Mapping[str, str]) -> Standing:
    journal = open_run(state, header.run)
    failures = Causes()
    try:
        tally = counting.shown(journal.tally(), journal.deferred())
        for failure in journal.failures():
            failures.add(reason(failure), failure.path)
        notices = journal.notices()
        kind = known_kind(header)
        results = kind.results(journal) if kind else {}
        phase = kind.phase(journal) if kind else ""
        needed = kind.needed(journal) if kind else ()
    finally:
        journal.close(fold=False)
    holder = ""
    if header.status == "running":
        holder = ShareLock.holder(runtime_directory(state), header.share)
    running = header.run in holder
    seconds = header.seconds
    if running and header.began:  # not an undo that is still settling
        seconds += (datetime.now(UTC) - datetime.fromisoformat(header.began)).total_seconds()
    status = "killed" if header.status == "running" and not running else header.status
    size = run_bytes(state, header.run)
    return Standing(
        header,
        status,
        holder,
        tally,
        failures,
        notices,
        seconds,
        size,
        results,
        phase,
        statuses.get(header.undone, ""),
        needed,
        tally.waiting if kind and kind.walks and status not in OVER else 0,
    )


def _resume(standing: Standing, run_options: RunOptions) -> str:
    header = standing.header
    words = [*run_options.state_words, header.run, *standing.needed]
    command = command_line(["archipmigrate", "resume", *words])
    if header.undone or header.superseded or standing.status in ("done", "running"):
        return ""
    return f"{command} --failed" if standing.status == "failures" else command


def _lines(standing: Standing, resume: str) -> list[str]:
    header, tally = standing.header, standing.tally
    status = standing.status
    if status == "running":
        status += f" ({standing.holder})"
    if standing.phase:
        status += f", phase `{standing.phase}`"
    if header.undone:
        status += f", {UNDONE.get(standing.undo, NOT_UNDONE).format(header.undone)}"
    if header.superseded:
        status += f", superseded by {header.superseded}"
    path = quoted(header.path.encode(errors="surrogateescape"))
    begun = f"begun {header.created[:19]} UTC, {count(header.sessions, 'session')}"
    pace = f"{duration(standing.seconds)} ({standing.rate:,.0f}/s)"
    changes = f"{tally.changed:,} changed, {tally.failed:,} failed"
    if standing.waiting:
        changes += f", {standing.waiting:,} seen, not yet done"
    lines = [
        f"{header.run}: {status}",
        f"  {path}, {header.backend} backend, {begun}",
        f"  {count(tally.entries, 'entry')} in {pace}, {changes}, journal {standing.size:,} bytes",
    ]
    for heading, counts in standing.results.items():
        if counts:
            words = ", ".join(f"{number:,} {name}" for name, number in counts.items())
            lines.append(f"  {heading}: {words}")
    for name, cause in standing.failures:
        lines.append(f"  {examples_line('failed', name, cause)}")
    lines += [f"  {notice_line(kind, found)}" for kind, found in standing.notices.items()]
    return [*lines, f"  go on with: {resume}"] if resume else lines


def _object(standing: Standing, resume: str) -> dict[str, object]:
    header = standing.header
    return {
        "type": "run",
        "run": header.run,
        "job": header.job,
        "share": header.path,
        "status": standing.status,
        **({"phase": standing.phase} if standing.phase else {}),
        "undone": header.undone or None,
        "superseded": header.superseded or None,
        "backend": header.backend,
        "created": header.created,
        "sessions": header.sessions,
        **standing.tally.as_dict(),
        **standing.results,
        "causes": [{"cause": name, "count": cause.count} for name, cause in standing.failures],
        "notices": notice_counts(standing.notices),
        "seconds": round(standing.seconds, 3),
        "rate": round(standing.rate, 1),
        "bytes": standing.size,
        "resume": resume or None,
    }
