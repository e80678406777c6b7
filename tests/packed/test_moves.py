"""Packed moves: what is packed is unpacked, and what is malformed is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.packed.moves import (
    Move,
    Root,
    Twin,
    Verb,
    cut_moves,
    pack_moves,
    place_path,
    shown_path,
    unpack_moves,
)

U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.binary(min_size=1, max_size=255)
TWINS = st.builds(Twin, U64, U32, U32, U32, I64)


@st.composite
def moves(draw: st.DrawFn) -> Move:
    verb = draw(st.sampled_from(Verb))
    twin = draw(TWINS) if verb is Verb.MERGE else None
    place = draw(st.binary(min_size=3, max_size=3))
    root, directory = draw(st.sampled_from(Root)), draw(st.binary(max_size=255))
    return Move(verb, root, directory, draw(NAMES), place, draw(U64), twin)


@given(st.lists(moves(), max_size=5))
def test_moves_are_what_was_packed(given: list[Move]) -> None:
    assert list(unpack_moves(pack_moves(given))) == given
    assert list(unpack_moves(b"head" + pack_moves(given), 4)) == given


@given(st.lists(moves(), max_size=5), st.integers(1, 6))
def test_moves_are_cut_where_one_ends(given: list[Move], most: int) -> None:
    packed = b"head" + pack_moves(given)
    end, number = cut_moves(packed, most, 4)
    assert number == min(most, len(given))
    assert list(unpack_moves(packed[:end], 4)) == given[:number]
    assert list(unpack_moves(packed, end)) == given[number:]


@given(moves(), st.data())
def test_moves_that_are_cut_off_are_refused(move: Move, data: st.DataObject) -> None:
    packed = pack_moves([move])
    length = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(ValueError, match="move"):
        list(unpack_moves(packed[:length]))


@given(st.binary(max_size=200))
def test_any_bytes_are_moves_or_refused(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(unpack_moves(packed))


def test_paths_are_those_of_the_layout() -> None:
    assert place_path(b"\x00\xab\xff") == b"00/ab/ff"
    assert shown_path(Root.MAPS, b"", b"name") == b"maps/name"
    assert shown_path(Root.BLOCKS, b"aa/bb") == b"blocks/aa/bb"
