"""The results of volumes: a line for each in JSON, a table in text, the official tool's logs."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import FatalError
from ..jobs.ended import Ended
from ..jobs.kind import Words
from ..jobs.logs import LogDirectory
from ..jobs.registry import RELOCATE
from ..jobs.v03 import held_by_v03
from ..journal.store import Journal
from ..layout.names import Role, lock_name, map_name, shown
from ..layout.placement import Placement, pithos_dir, sha256_dir, v03_dir
from ..ui.report import Report
from ..ui.summary import Facts
from ..ui.text import count, duration, printable, quoted
from .blocker.prepare import HELD_BY_V03
from .format.v2 import block_name
from .format.verdict import GOOD, Result
from .journal.tables import (
    LOCKS,
    FoundFile,
    VolumeRow,
    listed_files,
    result_counts,
    volumes,
    volumes_to_see,
)
from .survey.judge import PLACEHOLDER

# In the order of the table.
SHOWN = (
    Result.WOULD_UPGRADE,
    Result.UPGRADED,
    Result.CURRENT,
    Result.INVALID,
    Result.SHADOWED,
    Result.CONFLICT,
    Result.LEFTOVER,
    Result.LOCKED,
    Result.MISPLACED,
    Result.FAILED,
)
BAD = tuple(result for result in SHOWN if result not in GOOD)
WARNING, BY_V03 = "warning", "locked by v0.3"
V03_STOPPED = "--v03-stopped"
EXAMPLES = 20  # lines for each result, without -v
LOGS = {
    "upgraded.log": (Result.UPGRADED,),
    "invalid.log": (Result.INVALID,),
    "failed.log": tuple(result for result in BAD if result is not Result.INVALID),
}


class VolumesReport:
    """Prints the end of a session over maps; reads from its journal."""

    def __init__(self, report: Report, journal: Journal) -> None:
        self._report = report
        self._journal = journal
        self._counts = result_counts(journal)
        self._keeps = True
        self._blocks = ""
        self._resume: list[str] = []

    def show(self, ended: Ended, words: Words) -> None:
        """Print the lines of volumes and files, then the summary."""
        header = ended.header
        self._keeps = bool(header.settings.get("keep"))
        self._blocks = str(header.settings.get("blocks", ""))
        logs = ["--log-dir", str(words.logs.path.absolute())] if words.logs else []
        self._resume = [*words.runs, *logs]
        lines: list[str] = []
        if self._report.is_json:
            self._print_objects()
        else:
            facts = replace(
                ended.facts(runs=words.runs, same_share=[*(words.same_share or ()), *words.runs]),
                path=header.path,
                tally=self._journal.tally(),
            )
            self._report.failures.drop(("prepare: ", "upgrade: "))  # see the volumes' own lines
            lines = list(self._lines(facts, dry_run=ended.dry_run))
            if self._report.is_quiet:
                for line in self._left_lines():
                    self._report.line(line)
        stopped = ended.reason if ended.status == "stopped" else ""
        self._report.summary(lines, self._summary_object(ended), stopped)

    def _summary_object(self, ended: Ended) -> dict[str, object]:
        header = ended.header
        return {
            "type": "summary",
            "job": header.job,
            "run": header.run,
            "share": header.path.encode(errors="replace").decode(),
            "backend": header.backend,
            "status": ended.status,
            "maps": sum(self._counts.values()),
            **{
                result.value.replace("-", "_"): self._counts.get(result, 0)
                for result in SHOWN
                if ended.dry_run or result is not Result.WOULD_UPGRADE
            },
            "pending": self._counts.get(Result.PENDING, 0),
            "seconds": round(ended.seconds, 3),
            "resumed": header.sessions > 1,
            "dry_run": ended.dry_run,
        }

    # -- JSON

    def _print_objects(self) -> None:
        for row in volumes(self._journal):
            self._report.emit(
                {
                    "type": "volume",
                    **named("volume", row.name),
                    "result": row.result,
                    "reason": row.reason,
                    "version_before": row.version,
                    "objects": row.objects,
                    "size": row.size,
                    "epoch": row.epoch,
                    **({"warning": row.warning} if row.warning else {}),
                }
            )
        for file in listed_files(self._journal):
            self._report.emit(
                {
                    "type": "file",
                    **named("path", file_path(file)),
                    "kind": _kind(file),
                    "reason": file.listed,
                }
            )

    # -- text

    def _lines(self, facts: Facts, *, dry_run: bool) -> Iterator[str]:
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        ended = {
            "failures": "done, but not all volumes are v2,",
            "stopped": "stopped",
        }.get(facts.status, facts.status)
        why = f": {facts.reason}" if facts.status == "stopped" else ""
        after = f"{ended} after {duration(facts.seconds)}{why}{run}"
        yield f"{facts.job} {quoted_text(facts.path)}: {after}"
        total = sum(self._counts.values())
        yield f"  {count(total, 'volume')}"
        for result in (*SHOWN, Result.PENDING):
            if self._counts.get(result):
                yield f"  {result.value:<14} {self._counts[result]:>10,}"
        yield from self._left_lines()
        yield from self._file_lines()
        if self._counts.get(Result.MISPLACED):
            yield f"move the objects first: {self._relocate(facts)}"
        if dry_run and self._counts.get(Result.WOULD_UPGRADE):
            yield f"do it with: {facts.command(facts.job, options=facts.same_share)}"
        elif not dry_run:
            yield from self._following(facts)

    def _left_lines(self) -> Iterator[str]:
        """Yield a line for each volume that is neither upgraded nor current.

        Those that v0.3 locked share one, and so do those with a warning.
        """
        is_verbose = self._report.is_verbose
        number: Counter[str] = Counter()
        for row in volumes_to_see(self._journal):
            for heading, text in _headed(row):
                number[heading] += 1
                if is_verbose or (heading in BAD and number[heading] <= EXAMPLES):
                    yield f"{heading.split()[0]}: {quoted(row.name)}: {printable(text)}"
        for result in BAD:
            if number[result] > EXAMPLES and not is_verbose:
                yield f"{result}: ... and {number[result] - EXAMPLES:,} more (-v or --json: all)"
        if number[BY_V03]:
            yield held_by_v03(number[BY_V03], "volume")
        if number[WARNING]:
            more = "" if is_verbose else " (-v or --json: which)"
            yield (
                f"{WARNING}: objects of {count(number[WARNING], 'volume')} are nowhere; v0.3 reads "
                f"zeros there, v0.4 fails{more}"
            )

    def _file_lines(self) -> Iterator[str]:
        number = 0
        for file in listed_files(self._journal):
            number += 1
            if self._report.is_verbose or number <= EXAMPLES:
                yield f"{_kind(file)}: {quoted(file_path(file))}: {file.listed}"
        if number > EXAMPLES and not self._report.is_verbose:
            yield f"... and {number - EXAMPLES:,} more such files (-v or --json: all)"

    def _following(self, facts: Facts) -> Iterator[str]:
        if facts.status in ("stopped", "interrupted"):
            yield f"go on with: {facts.command('resume', facts.run, options=self._resume)}"
        elif self._counts.get(Result.FAILED) or facts.tally.failed:
            yield (
                "see to the failures above, then try them again: "
                f"{facts.command('resume', facts.run, options=self._resume)} --failed"
            )
        if self._counts.get(Result.UPGRADED) and self._keeps:
            yield f"take it back with: {facts.command('undo', facts.run, options=facts.runs)}"

    def _relocate(self, facts: Facts) -> str:
        """Return the command that moves objects to where v0.4 looks for them."""
        words = list(facts.same_share)
        if "--config" in words:
            at = words.index("--config")
            return facts.command(RELOCATE, options=[*words[at : at + 2], V03_STOPPED])
        if "--maps" in words:
            places = ["--maps", facts.path, "--blocks", self._blocks]
            return facts.command(RELOCATE, options=[*places, V03_STOPPED])
        return facts.command(RELOCATE, options=[V03_STOPPED])

    # -- logs

    def write_logs(self, logs: LogDirectory) -> None:
        """Write the logs that users of finalize_upgrade_0.4 know. Raises FatalError."""
        for name, results in LOGS.items():
            try:
                logs.write(name, self._log_lines(results))
            except OSError as error:
                raise FatalError(
                    f"{logs.path / name} cannot be written: {error.strerror}; the results are "
                    "above, and in the journal"
                ) from None

    def _log_lines(self, results: Sequence[Result]) -> Iterator[bytes]:
        for row in volumes(self._journal):
            if row.result in results:
                yield _log_line(row).replace(b"\n", b"\\n") + b"\n"


def _headed(row: VolumeRow) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of a volume, each with its heading: a result, or one of its own."""
    if row.warning:
        yield WARNING, row.warning
    if row.result in BAD:
        is_held = row.reason.endswith(HELD_BY_V03)
        yield BY_V03 if is_held else row.result, row.reason.removeprefix(f"{shown(row.name)}: ")


def volumes_left(journal: Journal) -> int:
    """Return how many volumes are neither upgraded nor current."""
    counts = result_counts(journal)
    return sum(counts.get(result, 0) for result in BAD)


def quoted_text(path: str) -> str:
    """Return a path, as a run's header has it, as `quoted` does."""
    return quoted(path.encode(errors="surrogateescape"))


def _log_line(row: VolumeRow) -> bytes:
    if row.result == Result.UPGRADED:
        return b"Upgraded " + row.name
    if row.result == Result.INVALID:
        return row.name + b" has invalid header object " + (row.map_name or row.name)
    return b"Failed to upgrade " + row.name


def named(key: str, name: bytes) -> dict[str, str]:
    """Return a name for JSON; if it is not UTF-8, also in base64."""
    try:
        return {key: name.decode()}
    except UnicodeDecodeError:
        replaced = name.decode(errors="replace")
        return {key: replaced, f"{key}_b64": base64.b64encode(name).decode()}


def file_path(file: FoundFile) -> bytes:
    """Return the path of a file below the maps directory, or its name in the lock directory."""
    if file.path:
        return file.path.removeprefix(LOCKS + b"/")
    base = map_name(file.volume, prefixed=file.prefixed)
    name = {
        Role.BLOCK: block_name(base, file.number),
        Role.LOCK: lock_name(base),
    }.get(Role(file.role), base)
    if file.placement == Placement.V03:
        parent = v03_dir(name)
    else:
        parent = pithos_dir(base) if file.placement == Placement.PITHOS else sha256_dir(name)
    return b"/".join((*(parent or ()), name))


def _kind(file: FoundFile) -> str:
    if file.role in (Role.LOCK_PART, Role.OWN_PART):
        return "temporary"
    return "placeholder" if file.listed == PLACEHOLDER else "foreign"
