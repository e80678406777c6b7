"""Where objects and maps lie, by the dry run of relocate: a walk over both directories.

It reads v1 maps, too, and looks for each object that they name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import Error
from ..jobs.ended import Ended
from ..prelink.phases import V04_MAY_RUN, Phase
from ..relocate.classify import BAD, WHY, Class
from ..relocate.kind import KIND
from ..relocate.report import AT_OLD_PLACES
from ..relocate.room import directories_for, is_refusal
from ..relocate.settings import RelocateSettings, directory_identity
from ..relocate.tables import class_counts, found_paths, refusal_of
from ..share.daemons import running_daemons, shown_daemons
from ..ui.text import count, quoted
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question
from .room import Need, on_share
from .runs import phase_of, standing_runs
from .site import Site

EXAMPLES = 3
ADVICE = {
    Class.CONFLICT: "remove neither: relocate -n lists both. If v0.4 was started too early: {}",
    Class.OUTSIDE: "put directories and objects themselves in place of links and mounts",
    Class.MISSING: "find out whose they are (relocate -n lists them); Pithos' own objects have to "
    "be brought below the blocker's directories first",
}


@dataclass(slots=True)
class _Found:
    """What the walk left in its journal."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[bytes]] = field(default_factory=dict)
    refusal: str = ""  # why relocate would not begin

    def take(self, ended: Ended) -> None:
        self.counts.update(class_counts(ended.journal))
        self.refusal = refusal_of(ended.journal)
        for kind in (*BAD, Class.FOREIGN):
            self.examples[kind] = found_paths(ended.journal, kind, EXAMPLES)

    def shown(self, kind: Class) -> str:
        paths = [quoted(path) for path in self.examples.get(kind, ())]
        more = self.counts[kind] - len(paths)
        return ", ".join(paths) + (f", and {more:,} more" if more > 0 else "")


def objects(question: Question) -> Iterator[Finding]:
    """Walk blocks and maps, and count what lies where."""
    site = question.site
    if not (question.walk and os.path.isdir(site.blocks) and os.path.isdir(site.maps)):
        return
    try:
        settings = RelocateSettings(os.path.abspath(site.maps), directory_identity(site.maps))
    except Error as error:
        yield blocker(Topic.PLACES, str(error), "see to that")
        return
    found = _Found()
    failed = list(question.survey(KIND, settings, site.blocks, found.take, Topic.PLACES))
    yield from failed
    if found.counts or not failed:
        yield from _places(question, found)
        yield from _left(question, found)


def relocating(site: Site, phase: str) -> str:
    """Return the command that brings objects to where v0.4 looks; *phase* is that of prelink."""
    if not phase:
        return site.relocate("--v03-stopped")
    if phase == Phase.BACK:
        return site.relocate("--back", "--v04-stopped")
    return site.relocate("--prelink", "--v03-stopped")


def _places(question: Question, found: _Found) -> Iterator[Finding]:
    site, counts = question.site, found.counts
    old = sum(counts[kind] for kind in AT_OLD_PLACES)
    right = counts[Class.CURRENT] + counts[Class.PITHOS]
    data = {kind.value: counts[kind] for kind in (*AT_OLD_PLACES, Class.CURRENT, Class.PITHOS)}
    if not old:
        words = f"{count(right, 'object')} and maps where v0.4 looks, none at old places"
        yield ok(Topic.PLACES, words, **data)
        return
    phase = phase_of(question, standing_runs(question))
    if phase in V04_MAY_RUN:
        yield from _linked(site, phase, old - counts[Class.LINKED], data)
        return
    yield blocker(
        Topic.PLACES,
        f"{count(old, 'object')} and maps where only v0.3 looks, {right:,} where v0.4 does",
        f"stop v0.3 on all nodes, then: {relocating(site, phase)}",
        **data,
    )
    if is_refusal(found.refusal):
        yield blocker(
            Topic.PLACES, found.refusal, f"add --copy: {site.relocate('--v03-stopped', '--copy')}"
        )
    new = [daemon for daemon in running_daemons() if not daemon.is_v03]
    if new:
        yield blocker(
            Topic.DAEMONS,
            f"v0.4 runs here, and finds nothing of that: {shown_daemons(new)}",
            "stop it at once: what a guest writes now hides the old data",
            v04=len(new),
        )
    for path, kinds in (
        (site.blocks, (Class.MOVED_BLOCKS,)),
        (site.maps, (Class.MOVED_MAPS,)),
    ):
        leaves = sum(counts[kind] for kind in kinds)
        if leaves:
            yield on_share(Need(KIND.name, path, directories_for(leaves)))


def _linked(site: Site, phase: str, new: int, data: dict[str, int]) -> Iterator[Finding]:
    """Say what stands at v0.3's places once v0.4 finds all that it needs."""
    drop = site.relocate("--drop-old")
    if new:
        yield blocker(
            Topic.PLACES,
            f"{count(new, 'object')} and maps where only v0.3 looks, though prelink is in its "
            f"phase `{phase}`: a v0.3 still runs",
            f"stop v0.3 on all nodes, then see what it made, which this lists: {drop}",
            **data,
        )
    if data[Class.LINKED]:
        yield warning(
            Topic.PLACES,
            f"{count(data[Class.LINKED], 'block')} with both names, and every map where v0.4 "
            f"looks: prelink is in its phase `{phase}`",
            f"perms, then start v0.4, then, while it runs: {drop}",
            **({} if new else data),
        )


def _left(question: Question, found: _Found) -> Iterator[Finding]:
    """Say what relocate would not move."""
    counts = found.counts
    for kind in BAD:
        if counts[kind]:
            yield blocker(
                Topic.CONFLICTS,
                f"{counts[kind]:,} {kind.value}: {WHY[kind]}: {found.shown(kind)}",
                ADVICE[kind].format(question.site.relocate("--merge-diverged", "VOLUME")),
                kind=kind.value,
                count=counts[kind],
            )
    if not any(counts[kind] for kind in BAD):
        yield ok(Topic.CONFLICTS, "no conflicts, nothing missing, nothing that leads outside")
    if counts[Class.LOCK]:
        yield ok(
            Topic.LOCKS,
            f"{count(counts[Class.LOCK], 'lock')} that v0.3 left among its maps: they hold nothing "
            "once it is stopped on all nodes",
            v03=counts[Class.LOCK],
        )
    empty = counts[Class.PLACEHOLDER] + counts[Class.STRAY]
    if empty:
        yield ok(
            Topic.PLACES,
            f"{count(empty, 'empty file')} of v0.3 that stand for nothing: left",
            placeholder=counts[Class.PLACEHOLDER],
            stray=counts[Class.STRAY],
        )
    if counts[Class.FOREIGN]:
        yield warning(
            Topic.PLACES,
            f"{count(counts[Class.FOREIGN], 'file')} of no use to v0.3 or v0.4 where they are: "
            f"{found.shown(Class.FOREIGN)}",
            "see whether they belong elsewhere: relocate -n lists them",
            foreign=counts[Class.FOREIGN],
        )
