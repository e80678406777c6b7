"""The twins in C: what they do themselves, what they leave to Python, what they refuse."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archipmigrate.layout.names import v03_data_name
from archipmigrate.model import NEVER, Limits, Outcome
from archipmigrate.packed.groups import unpack_groups, whole
from archipmigrate.packed.moves import Move, Root, Verb, pack_moves, unpack_moves
from archipmigrate.relocate import native
from archipmigrate.relocate.mover import Mover
from archipmigrate.relocate.places import sha256_directory, v03_directory
from archipmigrate.relocate.roots import OpenRoot, Roots
from archipmigrate.relocate.units import survey_unit
from tests.support.old_shares import make_old_share, new_place, old_place, put

pytest.importorskip("archipmigrate._native")

ENOUGH = Limits(60.0, 1 << 20, 1 << 20)
LABELS = [whole(root.label) for root in (Root.BLOCKS, Root.MAPS)]


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    """Open both directories of a share with a file of each kind."""
    make_old_share(tmp_path)
    fds = [os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY) for name in ("blocks", "maps")]
    blocks, maps = (OpenRoot(fd, 0o007, None, None) for fd in fds)
    umask = os.umask(0)
    with closing(blocks), closing(maps):
        yield {Root.BLOCKS: blocks, Root.MAPS: maps}
    os.umask(umask)


def survey(roots: Roots, limits: Limits = ENOUGH, groups: bytes = b"") -> native.Surveyed:
    return native.survey_plain(roots, groups or survey_unit(LABELS).body[1:], limits, 1000, 1000)


def test_survey_finds_what_is_plain_and_leaves_the_rest(roots: Roots) -> None:
    found = survey(roots)
    moves = list(unpack_moves(found.moves.moves))
    assert found.moves.number == len(moves) == 4 + 2 - 1  # `ab..cdef` lies in an odd place
    assert {move.verb for move in moves} == {Verb.MOVE}
    for move in moves:
        assert move.directory == v03_directory(move.name)
        assert move.new_directory == sha256_directory(move.name)
    assert found.directories == {Root.BLOCKS: 4, Root.MAPS: 1}
    assert found.current == 3
    assert found.rest == b""
    left = {b"/".join((group.path, name)) for group in unpack_groups(found.left)
            for _, name in group.names}  # fmt: skip
    assert len(left) == 3 + 1 + 1 + 1 + 2 + 1  # both places, stray, placeholder, short, locks, odd


def test_survey_that_is_cut_off_goes_on_where_it_was(roots: Roots) -> None:
    once = sorted(move.name for move in unpack_moves(survey(roots).moves.moves))
    found, groups, calls = [], b"", 0
    while calls == 0 or groups:
        part = survey(roots, Limits(0.0, 1 << 20, 1 << 20), groups)
        found += [move.name for move in unpack_moves(part.moves.moves)]
        groups = part.rest
        calls += 1
    assert sorted(found) == once
    assert calls > 20


def test_wide_and_unreadable_directories_are_left(roots: Roots, tmp_path: Path) -> None:
    for number in range(1001):
        put(tmp_path / "blocks/wide" / str(number), b"")
    (tmp_path / "blocks/fo").symlink_to("/")
    groups = survey_unit([whole(b"blocks/wide"), whole(b"blocks/fo"), whole(b"maps/no")]).body[1:]
    found = survey(roots, groups=groups)
    assert [group.path for group in unpack_groups(found.left)] == [
        b"maps/no", b"blocks/fo", b"blocks/wide"]  # fmt: skip


def test_places_are_those_of_python(roots: Roots, tmp_path: Path) -> None:
    """Also of names of each length, for the digest pads them."""
    rng = random.Random(7)
    names = [v03_data_name(b"volume", number).decode() for number in range(100)]
    for name in names:
        put(tmp_path / "blocks" / old_place(name), b"")
    for length in range(6, 83):
        name = "archip_" + "".join(rng.choices("abcdefgh", k=length))
        names.append(name)
        put(tmp_path / "maps" / old_place(name), b"x")
    for length in (1, 13, *range(50, 130), 255):
        name = "n" * length
        names.append(name)
        put(tmp_path / "blocks" / new_place(name), b"")
    found = survey(roots)
    moves = [move for move in unpack_moves(found.moves.moves) if move.name.decode() in names]
    assert all(m.place == hashlib.sha256(m.name).digest()[:3] for m in moves)
    assert len(moves) == 100 + 77
    assert found.current == 3 + 83


def test_places_that_are_taken_are_seen_among_many_in_one_directory(
    roots: Roots, tmp_path: Path
) -> None:
    """Also once a directory of the second level is read for what is not there."""
    before = len({*unpack_moves(survey(roots).moves.moves)})
    data = (v03_data_name(b"close", number).decode() for number in range(250_000))
    names = [name for name in data if str(new_place(name)).startswith("ab/c")]
    taken = set(names[::3])
    for name in names:
        put(tmp_path / "blocks" / old_place(name), b"")
    for name in taken:
        put(tmp_path / "blocks" / new_place(name), b"other")
    found = survey(roots)
    moves = {move.name.decode() for move in unpack_moves(found.moves.moves)}
    left = {name.decode() for group in unpack_groups(found.left) for _, name in group.names}
    assert len(names) > 30
    assert moves & {*names} == {*names} - taken
    assert len(moves) == before + len(names) - len(taken)
    assert taken <= left
    assert found.directories[Root.BLOCKS] == 4 + len(names) - len(taken)


def moved(roots: Roots, packed: bytes) -> native.Moved:
    return native.NativeMover(Mover(roots)).move(packed, NEVER)


def test_what_is_not_plain_is_left_and_nothing_is_replaced(roots: Roots, tmp_path: Path) -> None:
    moves = list(unpack_moves(survey(roots).moves.moves))
    first, second, third = moves[:3]
    directory = tmp_path / os.fsdecode(first.root.label + b"/" + first.new_directory)
    directory.mkdir(parents=True)
    taken = directory / os.fsdecode(first.name)
    taken.write_bytes(b"taken")
    other = Move(Verb.MOVE, second.root, second.directory, second.name, second.place, 1)
    unlink = Move(Verb.UNLINK, third.root, third.directory, third.name, third.place, third.inode)
    done = moved(roots, pack_moves([first, other, unlink, *moves[3:]]))
    assert list(done.outcomes) == [native.LEFT] * 3 + [Outcome.CHANGED] * 2
    assert sum(done.changed) == 2
    assert taken.read_bytes() == b"taken"


def test_directory_that_is_half_made_is_left(roots: Roots, tmp_path: Path) -> None:
    moves = list(unpack_moves(survey(roots).moves.moves))
    top = tmp_path / moves[0].root.label.decode()
    (top / os.fsdecode(moves[0].new_directory)).parent.mkdir(parents=True)
    (top / os.fsdecode(moves[0].new_directory)).mkdir(0o700)
    (top / os.fsdecode(moves[0].new_directory)).chmod(0o1700)
    done = moved(roots, pack_moves(moves))
    assert list(done.outcomes) == [native.LEFT] + [Outcome.CHANGED] * (len(moves) - 1)


@pytest.mark.parametrize("cut", [1, 15, 40])
def test_malformed_moves_are_refused_and_nothing_is_moved(roots: Roots, cut: int) -> None:
    packed = survey(roots).moves.moves
    with pytest.raises(ValueError, match="malformed"):
        moved(roots, packed[:-cut])
    assert survey(roots).moves.moves == packed


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_lead_elsewhere_are_refused(roots: Roots, name: bytes) -> None:
    for move in (
        Move(Verb.MOVE, Root.BLOCKS, b"aa/bb/cc", name, b"abc", 1),
        Move(Verb.MOVE, Root.BLOCKS, b"aa/" + (name if name != b"a/b" else b""), b"x", b"abc", 1),
    ):
        with pytest.raises(ValueError, match="malformed"):
            moved(roots, pack_moves([move]))
