"""What users see of a run of relocate: the files that are listed, and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..jobs.ended import Ended
from ..jobs.kind import Words
from ..jobs.v03 import held_by_v03
from ..journal.store import Journal
from ..maps.report import named
from ..ui.report import Report
from ..ui.summary import Facts, how_it_ended
from ..ui.text import count, printable, quoted
from .classify import BAD, WHY, Class
from .room import COPY, is_refusal
from .tables import Found, class_counts, found_files, refusal_of

INCOMPLETE = "done, but v0.4 does not find all that v0.3 served,"
EXAMPLES = 20  # lines for each class, without -v
AT_OLD_PLACES = (
    Class.MOVED_BLOCKS,
    Class.MOVED_MAPS,
    Class.LINKED,
    Class.MERGED,
    Class.MIGRATED,
    Class.PITHOS_COPIED,
    Class.PITHOS_MOVED,
)
# What the summary calls the classes, in this order: in a run, and in a dry run.
LABELS = {
    Class.MOVED_BLOCKS: ("blocks moved", "blocks to move"),
    Class.MOVED_MAPS: ("maps moved", "maps to move"),
    Class.LINKED: ("old names removed", "old names to go"),
    Class.MERGED: ("merged", "to merge"),
    Class.MIGRATED: ("pithos migrated", "pithos to migrate"),
    Class.PITHOS_COPIED: ("pithos copied", "pithos to copy"),
    Class.PITHOS_MOVED: ("pithos moved", "pithos to move"),
    Class.PITHOS_HERE: ("pithos, at both", "pithos, at both"),
    **{
        kind: (kind.value, kind.value)
        for kind in (
            Class.CURRENT,
            Class.PITHOS,
            Class.PLACEHOLDER,
            Class.LOCK,
            Class.STRAY,
            Class.UNOPENABLE,
            Class.FOREIGN,
            Class.CONFLICT,
            Class.OUTSIDE,
            Class.MISSING,
        )
    },
}


class RelocateReport:
    """Prints the end of a session; reads from its journal."""

    def __init__(self, report: Report, journal: Journal) -> None:
        self._report = report
        self._journal = journal
        self._counts = class_counts(journal)
        self._refusal = refusal_of(journal)

    def show(self, ended: Ended, words: Words) -> None:
        """Print the files that are listed, then the summary."""
        lines: list[str] = []
        if self._report.is_json:
            for found in found_files(self._journal):
                self._report.emit(_object(found))
        else:
            same_share = [*(words.same_share or ()), *words.runs]
            facts = replace(
                ended.facts(runs=words.runs, same_share=same_share), path=ended.header.path
            )
            lines = list(self._lines(facts, dry_run=ended.dry_run))
            if self._report.is_quiet:
                for line in self._found_lines(only_bad=True):
                    self._report.line(line)
        self._report.summary(lines, self._summary_object(ended), ended.reason)

    def _summary_object(self, ended: Ended) -> dict[str, object]:
        counts = {kind.value.replace("-", "_"): self._counts.get(kind, 0) for kind in LABELS}
        thing = ended.summary_object(dry_run=ended.dry_run)
        refused = {"refused": self._refusal} if self._refusal else {}
        return {**thing, **refused, "classes": counts}

    def _lines(self, facts: Facts, *, dry_run: bool) -> Iterator[str]:
        path = quoted(facts.path.encode(errors="surrogateescape"))
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        ended = how_it_ended(facts).replace("done, with failures,", INCOMPLETE)
        yield f"{facts.job} {path}: {ended}{run}"
        tally = facts.tally
        failed = f"{tally.failed:,} failed, {tally.vanished:,} vanished"
        yield f"  {count(tally.entries, 'file')}, {failed}"
        for kind, labels in LABELS.items():
            if self._counts.get(kind):
                yield f"  {labels[dry_run]:<17} {self._counts[kind]:>10,}"
        yield from self._found_lines(only_bad=False)
        yield from self._following(facts, dry_run=dry_run)

    def _found_lines(self, *, only_bad: bool) -> Iterator[str]:
        printed: dict[str, int] = {}
        for found in found_files(self._journal):
            if only_bad and found.kind not in BAD:
                continue
            number = printed[found.kind] = printed.get(found.kind, 0) + 1
            if self._report.is_verbose or number <= EXAMPLES:
                yield f"{found.kind}: {quoted(found.path)}: {printable(_why(found))}"
        for kind, number in printed.items():
            if number > EXAMPLES and not self._report.is_verbose:
                yield f"{kind}: ... and {number - EXAMPLES:,} more (-v or --json: all)"

    def _following(self, facts: Facts, *, dry_run: bool) -> Iterator[str]:
        waiting = sum(self._counts.get(kind, 0) for kind in AT_OLD_PLACES)
        if dry_run:
            found = found_files(self._journal)
            if locks := sum(lock.kind == Class.LOCK and not lock.note for lock in found):
                yield held_by_v03(locks)
            if self._refusal:
                yield f"it would stop before that: {self._refusal}"
            if waiting:
                command = facts.command(facts.job, options=facts.same_share)
                more = f" {COPY}" if is_refusal(self._refusal) else ""
                words = f"{command} --v03-stopped{more}"
                yield f"do it, once v0.3 is stopped on all nodes, with: {words}"
            return
        resume = facts.command("resume", facts.run, options=facts.runs)
        if is_refusal(facts.reason):
            yield f"go on with: {resume} {COPY}"
        elif facts.status in ("stopped", "interrupted"):
            yield f"go on with: {resume}"
        elif facts.tally.failed:
            yield f"see to the failures above, then try them again: {resume} --failed"
        if waiting:
            yield f"take it back with: {facts.command('undo', facts.run, options=facts.runs)}"


def at_old_places(journal: Journal) -> int:
    """Return how many objects a run found where v0.3 put them."""
    counts = class_counts(journal)
    return sum(counts.get(kind, 0) for kind in (*AT_OLD_PLACES, Class.CONFLICT))


def _object(found: Found) -> dict[str, object]:
    thing: dict[str, object] = {"type": "file", **named("path", found.path), "class": found.kind}
    thing["reason"] = _why(found)
    return {**thing, **named("volume", found.volume)} if found.volume else thing


def _why(found: Found) -> str:
    whose = f" (volume {found.volume.decode(errors='backslashreplace')})" if found.volume else ""
    if found.kind == Class.MISSING:
        whose = ""  # the note says it
    return (found.note or WHY[Class(found.kind)]) + whose
