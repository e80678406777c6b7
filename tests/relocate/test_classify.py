"""What a file is by its root, place, name and size; and what units of the job hold."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.packed.groups import Group, Hint, whole
from archipmigrate.packed.moves import Move, Root, Verb
from archipmigrate.relocate import units
from archipmigrate.relocate.classify import Class, classify
from archipmigrate.relocate.places import pithos_directory, sha256_directory, v03_directory
from archipmigrate.relocate.tables import MapToCheck

DIGEST = hashlib.sha256(b"digest").hexdigest().encode()
BLOCK = b"archip_" + DIGEST
B, M = Root.BLOCKS, Root.MAPS


def v03(name: bytes) -> bytes:
    found = v03_directory(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("root", "directory", "name", "size", "kind"),
    [
        (B, v03(BLOCK), BLOCK, 5, Class.MOVED),
        (B, v03(BLOCK), BLOCK, 0, Class.MOVED),  # a block that v0.3 only read
        (B, sha256_directory(BLOCK), BLOCK, 5, Class.CURRENT),
        (B, b"aa/bb/cc", BLOCK, 5, Class.FOREIGN),
        (B, b"", BLOCK, 5, Class.FOREIGN),
        (B, v03(DIGEST), DIGEST, 0, Class.STRAY),
        (B, v03(DIGEST), DIGEST, 1, Class.CONFLICT),
        (B, pithos_directory(DIGEST), DIGEST, 1, Class.PITHOS),
        (B, sha256_directory(DIGEST), DIGEST, 1, Class.CURRENT),
        (B, b"fo/ob/ar", b"archip_foobar", 5, Class.FOREIGN),
        (B, sha256_directory(BLOCK + b"_hash"), BLOCK + b"_hash", 5, Class.CURRENT),
        (B, v03(BLOCK), BLOCK.upper(), 5, Class.FOREIGN),
        (M, b"fo/ob/ar", b"archip_foobar", 45, Class.MOVED),
        (M, b"fo/ob/ar", b"archip_foobar", 0, Class.PLACEHOLDER),
        (M, b"fo/ob/ar", b"archip_foobar_lock", 0, Class.LOCK),
        (M, b"ob/ar/fo", b"archip_foobar", 45, Class.FOREIGN),
        (M, v03(BLOCK), BLOCK, 45, Class.MOVED),  # a volume of such a name
        (M, b"cd", b"archip_ab..cdef", 45, Class.MOVED),
        (M, b"ab/cd", b"archip_..abcdef", 45, Class.OUTSIDE),
        (M, b"ab", b"archip_....abcdef", 45, Class.OUTSIDE),
        (M, b"sh/rt/xy", b"archip_shrt", 45, Class.UNOPENABLE),
        (M, v03(b"archip_" + b"x" * 83), b"archip_" + b"x" * 83, 45, Class.UNOPENABLE),
        (M, v03(b"archip_" + b"x" * 82), b"archip_" + b"x" * 82, 45, Class.MOVED),
        (M, sha256_directory(b"foobar"), b"foobar", 32, Class.CURRENT),
        (M, b"fo/ob/ar", b"foobar", 32, Class.FOREIGN),
        (M, v03(DIGEST), DIGEST, 0, Class.STRAY),
    ],
)
def test_file_is_classified(
    root: Root, directory: bytes, name: bytes, size: int, kind: Class
) -> None:
    assert classify(root, directory, name, size).kind is kind


@given(st.binary(min_size=1, max_size=60))
def test_place_of_any_name_stays_below_the_root(name: bytes) -> None:
    place = v03_directory(name)
    assert place is None or b".." not in place.split(b"/")


NAME = st.binary(min_size=1, max_size=255)
READINGS = st.builds(
    units.Reading,
    st.builds(MapToCheck, NAME, st.binary(max_size=255)),
    st.integers(0, 2**64 - 1),
)


@given(st.lists(READINGS, max_size=5))
def test_unit_of_maps_holds_what_was_packed(readings: list[units.Reading]) -> None:
    unit = units.check_unit(readings)
    assert units.unit_readings(unit.body) == readings
    parts = units.split(unit, 2)
    found = [reading for part in parts for reading in units.unit_readings(part.body)]
    assert sorted(found, key=repr) == sorted(readings, key=repr)


@pytest.mark.parametrize("parts", [1, 2, 3, 10])
def test_unit_of_moves_is_cut_and_one_part_keeps_its_row(parts: int) -> None:
    moves = [Move(Verb.MOVE, B, b"aa/bb/cc", b"%d" % n, b"abc", n) for n in range(7)]
    whole_unit = units.moves_unit(moves, retries=2)
    unit = units.packed_unit(whole_unit.body[9:], len(moves), row=4)
    cut = units.split(unit, parts)
    assert len(cut) <= parts
    assert [units.unit_row(part.body) for part in cut] == [4, *[0] * (len(cut) - 1)]
    assert [move for part in cut for move in units.unit_moves(part.body)] == moves
    assert sum(part.entries for part in cut) == len(moves)


@pytest.mark.parametrize("kind", [units.SURVEY, units.LOOK])
def test_unit_of_directories_keeps_its_kind_when_it_is_cut(kind: bytes) -> None:
    groups = [whole(b"blocks"), Group(b"maps/aa", 0, ((int(Hint.ENTRY), b"x"),) * 4)]
    for part in units.split(units.survey_unit(groups, kind=kind), 3):
        assert units.kind_of(part.body) == kind
        assert units.survey_groups(part.body)
