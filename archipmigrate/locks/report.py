"""What users see of a run over locks: a line for each lock, and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from time import time_ns

from ..jobs.ended import Ended
from ..jobs.kind import Words
from ..jobs.v03 import held_by_v03
from ..journal.store import Journal
from ..maps.report import named
from ..ui.report import Report
from ..ui.summary import Facts, how_it_ended
from ..ui.text import count, duration, printable, quoted
from .lock import Kind
from .settings import Action, LocksSettings
from .tables import LockRow, found_locks, lock_counts, widest

LABELS = {
    Kind.HELD: "held by a daemon",
    Kind.V03: "left by v0.3",
    Kind.TEMPORARY: "temporary",
    Kind.OURS: "ours",
    Kind.ODD: "odd",
}
EXAMPLES = 20  # lines for each kind that is left, without -v
WIDEST = 40  # characters of a column; what is longer moves its line
SECOND = 1_000_000_000
DAY = 86_400
LEFT = "done, but locks of v0.3 count as held,"


class LocksReport:
    """Prints the end of a session over locks; reads from its journal."""

    def __init__(self, report: Report, journal: Journal, settings: LocksSettings) -> None:
        self._report = report
        self._journal = journal
        self._settings = settings
        self._goes = lock_counts(journal, goes=True)
        self._stays = lock_counts(journal, goes=False)
        self._now = time_ns()

    @property
    def _lists(self) -> bool:
        return self._settings.action is Action.LIST

    def show(self, ended: Ended, words: Words) -> None:
        """Print the locks, then the summary."""
        lines: list[str] = []
        if self._report.is_json:
            for row in found_locks(self._journal):
                self._report.emit(self._object(row, dry_run=ended.dry_run))
        else:
            same_share = [*(words.same_share or ()), *words.runs]
            facts = replace(
                ended.facts(runs=words.runs, same_share=same_share), path=ended.header.path
            )
            lines = list(self._lines(facts, dry_run=ended.dry_run))
        self._report.summary(lines, self._summary_object(ended), ended.reason)

    # -- JSON

    def _object(self, row: LockRow, *, dry_run: bool) -> dict[str, object]:
        thing: dict[str, object] = {
            "type": "lock",
            **named("volume", row.volume),
            **named("path", row.path),
            "kind": Kind(row.kind).word,
            **named("holder", row.holder),
            "written": datetime.fromtimestamp(row.written / SECOND, UTC).isoformat(
                timespec="seconds"
            ),
            "age": self._age(row),
            "note": row.note,
        }
        if self._lists:
            return thing
        return {**thing, ("would_remove" if dry_run else "removed"): row.goes}

    def _age(self, row: LockRow) -> int:
        """Return the seconds since a lock was written; clocks may differ."""
        return max((self._now - row.written) // SECOND, 0)

    def _summary_object(self, ended: Ended) -> dict[str, object]:
        thing = ended.summary_object(dry_run=ended.dry_run, action=self._settings.action.value)
        thing["locks"] = {kind.word: self._number(kind) for kind in Kind}
        if not self._lists:
            verb = "would_remove" if ended.dry_run else "removed"
            thing[verb] = {kind.word: self._goes.get(kind, 0) for kind in Kind}
        return thing

    def _number(self, kind: Kind) -> int:
        return self._goes.get(kind, 0) + self._stays.get(kind, 0)

    # -- text

    def _lines(self, facts: Facts, *, dry_run: bool) -> Iterator[str]:
        path = quoted(facts.path.encode(errors="surrogateescape"))
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        ended = how_it_ended(facts)
        if not facts.tally.failed:
            ended = ended.replace("done, with failures,", LEFT)
        yield f"{facts.job} {path}: {ended}{run}"
        total = sum(self._number(kind) for kind in Kind)
        directories = count(facts.tally.directories, "directory")
        failed = f", {facts.tally.failed:,} failed" if facts.tally.failed else ""
        yield f"  {count(total, 'lock')} in {directories}{failed}"
        for kind, label in LABELS.items():
            if number := self._number(kind):
                goes = self._goes.get(kind, 0)
                verb = "would be removed" if dry_run else "removed"
                yield f"  {label:<17} {number:>10,}" + (f", {goes:,} {verb}" if goes else "")
        yield from self._table()
        breaks = self._settings.action is Action.BREAK
        if self._stays.get(Kind.V03) and not (self._settings.v03_stopped or breaks):
            yield held_by_v03(self._stays[Kind.V03])
        yield from self._following(facts, dry_run=dry_run)

    def _table(self) -> Iterator[str]:
        """Yield a line for each lock; where some are removed, for those that are left.

        Then those of v0.3 are only counted, and of the others there are examples.
        """
        volume, holder = (min(width, WIDEST) for width in widest(self._journal))
        printed: Counter[int] = Counter()
        for row in found_locks(self._journal, left=not self._lists):
            printed[row.kind] += 1
            if not (self._lists or self._report.is_verbose) and (
                row.kind == Kind.V03 or printed[row.kind] > EXAMPLES
            ):
                continue
            owner = printable(row.holder.decode(errors="backslashreplace")) or "-"
            columns = [
                f"{Kind(row.kind).word:<9}",
                f"{_worded(self._age(row)):>11}",
                f"{quoted(row.volume):<{volume}}",
                f"{owner:<{max(holder, 1)}}",
                quoted(row.path),
            ]
            yield "  ".join(columns) + (f": {printable(row.note)}" if row.note else "")
        for kind in (Kind.HELD, Kind.TEMPORARY, Kind.OURS, Kind.ODD):
            more = printed[kind] - EXAMPLES
            if more > 0 and not (self._lists or self._report.is_verbose):
                yield f"{kind.word}: ... and {more:,} more (-v or --json: all)"

    def _following(self, facts: Facts, *, dry_run: bool) -> Iterator[str]:
        if self._lists:
            return
        if dry_run:
            if self._goes:
                yield f"do it with: {facts.command(facts.job, options=facts.same_share)}"
            return
        resume = facts.command("resume", facts.run, options=facts.runs)
        if facts.status in ("stopped", "interrupted"):
            yield f"go on with: {resume}"
        elif facts.tally.failed:
            yield f"see to the failures above, then try them again: {resume} --failed"
        if self._goes:
            yield f"take it back with: {facts.command('undo', facts.run, options=facts.runs)}"


def _worded(seconds: int) -> str:
    days, rest = divmod(seconds, DAY)
    return f"{days} d {rest // 3600:02d} h" if days else duration(seconds)
