"""Changes counted by what they change, and by where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..packed.changes import Change
from ..ui.report import Report, change_object, transition
from ..ui.text import count, path_object, quoted

MOST_LINES = 40  # of each table
MOST_DIRECTORIES = 100_000  # that are counted apart; with more of them, one level less


@dataclass(slots=True)
class Transitions:
    """Counts changes; `depth` is how many levels of directories are told apart (0: none)."""

    depth: int = 0
    _kinds: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, Change] = field(default_factory=dict)
    _directories: Counter[bytes] = field(default_factory=Counter)

    def add(self, change: Change) -> None:
        """Count a change."""
        words = transition(change)
        self._kinds[words] += 1
        if words not in self._examples:
            self._examples[words] = change
        if self.depth:
            path = change.path if change.directory else change.path.rpartition(b"/")[0]
            self._directories[b"/".join(path.split(b"/", self.depth)[: self.depth])] += 1
            while len(self._directories) > MOST_DIRECTORIES and self.depth > 1:
                self._fold()

    def _fold(self) -> None:
        self.depth -= 1
        folded: Counter[bytes] = Counter()
        for path, number in self._directories.items():
            folded[b"/".join(path.split(b"/")[: self.depth])] += number
        self._directories = folded

    def show(self, report: Report, *, kinds: bool = True) -> None:
        """Print the tables, the largest numbers first."""
        if report.is_json:
            for thing in self._objects(kinds=kinds):
                report.emit(thing)
            return
        if report.is_quiet:
            return
        lines = [(number, words) for words, number in self._kinds.most_common()] if kinds else []
        _show(report, lines, "kind")
        places = self._directories.most_common()
        _show(report, [(number, quoted(path)) for path, number in places], "directory")

    def _objects(self, *, kinds: bool) -> Iterator[dict[str, object]]:
        for words, number in self._kinds.most_common() if kinds else ():
            thing = change_object(self._examples[words])
            del thing["path"]
            thing.pop("path_b64", None)
            yield {**thing, "type": "transition", "count": number}
        for path, number in self._directories.most_common():
            yield {"type": "directory", **path_object(path), "count": number}


def _show(report: Report, lines: list[tuple[int, str]], noun: str) -> None:
    width = max((len(f"{number:,}") for number, _ in lines), default=0)
    for number, words in lines[:MOST_LINES]:
        report.line(f"  {number:>{width},} {words}")
    if len(lines) > MOST_LINES:
        report.line(f"  and {count(len(lines) - MOST_LINES, f'more {noun}')}")
