"""The bodies of the job's units. The first byte says what the unit is.

    S  groups (`packed.groups`): directories to survey (hint w), or names in one (hint e)
    L  the same, to look at again while objects are moved: they are moved at once
    M  u64 row of the table `waiting` (0: none), then packed moves
    O  nothing: look outside of the maps
    C  for each map: u64 first object to look for, u8 length, name, u8 length, directory

Bodies lie in the journals of interrupted runs, so these formats stay.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..model import Unit
from ..packed.groups import Group, split_unit, unpack_groups, walk_unit
from ..packed.moves import Move, cut_moves, pack_moves, unpack_moves
from .tables import MapToCheck

SURVEY, LOOK, MOVES, CHECK, OUTSIDE = b"S", b"L", b"M", b"C", b"O"
ROW = struct.Struct("<Q")
FIRST = struct.Struct("<QB")


@dataclass(frozen=True, slots=True)
class Reading:
    """A map that is being read: `first` is the next object to look for."""

    map: MapToCheck
    first: int = 0


def kind_of(body: bytes) -> bytes:
    """Return which kind of unit a body is of."""
    return body[:1]


def survey_unit(
    groups: Iterable[Group], *, retries: int = 0, counted: bool = False, kind: bytes = SURVEY
) -> Unit:
    """Return the unit that surveys *groups*, or (`LOOK`) looks at them again."""
    unit = walk_unit(groups, retries=retries, counted=counted)
    return replace(unit, body=kind + unit.body)


def outside_unit() -> Unit:
    """Return the unit that looks outside of the maps."""
    return Unit(OUTSIDE, 1)


def survey_groups(body: bytes) -> list[Group]:
    """Return the groups of a unit of the survey. Raises ValueError."""
    return list(unpack_groups(body[1:]))


def packed_unit(body: bytes, moves: int, row: int = 0) -> Unit:
    """Return the unit of moves that are packed already; *row* of `waiting` holds them."""
    return Unit(MOVES + ROW.pack(row) + body, moves, 0, counted=True)


def moves_unit(moves: Sequence[Move], retries: int) -> Unit:
    """Return the unit of moves that no row of `waiting` holds."""
    return replace(packed_unit(pack_moves(moves), len(moves)), retries=retries)


def cut_unit(unit: Unit, most: int) -> tuple[bytes, int, Unit | None]:
    """Return the first *most* moves of a unit, packed, their number, and the unit of the rest."""
    begin = 1 + ROW.size
    end, number = cut_moves(unit.body, most, begin)
    if end == len(unit.body):
        return unit.body[begin:], number, None
    rest = replace(packed_unit(unit.body[end:], unit.entries - number), retries=unit.retries)
    return unit.body[begin:end], number, rest


def unit_row(body: bytes) -> int:
    """Return the row of `waiting` that a unit of moves stands for; 0: none."""
    return int(ROW.unpack_from(body, 1)[0])


def unit_moves(body: bytes) -> list[Move]:
    """Return the moves of a unit. Raises ValueError."""
    return list(unpack_moves(body, 1 + ROW.size))


def check_unit(readings: Sequence[Reading], retries: int = 0) -> Unit:
    """Return the unit that looks for the objects of maps."""
    body = bytearray(CHECK)
    for reading in readings:
        name, directory = reading.map.name, reading.map.directory
        body += FIRST.pack(reading.first, len(name)) + name + bytes((len(directory),)) + directory
    return Unit(bytes(body), len(readings), retries, counted=True)


def unit_readings(body: bytes) -> list[Reading]:
    """Return the maps of a unit. Raises ValueError."""
    readings, at = [], 1
    while at < len(body):
        if at + FIRST.size > len(body):
            raise ValueError(f"map cut off at {at}")
        first, length = FIRST.unpack_from(body, at)
        name_end = at + FIRST.size + length
        end = name_end + 1 + (body[name_end] if name_end < len(body) else 1)
        if end > len(body):
            raise ValueError(f"map cut off at {at}")
        directory = body[name_end + 1 : end]
        readings.append(Reading(MapToCheck(body[at + FIRST.size : name_end], directory), first))
        at = end
    return readings


def split(unit: Unit, parts: int) -> list[Unit]:
    """Cut a unit into at most *parts* of about the same work."""
    kind = kind_of(unit.body)
    if kind in (SURVEY, LOOK):
        cut = split_unit(replace(unit, body=unit.body[1:]), parts)
        return [replace(part, body=kind + part.body) for part in cut]
    if kind == MOVES:
        moves, row = unit_moves(unit.body), unit_row(unit.body)
        each = max(-(-len(moves) // parts), 1)
        pieces = [moves[at : at + each] for at in range(0, len(moves), each)]
        units = [moves_unit(piece, unit.retries) for piece in pieces]
        if units:
            first = packed_unit(pack_moves(pieces[0]), len(pieces[0]), row)
            units[0] = replace(first, retries=unit.retries)
        return [replace(made, scope=unit.scope) for made in units] or [unit]
    if kind == OUTSIDE:
        return [unit]
    readings = unit_readings(unit.body)
    return [check_unit(readings[i::parts], unit.retries) for i in range(min(parts, len(readings)))]
