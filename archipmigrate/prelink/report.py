"""What users see of a run of prelink: the files that are listed, where it is, what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..jobs.ended import Ended
from ..jobs.kind import Words
from ..jobs.registry import RELOCATE
from ..journal.store import Journal
from ..maps.report import named
from ..relocate.classify import BAD, WHY
from ..relocate.tables import Found, class_counts, found_files
from ..ui.report import Report
from ..ui.summary import Facts, how_it_ended
from ..ui.text import command_line, count, printable, quoted
from .judges import ALIVE, DELETED_V03, DELETED_V04, KEPT_ASIDE, REMADE
from .phases import RESTS, Phase
from .tables import linked_count, standing

EXAMPLES = 20  # lines for each class, without -v
OURS = {
    ALIVE: "came to an old place after v0.3 was stopped",
    DELETED_V03: "of a block that v0.3 has deleted: kept aside",
    DELETED_V04: "of a block that v0.4 has deleted since `linked`: kept aside",
    REMADE: "of a block that v0.3 has made again: its old content is kept aside",
}
WHILE_LINKED = (
    "while v0.3 runs: deleted volumes free no space. Drain the nodes; create, delete and make "
    "again no volume until `linked`. On NFSv3 a node that still has a deleted object open gets no "
    "ESTALE any more: it goes on writing, to nobody's use"
)
AT_LINKED = "milestone `linked`: every object has both names, and every map its new place"
LOST = (
    "v0.3 may start. What v0.4 wrote into blocks that there were is in them; what it wrote first, "
    "into space that v0.3 had never written to, is lost to v0.3"
)


class PrelinkReport:
    """Prints the end of a session; reads from its journal."""

    def __init__(self, report: Report, journal: Journal) -> None:
        self._report = report
        self._journal = journal
        now = standing(journal)
        self._phase = now.phase
        self._has_returned = now.phase is Phase.LINK and not now.passed
        self._counts = class_counts(journal)
        self._linked = linked_count(journal)

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
            lines = list(self._lines(facts, ended))
            if self._report.is_quiet:
                for line in self._found_lines(only_bad=True):
                    self._report.line(line)
        thing = ended.summary_object(dry_run=ended.dry_run, phase=self._phase.value)
        counts = {kind.replace("-", "_"): number for kind, number in self._counts.items()}
        thing = {**thing, "linked": self._linked, "classes": counts}
        self._report.summary(lines, thing, ended.reason)

    def _lines(self, facts: Facts, ended: Ended) -> Iterator[str]:
        path = quoted(facts.path.encode(errors="surrogateescape"))
        where = "" if ended.dry_run else f"phase `{self._phase}`, "
        run = f" (run {facts.run})" if facts.run else "; nothing was changed"
        yield f"relocate --prelink {path}: {where}{how_it_ended(facts)}{run}"
        tally = facts.tally
        if ended.dry_run:
            yield f"  {count(tally.changed, 'block')} would get a second name"
            return
        names = "at their new places" if self._phase is Phase.DROPPED else "with both names"
        yield f"  {count(self._linked, 'block')} {names}, {tally.failed:,} failed"
        for kind, number in sorted(self._counts.items()):
            yield f"  {kind:<17} {number:>10,}"
        yield from self._found_lines(only_bad=False)
        yield from self._following(facts, has_failed=bool(tally.failed))

    def _found_lines(self, *, only_bad: bool) -> Iterator[str]:
        printed: dict[str, int] = {}
        for found in found_files(self._journal):
            if only_bad and found.kind not in (*BAD, ALIVE):
                continue
            number = printed[found.kind] = printed.get(found.kind, 0) + 1
            if self._report.is_verbose or number <= EXAMPLES:
                yield f"{found.kind}: {quoted(found.path)}: {printable(_why(found))}"
        for kind, number in printed.items():
            if number > EXAMPLES and not self._report.is_verbose:
                yield f"{kind}: ... and {number - EXAMPLES:,} more (-v or --json: all)"

    def _following(self, facts: Facts, *, has_failed: bool) -> Iterator[str]:
        resume = facts.command("resume", facts.run, options=facts.runs)
        relocate = ["archipmigrate", RELOCATE, *facts.same_share]
        if facts.status in ("stopped", "interrupted") and self._phase not in RESTS[1:]:
            yield f"go on with: {resume}"
        elif has_failed:
            yield f"see to the failures above, then try them again: {resume} --failed"
        elif self._phase is Phase.LINK:
            if self._has_returned:
                yield LOST
            yield WHILE_LINKED
            yield f"shortly before v0.3 stops, once more: {command_line([*relocate, '--prelink'])}"
            stopped = command_line([*relocate, "--prelink", "--v03-stopped"])
            yield f"then stop v0.3 on all nodes, and: {stopped}"
        elif facts.status == "stopped":
            again = command_line([*relocate, "--drop-old"])
            yield f"nothing was removed; once v0.3 is stopped on all nodes, again: {again}"
        elif self._phase is Phase.LINKED:
            yield AT_LINKED
            yield "now run perms on the share, then start v0.4"
            yield f"later, while v0.4 runs: {command_line([*relocate, '--drop-old'])}"
            back = command_line([*relocate, "--back", "--v04-stopped"])
            yield f"or, with v0.4 stopped, back to v0.3: {back}"
        elif self._phase is Phase.DROPPED:
            yield "old names are gone; mapfiles may follow"
            if any(kind in self._counts for kind in KEPT_ASIDE):
                prune = command_line([*relocate, "--prune-deleted"])
                yield f"what was kept aside takes room until, for good: {prune}"


def _object(found: Found) -> dict[str, object]:
    thing: dict[str, object] = {"type": "file", **named("path", found.path), "class": found.kind}
    thing["reason"] = _why(found)
    return {**thing, **named("volume", found.volume)} if found.volume else thing


def _why(found: Found) -> str:
    if found.kind in OURS:
        return f"{found.note} {OURS[found.kind]}"
    why = {kind.value: words for kind, words in WHY.items()}
    return found.note or why.get(found.kind, "")
