"""Judging the survey: from files in the journal to volumes with a result, or one still to come.

Goes once through all files, in the order of volumes; what is kept of a volume meanwhile is its
maps. Runs in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from ..journal.store import Journal
from ..journal.volumes import (
    FoundFile,
    VolumeRow,
    end_survey,
    found_files,
    list_file,
    put_volumes,
)
from ..mapfile.names import Role
from ..mapfile.placement import Place
from ..mapfile.verdict import Candidate, Plan, Result, Verdict, Volume
from .content import unpack_head

# What is to be done beside upgrades: CHECK in the place of a `Plan`, SWEEP before one (or none).
CHECK = "check"  # the content of a current map's blocks is to be read
SWEEP = "sweep "  # a dead run of ours left a lock
ROWS = 1000


@dataclass(slots=True)
class _Judged:
    """One volume, and which of its files are listed, and why."""

    volume: Volume
    listed: list[tuple[FoundFile, str]] = field(default_factory=list)
    swept: bool = False
    old_bytes: int = 0


def judge_survey(journal: Journal, *, locks_apart: bool, check: bool) -> None:
    """Give every volume its result, or the plan by which it gets one; note what is to be listed.

    *locks_apart*: there is a lock directory. *check*: current maps are to be read whole.
    """
    kept_bytes = 0
    rows: list[VolumeRow] = []
    for judged in _volumes(journal, locks_apart=locks_apart):
        for file, why in judged.listed:
            list_file(journal, file, why)  # no part of the key: the reading goes on undisturbed
        if not judged.volume.exists:
            continue
        row = volume_row(judged.volume.name, judged.volume.verdict(), check=check)
        if row.plan in (Plan.RENAME, Plan.FINISH):
            kept_bytes += judged.old_bytes
        if judged.swept:
            row = replace(row, result=Result.PENDING, plan=SWEEP + row.plan)
        rows.append(row)
        if len(rows) >= ROWS:
            put_volumes(journal, rows)
            rows.clear()
    put_volumes(journal, rows)
    end_survey(journal, kept_bytes)


def volume_row(name: bytes, verdict: Verdict, *, check: bool = False) -> VolumeRow:
    """Return a verdict as the journal keeps it."""
    head, plan = verdict.head, str(verdict.plan)
    result = verdict.result
    if check and result is Result.CURRENT and head is not None and not head.is_deleted:
        result, plan = Result.PENDING, CHECK
    row = VolumeRow(name, result, verdict.reason, plan, verdict.map_name)
    if head is None or head.version is None:
        return row
    epoch = head.epoch if head.version == 2 else None
    if verdict.plan is not Plan.NONE:
        epoch = verdict.target.epoch
    return replace(row, version=head.version, objects=head.objects, size=head.size, epoch=epoch)


def _volumes(journal: Journal, *, locks_apart: bool) -> Iterator[_Judged]:
    for name, files in groupby(found_files(journal), lambda file: file.volume):
        judged = _Judged(Volume(name))
        for file in files:
            why = _take_in(judged, file, locks_apart=locks_apart)
            if why and not file.listed:
                judged.listed.append((file, why))
        yield judged


def _take_in(judged: _Judged, file: FoundFile, *, locks_apart: bool) -> str:
    """Take in a file of a volume, after those that `Role` puts before it; return why to list it."""
    volume, place = judged.volume, Place(file.place)
    match Role(file.role):
        case Role.MAP:
            candidate = Candidate(place, file.inode, unpack_head(file.content))
            side = volume.side(prefixed=file.prefixed)
            judged.old_bytes += file.length
            return "" if side.add_map(candidate) else "no map, and not where one would be"
        case Role.BLOCK:
            volume.side(prefixed=file.prefixed).add_block(file.number, place, file.length)
            if not volume.owns_block(file.number, prefixed=file.prefixed):
                return "a block of no map"
            judged.old_bytes += file.length
            return "" if place is Place.V04 else "a block where v0.4 does not look"
        case Role.LOCK:
            return _take_lock(judged, file, place, locks_apart=locks_apart)
        case Role.LOCK_PART | Role.OWN_PART:
            judged.swept = judged.swept or file.content == "ours"
            return "left by a process that was killed while it took a lock"
        case _:
            return "not a name of a map, block or lock"


def _take_lock(judged: _Judged, file: FoundFile, place: Place, *, locks_apart: bool) -> str:
    judged.swept = judged.swept or file.content == "ours"
    if not judged.volume.exists:
        return "a lock of no map"
    if place is Place.V03 or place is (Place.LOCKS if locks_apart else Place.V04):
        return ""
    return "a lock where nobody looks for it" if not locks_apart else ""
