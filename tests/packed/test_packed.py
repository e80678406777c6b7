"""The packed buffers: what goes in comes out, every name stays, what is malformed is refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipmigrate.errors import JournalError
from archipmigrate.journal.checksummed import pack, unpack
from archipmigrate.model import Unit
from archipmigrate.packed.changes import ChangeWriter, Flag, read_changes, with_flags, wrapped
from archipmigrate.packed.groups import (
    Group,
    Hint,
    pack_groups,
    split_unit,
    unpack_groups,
    walk_unit,
)
from tests.support.program import GID

NO_NAME = bytes.maketrans(b"\0/", b"xx")
quick = settings(max_examples=50, deadline=None)
names = st.binary(min_size=1, max_size=4).map(lambda name: name.translate(NO_NAME)).filter(
    lambda name: name not in (b".", b"..")
) | st.sampled_from((b"n" * 255, b"\xff" * 255))
paths = st.lists(names, max_size=3).map(b"/".join)
hinted = st.tuples(st.sampled_from((Hint.ENTRY, Hint.DIRECTORY)), names)
groups = st.builds(
    Group,
    paths,
    st.integers(0, 2**64 - 1),
    st.lists(hinted, max_size=5).map(tuple)
    | st.sampled_from((((Hint.WALK, b""),), ((Hint.SELF, b""),))),
)
u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
times = st.integers(-(2**63), 2**63 - 1)
attrs = st.tuples(u16, u16, u32, u32)


def related(draw: st.DrawFn) -> list[Group]:
    """Draw groups as a walk leaves them over: each below the one before, or beside it."""
    path = draw(paths)
    found = []
    for group in draw(st.lists(groups, max_size=5)):
        path = b"/".join(filter(None, (path[: draw(st.integers(0, len(path)))], group.path)))
        found.append(Group(path, group.inode, group.names))
    return found


many = st.composite(related)()


def contents(body: bytes) -> Counter[tuple[bytes, int, int, bytes]]:
    """Return all names of a unit with their group and hint, and how often they are there."""
    return Counter((g.path, g.inode, *name) for g in unpack_groups(body) for name in g.names)


# -- groups


@quick
@given(many)
def test_groups_come_back_as_they_were(some: list[Group]) -> None:
    assert list(unpack_groups(pack_groups(some))) == some
    assert walk_unit(iter(some)) == Unit(pack_groups(some), sum(len(g.names) for g in some))


def test_stack_of_directories_takes_no_more_than_its_deepest_path() -> None:
    path = b"/".join(b"%d" % level for level in range(500))
    steps = [path[:end] for end, byte in enumerate(path) if byte == ord("/")]
    some = [Group(step, 1, ((Hint.DIRECTORY, b"s"),)) for step in steps]
    assert len(pack_groups(some)) < len(path) + 30 * len(some)
    assert len(steps) == 499


@quick
@given(many, st.integers(1, 9), st.booleans())
def test_split_unit_keeps_every_name_once(some: list[Group], parts: int, counted: bool) -> None:
    unit = walk_unit(some, retries=2, counted=counted)
    pieces = split_unit(unit, parts)
    assert 1 <= len(pieces) <= parts
    assert sum((contents(piece.body) for piece in pieces), Counter()) == contents(unit.body)
    for piece in pieces:
        assert piece.entries == contents(piece.body).total()
        assert (piece.retries, piece.counted) == (2, counted)
    if unit.entries >= parts:
        sizes = [piece.entries for piece in pieces]
        assert len(pieces) == parts
        assert max(sizes) - min(sizes) <= len(some)


def test_split_unit_of_one_name_stays_whole() -> None:
    unit = walk_unit([Group(b"a", 7, ((Hint.ENTRY, b"b"),))])
    assert split_unit(unit, 5) == [unit]


@quick
@given(many.filter(bool), st.data())
def test_malformed_groups_are_refused(some: list[Group], data: st.DataObject) -> None:
    body = pack_groups(some)
    ends = {len(pack_groups(some[:number])) for number in range(len(some) + 1)}
    cut = data.draw(st.integers(0, len(body)).filter(lambda end: end not in ends))
    with pytest.raises(ValueError, match="group"):
        list(unpack_groups(body[:cut]))


# -- changes


@dataclass(frozen=True)
class Wanted:
    """A change to write: of a file (its name), or of the directory itself (no name)."""

    name: bytes
    attrs: tuple[int, int, int, int]
    inode: int
    flags: int = 0
    written: tuple[int, int] | None = None


@dataclass(frozen=True)
class Directory:
    """A directory to write: its changes, and those of what is in it."""

    name: bytes
    inode: int
    own: tuple[int, int, int, int] | None
    files: tuple[Wanted, ...] = ()
    inside: tuple[Directory, ...] = ()


def files(name: bytes, some: tuple[int, int, int, int], inode: int, linked: bool) -> Wanted:
    return Wanted(name, some, inode, Flag.LINKED if linked else 0)


plain = st.builds(files, names, attrs, u64, st.booleans())
set_id = st.builds(Wanted, names, attrs, u64, st.just(int(Flag.SETID)), st.tuples(u64, times))
leaf = st.builds(
    Directory, names, u64, st.none() | attrs, st.lists(plain | set_id, max_size=2).map(tuple)
)
directories = st.recursive(
    leaf,
    lambda inside: st.builds(
        Directory,
        names,
        u64,
        st.none() | attrs,
        st.lists(plain | set_id, max_size=2).map(tuple),
        st.lists(inside, max_size=2).map(tuple),
    ),
    max_leaves=4,
)


def write(writer: ChangeWriter, directory: Directory) -> None:
    writer.enter(directory.name, directory.inode)
    for file in directory.files:
        writer.change(file.name, file.flags, *file.attrs, file.inode, file.written)
    for inside in directory.inside:
        write(writer, inside)
    writer.leave(directory.own)


Row = tuple[bytes, bool, int, int, int, int, int, int, tuple[int, int]]


def expected(directory: Directory, above: bytes = b"") -> list[Row]:
    path = above + b"/" + directory.name if above else directory.name
    rows: list[Row] = [
        (path + b"/" + f.name, False, f.flags, *f.attrs, f.inode, f.written or (0, 0))
        for f in directory.files
    ]
    for inside in directory.inside:
        rows += expected(inside, path)
    if directory.own:
        rows.append((path, True, 0, *directory.own, directory.inode, (0, 0)))
    return rows


@quick
@given(directories)
def test_changes_come_back_as_they_were(top: Directory) -> None:
    writer = ChangeWriter(GID)
    write(writer, top)
    packed = writer.finish()
    wanted = expected(top)
    assert writer.count == len(wanted)
    if not wanted:
        assert packed == b""
        return
    found = list(read_changes(packed))
    assert [
        (c.path, c.directory, c.flags, c.mode, c.new_mode, c.uid, c.gid, c.inode, (c.size, c.mtime))
        for c in found
    ] == wanted
    assert [c.index for c in found] == list(range(len(found)))
    assert {c.new_gid for c in found} == {GID}


@quick
@given(directories, st.data())
def test_flags_are_set_in_the_records_named_and_nowhere_else(
    top: Directory, data: st.DataObject
) -> None:
    writer = ChangeWriter(GID)
    write(writer, top)
    before = list(read_changes(writer.finish())) if writer.count else []
    chosen = data.draw(st.sets(st.sampled_from(before))) if before else set()
    if not chosen:
        return
    packed = with_flags(writer.finish(), [c.offset for c in chosen], Flag.DROPPED)
    for old, new in zip(before, read_changes(packed), strict=True):
        assert new.flags == old.flags | (Flag.DROPPED if old in chosen else 0)
        assert (new.path, new.offset, new.inode) == (old.path, old.offset, old.inode)


def test_directory_without_changes_leaves_no_trace() -> None:
    writer = ChangeWriter(GID)
    writer.enter(b"a", 1)
    writer.enter(b"empty", 2)
    writer.leave()
    writer.change(b"file", 0, 0o100600, 0o100660, 0, 0, 3)
    writer.enter(b"empty-too", 4)
    writer.leave()
    writer.leave()
    assert [change.path for change in read_changes(writer.finish())] == [b"a/file"]
    assert b"empty" not in writer.finish()


@quick
@given(directories.filter(lambda d: bool(expected(d))), st.data())
def test_malformed_changes_are_refused(top: Directory, data: st.DataObject) -> None:
    writer = ChangeWriter(GID)
    write(writer, top)
    packed = writer.finish()
    wanted = len(expected(top))
    cut = data.draw(st.integers(0, len(packed) - 1))
    found, why = -1, "a frame"
    try:
        found = len(list(read_changes(packed[:cut])))
    except ValueError as error:
        why = str(error)
    assert found < wanted  # between two outermost directories it is whole, with fewer changes
    assert re.search(r"change|frame", why)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda packed: b"\x03" + packed[1:], "version 3"),
        (lambda packed: b"\x02" + packed[1:], "kind"),
        (lambda packed: packed[:8] + b"\x09" + packed[9:], "kind 9"),
        (lambda packed: packed[:8] + b"\x03" + packed[8:], "cut off, or leave"),
        (lambda packed: packed + b"\x02", "cut off, or leave"),
        (lambda packed: packed[:-24], "within a directory"),
        (lambda packed: b"", "cut off, or leave"),
    ],
    ids=["version", "owner", "kind", "leave", "tail", "directory", "empty"],
)
def test_damaged_changes_say_what_is_wrong(damage: object, why: str) -> None:
    writer = ChangeWriter(GID)
    writer.enter(b"a", 1)
    writer.leave((0o040755, 0o042775, 0, 0))
    assert callable(damage)
    with pytest.raises(ValueError, match=why):
        list(read_changes(damage(writer.finish())))


@pytest.mark.parametrize(
    ("time", "kept"),
    [(0, 0), (-1, -1), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64, 0), (2**64 + 5, 5)],
)
def test_time_is_wrapped_to_64_bits(time: int, kept: int) -> None:
    assert wrapped(time) == kept


# -- checksummed blobs


@quick
@given(st.binary(max_size=2000))
def test_packed_content_comes_back(content: bytes) -> None:
    assert unpack(pack(content)) == content


def test_any_flipped_bit_of_a_blob_is_found() -> None:
    blob = pack(bytes(range(256)) * 3)
    for at in range(len(blob)):
        for bit in range(8):
            damaged = bytearray(blob)
            damaged[at] ^= 1 << bit
            with pytest.raises(JournalError, match="checksum"):
                unpack(bytes(damaged))


@quick
@given(st.binary(max_size=200), st.data())
def test_blob_cut_or_prolonged_is_found(content: bytes, data: st.DataObject) -> None:
    blob = pack(content)
    cut = data.draw(st.integers(0, len(blob) - 1))
    for damaged in (blob[:cut], blob + b"\0", blob + blob):
        with pytest.raises(JournalError, match="checksum"):
            unpack(damaged)
