"""What undo chooses from a batch: in C as in Python; what is malformed is refused by both."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipmigrate.journal import checksummed
from archipmigrate.journal.store import Journal
from archipmigrate.packed.changes import ChangeWriter, Flag, read_changes
from archipmigrate.perms.chosen import (
    Chooser,
    NativeChooser,
    PythonChooser,
    both,
    choice,
    pack_inodes,
)
from archipmigrate.policy import NO_ID
from tests.packed.test_packed import Directory, directories, expected, write
from tests.support.inprocess import Program
from tests.support.parity import need_native
from tests.support.program import GID, need

ROOT = Path(__file__).parents[2]
LENGTHS = struct.Struct("<III")
many = st.lists(directories, max_size=3).filter(lambda some: any(expected(one) for one in some))
quick = settings(max_examples=100, deadline=None)
Case: TypeAlias = tuple[bytes, bytes, bytes]


@pytest.fixture(autouse=True)
def _built() -> None:
    need_native()


def pack(some: Sequence[Directory], uid: int = NO_ID) -> bytes:
    writer = ChangeWriter(GID, uid, bounded=True)
    for directory in some:
        write(writer, directory)
    return writer.finish()


def refused(call: Callable[..., object], *arguments: bytes) -> object:
    """Return what a call gives, or that it refuses its arguments."""
    try:
        return call(*arguments)
    except ValueError:
        return ValueError


def all_of(chooser: Chooser, packed: bytes, chosen: bytes, inodes: bytes) -> list[object]:
    return [
        refused(chooser.drop_others, packed, chosen),
        refused(chooser.with_inodes, packed, chosen, inodes),
        refused(chooser.read, packed, chosen),
    ]


@quick
@given(many, st.sampled_from((NO_ID, 0, 77)), st.data())
def test_both_twins_choose_the_same(some: list[Directory], uid: int, data: st.DataObject) -> None:
    packed = pack(some, uid)
    changes = list(read_changes(packed))
    picked = data.draw(st.sets(st.integers(0, len(changes) - 1)))
    chosen = choice(len(changes), picked)
    inodes = data.draw(st.sets(st.sampled_from([change.inode for change in changes])))
    found = all_of(NativeChooser(), packed, chosen, pack_inodes(inodes))
    assert found == all_of(PythonChooser(), packed, chosen, pack_inodes(inodes))
    fewer = bytes(c.index in picked and c.inode in inodes for c in changes)
    assert found[1:] == [fewer, [change for change in changes if change.index in picked]]
    kept, number, folders = NativeChooser().drop_others(packed, chosen)
    flags = {change.index: change.flags & Flag.DROPPED for change in read_changes(kept)}
    assert {index for index, flag in flags.items() if not flag} == picked
    assert (number, folders) == (len(picked), sum(changes[index].directory for index in picked))


@quick
@given(many, st.data())
def test_changes_that_are_cut_off_are_refused_by_both(
    some: list[Directory], data: st.DataObject
) -> None:
    packed = pack(some)
    chosen = bytes([1]) * len(list(read_changes(packed)))
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for chooser in (NativeChooser(), PythonChooser()):
        assert all_of(chooser, cut, chosen, b"") == [ValueError] * 3
        for wrong in (chosen[1:], chosen + b"\1"):
            assert all_of(chooser, packed, wrong, b"") == [ValueError] * 3
        assert refused(chooser.with_inodes, packed, chosen, b"inode") is ValueError


@quick
@given(many, st.data())
def test_damaged_changes_are_refused_or_read_as_in_python(
    some: list[Directory], data: st.DataObject
) -> None:
    """C also refuses names that would lead elsewhere, as its apply does."""
    damaged = bytearray(pack(some))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    packed = bytes(damaged)
    chosen = bytes([1]) * data.draw(st.integers(0, 12))
    native = all_of(NativeChooser(), packed, chosen, b"")
    assert native in ([ValueError] * 3, all_of(PythonChooser(), packed, chosen, b""))


def test_choices_are_combined_byte_by_byte() -> None:
    assert both(b"\0\0\1\1\0", b"\0\1\0\1\0") == b"\0\0\0\1\0"
    assert both(b"", b"") == b""
    assert choice(4, {3, 1}) == b"\0\1\0\1"
    with pytest.raises(IndexError):
        choice(4, {4})


def cases(number: int) -> list[Case]:
    """Return changes whole and damaged, with choices and inodes."""
    drawn = random.Random(7)
    found = []
    for _ in range(number):
        writer = ChangeWriter(GID, drawn.choice((NO_ID, 5)))
        for directory in range(drawn.randint(1, 3)):
            depth = drawn.randint(1, 12)
            for level in range(depth):
                writer.enter(b"d%d" % directory * (level + 1), drawn.getrandbits(64))
            for file in range(drawn.randint(0, 4)):
                written = (1, 2) if drawn.random() < 0.3 else None
                flags = Flag.SETID if written else 0
                name = b"n" * drawn.choice((1, 9, 255))
                writer.change(name, flags, 0o100644, 0o100664, 0, 0, file, written)
            for _level in range(depth):
                writer.leave((0o40755, 0o42775, 0, 0) if drawn.random() < 0.5 else None)
        packed = bytearray(writer.finish())
        chosen = bytes(drawn.getrandbits(1) for _ in range(writer.count))
        for _damage in range(drawn.choice((0, 0, 1, 3)) if packed else 0):
            packed[drawn.randrange(len(packed))] = drawn.randrange(256)
        if drawn.random() < 0.2:
            del packed[drawn.randint(0, len(packed)) :]
        inodes = pack_inodes(drawn.randrange(6) for _ in range(drawn.randrange(4)))
        found.append((bytes(packed), chosen, inodes))
    return found


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build fuzz_chosen with sanitizers; return the command."""
    program = tmp_path_factory.mktemp("fuzz") / "fuzz_chosen"
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/native"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    core = [ROOT / "native" / "core" / f"{name}.c" for name in ("chosen", "changes", "buffer")]
    core += [ROOT / "native" / "core" / "names.c", ROOT / "tests" / "fuzz" / "fuzz_chosen.c"]
    subprocess.run([need("gcc"), *flags, "-o", program, *core], check=True)
    # The sanitizer must be loaded first; to find leaks it needs rights that not all have.
    return ["env", "-u", "LD_PRELOAD", "ASAN_OPTIONS=detect_leaks=0", str(program)]


@pytest.mark.slow
def test_no_changes_lead_c_out_of_its_buffers(fuzz: list[str], tmp_path: Path) -> None:
    some = cases(3000)
    body = b"".join(LENGTHS.pack(*map(len, case)) + b"".join(case) for case in some)
    (tmp_path / "cases").write_bytes(body)
    done = subprocess.run([*fuzz, tmp_path / "cases"], capture_output=True, text=True, check=True)
    given = [refused(NativeChooser().drop_others, packed, chosen) for packed, chosen, _ in some]
    numbers = [-1 if one is ValueError else one[1] for one in given]  # type: ignore[index]
    assert list(map(int, done.stdout.split())) == numbers
    assert numbers.count(-1) > 500
    assert sum(number > 0 for number in numbers) > 500


@pytest.mark.slow
def test_sanitizer_sees_a_byte_too_many(fuzz: list[str]) -> None:
    done = subprocess.run(fuzz, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def replace(journal: Path, column: str, content: Callable[[bytes], bytes]) -> None:
    """Write another pre-image or outcome of the first batch, with checksum and seal."""
    opened = Journal(journal, new=False)
    number = next(iter(opened.batches()))
    preimage, outcome = opened.preimage(number), opened.outcome(number)
    if column == "preimage":
        preimage = content(preimage)
    else:
        outcome = content(outcome)

    def write_again(journal: Journal) -> None:
        journal.execute("DELETE FROM batch WHERE id = ?", number)
        journal.add_batch(number, checksummed.pack(preimage))
        journal.set_outcome(number, outcome)

    opened.commit([write_again])
    opened.close()


@pytest.mark.parametrize(
    ("column", "content"),
    [
        ("preimage", lambda packed: packed[:-1]),
        ("preimage", lambda packed: b"\x09" + packed[1:]),
        ("outcome", lambda packed: struct.pack("<I", 1) + packed[4:17]),
    ],
)
def test_undo_of_a_batch_that_makes_no_sense_stops_and_names_it(
    program: Program,
    share: Path,
    column: str,
    content: Callable[[bytes], bytes],
) -> None:
    """Its checksum and seal are right: an error of a program wrote it."""
    for number in range(3):
        (share / f"file{number}").write_bytes(b"")
    assert program.perms(share).status == 0
    (journal,) = program.state.glob("perms-*.journal")
    replace(journal, column, content)
    ended = program("undo")
    assert ended.status not in (0, 3)
    assert re.search(r"batch \d+ is damaged", ended.out)
    assert {os.stat(share / f"file{number}").st_gid for number in range(3)} == {GID}
