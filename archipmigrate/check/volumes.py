"""All volumes: whether every object is where v0.4 looks, and the digest of each one's content.

Volumes are found, and their objects looked for, by the dry run of mapfiles with --check. Contents
are hashed as v0.3 or v0.4 serves them, several volumes at once, and streamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..jobs.ended import Ended
from ..layout.names import bad_name
from ..maps.format.verdict import Result
from ..maps.journal.sizes import Sizes
from ..maps.journal.tables import VolumeRow, volumes
from ..maps.kind import KIND
from ..maps.settings import MapfilesSettings, lock_directory_identity
from ..ui.text import count, printable, quoted
from .finding import Finding, Topic, blocker, ok, warning
from .hashing import hash_volumes
from .mounted import mounted
from .objects import relocating
from .question import Question
from .runs import phase_of, standing_runs
from .sums import Sums, check_writable, read_sums, write_sums

# Results of volumes whose objects were all looked for.
LOOKED = (Result.CURRENT, Result.WOULD_UPGRADE)


@dataclass(frozen=True, slots=True)
class VolumesQuestion:
    """What is asked of all volumes; `sizes` are those of v0 maps.

    place    whether every object is where v0.4 looks
    record   the file that digests are written into (None: they are not)
    compare  the file whose digests are compared with those of now
    pithos   Pithos' own directory of blocks ("": none), which only v0.3 reads
    """

    about: Question
    sizes: Sizes
    place: bool = True
    record: Path | None = None
    compare: Path | None = None
    pithos: str = ""


def volume_findings(question: VolumesQuestion) -> Iterator[Finding]:
    """Yield what is found of all volumes. Raises Interrupted, UsageError, FatalError."""
    before = read_sums(question.compare) if question.compare else {}
    if question.record:
        check_writable(question.record)
    absent = [found for found in mounted(question.about) if found.todo]
    yield from absent
    if absent:
        return
    names: list[bytes] = []
    yield from _placed(question, names)
    if question.record is None and question.compare is None:
        return
    hashed = hash_volumes(question.about, names, question.sizes, question.pithos)
    for name, reason in hashed.failed.items():
        if name not in before:
            yield warning(
                Topic.VOLUMES,
                f"{quoted(name)}: not hashed: {printable(reason)}",
                "see to that if the volume is in use",
                volume=_text(name),
            )
    if question.compare:
        yield from compared(before, hashed.sums, hashed.failed)
    if question.record:
        write_sums(question.record, hashed.sums)
        yield ok(
            Topic.VOLUMES,
            f"digests of {count(len(hashed.sums), 'volume')} are in {question.record}",
            volumes=len(hashed.sums),
        )


# -- where objects are


def _placed(question: VolumesQuestion, names: list[bytes]) -> Iterator[Finding]:
    """Find all volumes, and put their *names*; judge where their objects are, if that is asked."""
    site, looked = question.about.site, 0
    bad: list[Finding] = []
    phase = phase_of(question.about, standing_runs(question.about))
    unopenable: list[bytes] = []

    def take(ended: Ended) -> None:
        nonlocal looked
        for row in volumes(ended.journal):
            (unopenable if bad_name(row.name) else names).append(row.name)
            if row.result in LOOKED:
                looked += 1
            if question.place and (row.result == Result.MISPLACED or row.warning):
                bad.append(_ill_placed(question, phase, row))

    settings = MapfilesSettings(
        site.locks,
        lock_directory_identity(site.locks),
        blocks=site.blocks,
        check=question.place,
        v03_stopped=True,
    ).with_sizes(question.sizes)
    yield from question.about.survey(KIND, settings, site.maps, take, Topic.VOLUMES)
    if unopenable:
        yield warning(
            Topic.VOLUMES,
            f"left out, for v0.4 cannot open the names: {', '.join(map(quoted, unopenable[:8]))}",
            "copy these volumes to other names while v0.3 can read them",
            volumes=[_text(name) for name in unopenable],
        )
    yield from bad
    if question.place and not bad:
        words = f"every object of {count(looked, 'volume')} is where v0.4 looks"
        yield ok(Topic.VOLUMES, words, volumes=looked)


def _ill_placed(question: VolumesQuestion, phase: str, row: VolumeRow) -> Finding:
    site, name, data = question.about.site, row.name, {"volume": _text(row.name)}
    if row.warning:
        return warning(
            Topic.VOLUMES,
            f"{quoted(name)}: {printable(row.warning)}: v0.3 reads zeros there, v0.4 fails",
            "restore these objects, or copy the volume while v0.3 can read it",
            **data,
        )
    return blocker(
        Topic.VOLUMES,
        f"{quoted(name)}: {printable(row.reason.partition(': move')[0])}",
        f"stop Archipelago on all nodes, then: {relocating(site, phase)}",
        **data,
    )


# -- digests


def compared(before: Sums, now: Sums, why: Mapping[bytes, str]) -> Iterator[Finding]:
    """Compare digests; *why* has the volumes that have none now. Pure."""
    same = 0
    for name, was in sorted(before.items()):
        found = now.get(name)
        if found == was:
            same += 1
            continue
        data: dict[str, object] = {"volume": _text(name), "before": was.sha256, "size": was.size}
        if found is None:
            reason = printable(why.get(name, "there is no such volume any more"))
            yield blocker(
                Topic.VOLUMES,
                f"{quoted(name)}: missing: {reason}",
                "undo the latest run, and see what became of it",
                **data,
            )
            continue
        what = "size" if found.size != was.size else "content"
        yield blocker(
            Topic.VOLUMES,
            f"{quoted(name)}: its {what} differs from what was recorded",
            "if no guest has written to it since, undo the latest run, and see why",
            **data,
            now=found.sha256,
            now_size=found.size,
        )
    for name in sorted(now.keys() - before.keys()):
        yield warning(
            Topic.VOLUMES,
            f"{quoted(name)}: new: it is not in the record",
            "see whether it should be there",
            volume=_text(name),
        )
    words = f"{same:,} of {count(len(before), 'volume')} as recorded"
    yield ok(Topic.VOLUMES, words, same=same, recorded=len(before))


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
