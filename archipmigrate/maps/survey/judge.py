"""Judge the survey: turn the files in the journal into volumes, each with a result or a plan.

Reads all files once, ordered by volume, in one transaction. In memory is one volume at a time, and
of that only its maps. Most volumes are plain: a v2 header and one block, where v0.4 looks; these
are not taken in file by file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby, islice
from operator import itemgetter

from ...journal.store import Journal
from ...layout.names import Role, bad_name, map_name
from ...layout.placement import Placement
from ...packed.groups import Hint
from ..format.head import SLACK, needed_length
from ..format.v2 import BLOCK_SIZE, VERSION
from ..format.verdict import Candidate, Plan, Result, Verdict, Volume
from ..journal.tables import (
    FileRow,
    FoundFile,
    VolumeRow,
    end_survey,
    found_file,
    found_rows,
    list_file,
    put_volumes,
)
from .packed_head import unpack_head

CHECK = "check"  # stands in for a `Plan`: the blocks of a current map are to be read
UPGRADES = (Plan.RENAME, Plan.IN_PLACE, Plan.FINISH)
ROWS = 1000
# Files of a plain volume: its map, no or one block, and perhaps its lock; of each role, prefixed,
# number, placement and path.
MOST_PLAIN = 3
PLAIN_MAP = (Role.MAP, False, 0, Placement.V04, b"")
PLAIN_BLOCK = (Role.BLOCK, False, 0, Placement.V04, b"")
PLAIN_LOCK = (Role.LOCK, False, 0, Placement.V04, b"")
NO_MAP = "not a map, and not where one would be"
PLACEHOLDER = "empty: v0.3 was asked for a volume that did not exist"
LEFT_BY_V03 = "a lock that v0.3 never released, of a volume that is gone: locks --clean removes it"
UNSEEN = " (or a part of it is in a directory that could not be read: see the failures)"


def judge_survey(journal: Journal, *, locks_apart: bool, check: bool) -> None:
    """Give every volume its result, or the plan that leads to one; mark the files to be listed.

    *locks_apart* says that there is a lock directory, *check* that the blocks of current maps are
    to be read.
    """
    rows: list[VolumeRow] = []
    unseen = any(failure.hint == Hint.WALK for failure in journal.failures())
    for name, files in groupby(found_rows(journal), itemgetter(0)):
        first = [*islice(files, MOST_PLAIN + 1)]
        row = None if check else _plain_row(name, first)
        if row is None:
            every = map(found_file, chain(first, files))  # noqa: B031 -- the rest of them
            row = _judged(journal, name, every, locks_apart=locks_apart, check=check)
        if row is None:
            continue
        if unseen and row.result in (Result.INVALID, Result.CONFLICT):
            row = replace(row, reason=row.reason + UNSEEN)
        rows.append(row)
        if len(rows) >= ROWS:
            put_volumes(journal, rows)
            rows.clear()
    put_volumes(journal, rows)
    end_survey(journal)


def _judged(
    journal: Journal, name: bytes, files: Iterator[FoundFile], *, locks_apart: bool, check: bool
) -> VolumeRow | None:
    """Judge a volume by its files, and mark those to be listed; None if it has no map."""
    volume, kept_bytes = Volume(name), 0
    for file in files:
        why = _take_in(volume, file, locks_apart=locks_apart)
        if why and not file.listed:
            # The column is no part of the key, so the reading goes on undisturbed.
            list_file(journal, file, why)
        kept_bytes += _kept_bytes(volume, file)
    if not volume.exists:
        return None
    row = volume_row(name, volume.verdict(), check=check)
    return replace(row, kept_bytes=kept_bytes) if row.plan in UPGRADES else row


def _plain_row(name: bytes, files: Sequence[FileRow]) -> VolumeRow | None:
    """Return what `_judged` would of a plain volume; None: it is not plain."""
    if len(files) > MOST_PLAIN or files[0][1:6] != PLAIN_MAP or bad_name(name):
        return None
    head = unpack_head(files[0][8])
    if head.version != VERSION or head.is_deleted:
        return None
    rest = files[1:]
    if rest and rest[-1][1:6] == PLAIN_LOCK:  # in use
        rest = rest[:-1]
    if len(rest) != head.header.blocks:
        return None
    if rest and (rest[0][1:6] != PLAIN_BLOCK or rest[0][7] < head.header.block_length(0)):
        return None
    return VolumeRow(
        name,
        Result.CURRENT,
        map_name=map_name(name, prefixed=False),
        version=head.version,
        objects=head.objects,
        size=head.size,
        epoch=head.epoch,
    )


def _kept_bytes(volume: Volume, file: FoundFile) -> int:
    """Return how much of a file an upgrade keeps: blocks, and maps that are not changed in place.

    In bytes, and at most: the upgrade may find less.
    """
    if file.role == Role.MAP and file.prefixed:
        head = unpack_head(file.content)
        return min(file.length, needed_length(head) + SLACK) if head.version is not None else 0
    is_block = file.role == Role.BLOCK and file.placement == Placement.V04
    if is_block and volume.owns_block(file.number, prefixed=file.prefixed):
        return min(file.length, BLOCK_SIZE)
    return 0


def volume_row(name: bytes, verdict: Verdict, *, check: bool = False) -> VolumeRow:
    """Return a verdict as a row of the journal's table; with *check*, `current` is pending."""
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


def _take_in(volume: Volume, file: FoundFile, *, locks_apart: bool) -> str:
    """Take in a file of a volume; return why the user has to see it, or "".

    Files come in the order of their roles.
    """
    placement = Placement(file.placement)
    match Role(file.role):
        case Role.MAP:
            candidate = Candidate(placement, file.inode, unpack_head(file.content))
            side = volume.side(prefixed=file.prefixed)
            why = PLACEHOLDER if candidate.is_placeholder else NO_MAP
            return "" if side.add_map(candidate) else why
        case Role.BLOCK:
            volume.side(prefixed=file.prefixed).add_block(file.number, placement, file.length)
            if not volume.owns_block(file.number, prefixed=file.prefixed):
                return "a block of no map"
            return "" if placement is Placement.V04 else "a block where v0.4 does not look"
        case Role.LOCK:
            return _why_list_lock(volume, file, locks_apart=locks_apart)
        case Role.LOCK_PART | Role.OWN_PART:
            return "left by a process that was killed while it made a file or took a lock"
        case _:
            return "not a name of a map, block or lock"


def _why_list_lock(volume: Volume, file: FoundFile, *, locks_apart: bool) -> str:
    placement = Placement(file.placement)
    if not volume.exists:
        is_v03 = placement is Placement.V03 and not file.length
        return LEFT_BY_V03 if is_v03 else "a lock of no map"
    if locks_apart or placement in (Placement.V03, Placement.V04):
        return ""
    return "a lock where neither v0.3 nor v0.4 looks for it"
