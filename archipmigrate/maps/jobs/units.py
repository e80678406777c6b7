"""The bodies of the mapfiles job's units: directories to survey, or volumes with their plans.

Directories are packed groups (`packed.groups`), each to be walked whole: its one name has the hint
`w`. Volumes are

    u32 0, u32 0, u64 0, u32 length of the rest, then for each volume
    u8 plan (R rename, I in place, F finish, C check, N not known), u8 length, name

Such a body looks like one packed group, of a directory whose names have plans for hints: the first
plan, at byte 20, tells the two apart. Bodies lie in the journals of interrupted runs, so this
format stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...model import Unit
from ...packed.groups import split_unit
from ..format.verdict import Plan
from ..survey.judge import CHECK

HEADER = struct.Struct("<IIQI")
CODES = {
    Plan.RENAME: ord("R"),
    Plan.IN_PLACE: ord("I"),
    Plan.FINISH: ord("F"),
    CHECK: ord("C"),
    Plan.NONE: ord("N"),  # its scan finds out
}
PLANS = {code: plan for plan, code in CODES.items()}

PlannedVolume = tuple[str, bytes]  # a `Plan`, or CHECK, and the volume's name


def volumes_unit(volumes: Sequence[PlannedVolume], retries: int = 0) -> Unit:
    """Return the unit of some volumes; names have at most 255 bytes."""
    return Unit(pack_volumes(volumes), len(volumes), retries)


def split(unit: Unit, parts: int) -> list[Unit]:
    """Cut a unit of either kind into at most *parts* of about the same number of entries."""
    if not is_volumes(unit.body):
        return split_unit(unit, parts)
    volumes = unpack_volumes(unit.body)
    cut = [volumes[index::parts] for index in range(min(parts, len(volumes)))]
    return [replace(unit, body=pack_volumes(part), entries=len(part)) for part in cut]


def pack_volumes(volumes: Iterable[PlannedVolume]) -> bytes:
    """Pack volumes as a unit's body."""
    packed = b"".join(bytes((CODES[plan], len(name))) + name for plan, name in volumes)
    return HEADER.pack(0, 0, 0, len(packed)) + packed


def unpack_volumes(body: bytes) -> list[PlannedVolume]:
    """Unpack what `pack_volumes` packed. Raises ValueError if it is malformed."""
    if not is_volumes(body):
        raise ValueError("not a body of volumes")
    volumes, at = [], HEADER.size
    while at < len(body):
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body) or body[at] not in PLANS:
            raise ValueError(f"malformed volume at {at}")
        end = at + 2 + body[at + 1]
        volumes.append((PLANS[body[at]], body[at + 2 : end]))
        at = end
    return volumes


def is_volumes(body: bytes) -> bool:
    """Whether a unit's body is of volumes, not of directories."""
    head = HEADER.pack(0, 0, 0, len(body) - HEADER.size) if len(body) > HEADER.size else b""
    return bool(head) and body.startswith(head) and body[HEADER.size] in PLANS
