"""Maps by version and result, by the dry run of mapfiles: a walk over maps and locks.

Locks that v0.3 left count as what they are once it is stopped: nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import Error
from ..jobs.ended import Ended
from ..layout.names import LONGEST_NAME, SHORTEST_NAME, bad_name
from ..maps.format import v0, v1, v2
from ..maps.format.head import NEEDS_SIZE
from ..maps.format.verdict import Result
from ..maps.journal.tables import volumes
from ..maps.kind import KIND
from ..maps.settings import MapfilesSettings, lock_directory_identity
from ..ui.text import count, quoted
from .finding import Finding, Level, Topic, blocker, ok
from .question import Question
from .room import Need, for_undo, on_share

EXAMPLES = 3
BAD_NAME = "bad name"
SIZELESS = "v0"  # of Pithos, and sound as far as can be seen
INODES = 4  # of a new header or block: the file, and up to three directories
# Misplaced ones, once relocate has moved their objects.
TO_UPGRADE = (Result.WOULD_UPGRADE, Result.MISPLACED)
WORDS = {
    Result.INVALID: ("cannot be read as maps", "see the reasons: {}", Level.WARNING),
    SIZELESS: (
        "v0 maps of Pithos, which do not say their sizes",
        "give those to mapfiles, and to check --volumes: --pithos-db URL, or --sizes FILE",
        Level.WARNING,
    ),
    Result.SHADOWED: ("lie beside another that v0.4 opens", "keep the right one", Level.WARNING),
    Result.CONFLICT: ("have two maps", "keep the right one of each", Level.BLOCKER),
    Result.LEFTOVER: ("are marked deleted, and left", "remove them", Level.WARNING),
    Result.LOCKED: ("are locked", "close these volumes, or stop Archipelago", Level.WARNING),
    Result.FAILED: ("could not be looked at", "see why: {}", Level.BLOCKER),
}


@dataclass(slots=True)
class _Found:
    """What the walk left in its journal."""

    results: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[bytes]] = field(default_factory=dict)
    warned: int = 0
    unopenable: int = 0
    blocks: int = 0
    new_bytes: int = 0
    kept_bytes: int = 0

    def take(self, ended: Ended) -> None:
        for row in volumes(ended.journal):
            if bad_name(row.name):
                self.unopenable += 1
                self._name(BAD_NAME, row.name)
                continue
            lacks_size = row.result == Result.INVALID and row.reason.endswith(NEEDS_SIZE)
            result, version = (SIZELESS, 0) if lacks_size else (row.result, row.version)
            self._name(result, row.name)
            self.results[result] += 1
            self.versions["?" if version is None else f"v{version}"] += 1
            self.warned += bool(row.warning)
            if row.result in TO_UPGRADE and row.size is not None:
                header = v2.HeaderV2(row.size)
                self.blocks += header.blocks
                self.new_bytes += header.objects * v2.ENTRY_SIZE
                each = v1.ENTRY_SIZE if row.version else v0.DIGEST_SIZE
                self.kept_bytes += v1.HEADER_SIZE + header.objects * each

    def _name(self, result: str, name: bytes) -> None:
        names = self.examples.setdefault(result, [])
        if len(names) < EXAMPLES:
            names.append(name)

    def shown(self, result: str, number: int) -> str:
        """Return the first names, and how many more of *number* there are."""
        names = [quoted(name) for name in self.examples.get(result, ())]
        more = number - len(names)
        return ", ".join(names) + (f", and {more:,} more" if more > 0 else "")


def maps(question: Question) -> Iterator[Finding]:
    """Walk the maps, and judge each volume as mapfiles would."""
    site = question.site
    if not question.walk or not os.path.isdir(site.maps):
        return
    try:
        settings = MapfilesSettings(
            site.locks,
            lock_directory_identity(site.locks),
            blocks=site.blocks if os.path.isdir(site.blocks) else "",
            v03_stopped=True,
        )
    except Error as error:
        yield blocker(Topic.MAPS, str(error), "see to that")
        return
    found = _Found()
    failed = list(question.survey(KIND, settings, site.maps, found.take, Topic.MAPS))
    yield from failed
    if found.results or not failed:
        yield from _judged(question, found)


def _judged(question: Question, found: _Found) -> Iterator[Finding]:
    site, results = question.site, found.results
    data = {"versions": dict(found.versions), "results": dict(results)}
    versions = ", ".join(f"{number:,} {name}" for name, number in sorted(found.versions.items()))
    total = f"{count(results.total(), 'volume')}{f' ({versions})' if versions else ''}"
    waiting = sum(results[result] for result in TO_UPGRADE)
    if waiting:
        # v0.4 opens v1 maps where it finds them; but its own upgrade destroys damaged ones.
        yield Finding(
            Topic.MAPS,
            Level.WARNING,
            f"{total}: {waiting:,} to be upgraded",
            f"after relocate and perms: {site.mapfiles('--v03-stopped')}",
            data,
        )
    else:
        yield ok(Topic.MAPS, f"{total}: none to be upgraded", **data)
    for result, (words, todo, level) in WORDS.items():
        if results[result]:
            number = results[result]
            text = f"{count(number, 'volume')}: {words}: {found.shown(result, number)}"
            figures = {"result": str(result), "count": number}
            yield Finding(Topic.MAPS, level, text, todo.format(site.mapfiles("-n")), figures)
    if found.unopenable:
        yield blocker(
            Topic.NAMES,
            f"{count(found.unopenable, 'volume')} whose names v0.4 cannot open (it takes "
            f"{SHORTEST_NAME} to {LONGEST_NAME} bytes): "
            f"{found.shown(BAD_NAME, found.unopenable)}",
            "copy each to a volume of another name where v0.3 runs (vlmc map both, then dd), and "
            "remove it: before relocate, or after its undo",
            count=found.unopenable,
        )
    else:
        yield ok(Topic.NAMES, "v0.4 can open all names of volumes", count=0)
    if found.warned:
        yield Finding(
            Topic.MAPS,
            Level.WARNING,
            f"objects of {count(found.warned, 'volume')} are nowhere: v0.3 reads zeros, v0.4 fails",
            f"see which: {site.check('--volumes')}",
            {"count": found.warned},
        )
    if waiting:
        # A new map has its header and blocks.
        inodes = INODES * (waiting + found.blocks)
        yield on_share(Need(KIND.name, site.maps, inodes, found.new_bytes))
        yield for_undo(KIND.name, question.options.state_path, found.kept_bytes)
