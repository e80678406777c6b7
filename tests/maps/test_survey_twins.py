"""The survey in C finds what the one in Python finds, whatever lies among the maps."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from archipmigrate.journal.store import Journal
from archipmigrate.layout.names import Role
from archipmigrate.layout.placement import Placement, pithos_dir, sha256_dir, v03_dir
from archipmigrate.maps.blocker.locks import Locks
from archipmigrate.maps.format import v1, v2
from archipmigrate.maps.journal.tables import FILE, prepare_tables
from archipmigrate.maps.survey import walk
from archipmigrate.maps.survey.judge import PLAIN_BLOCK, PLAIN_MAP
from archipmigrate.maps.survey.plain import survey_plain
from archipmigrate.maps.survey.walk import Listing, Survey
from archipmigrate.model import Limits, Tally
from archipmigrate.tree.files import DirPath, Tree
from tests.support.parity import need_native

DIGEST = b"0123456789abcdef" * 4
BASES = [
    *(b"foobar", b"archip_foobar", b"archip_archip_foobar", b"archip_", b"x", b"archip_x"),
    *(b"two\nlines", b"\xff\xfe\xfd\xfc\xfb\xfa", b"archip_..dots", b"archip_ab..cd", b"n" * 200),
    *(DIGEST, b"archip_" + DIGEST, b".archipmigrate-1", b".hidden"),
]
ENDS = [
    *(b"", b"_lock", b"_lock_lock", b"_lockhost_1_xy", b"_locksmith", b".archipmigrate_run"),
    *(b"_%016x" % number for number in (0, 1, 2**63, 2**64 - 1)),
    *(b"_000000000000000G", b"_00000000000000", b"_0000000000000000_lock"),
]
HEADER = v2.encode_header_v2(v2.HeaderV2(10 << 22, epoch=2**64 - 1, flags=0xFFFFFFFF))
CONTENTS = [
    *(b"", b"\0" * 32, HEADER, HEADER[:31], HEADER + b"tail", HEADER[:7] + b"\3" + HEADER[8:]),
    *(HEADER[:16] + struct.pack(">I", size) + HEADER[20:] for size in (0, 128, 256, 3 << 20)),
    v1.HEADER.pack(1, 0),
    v1.HEADER.pack(1, 5 << 20) + b"\1" * 66,
    v1.HEADER.pack(1, 5 << 20) + b"\1" * 65,
    v1.HEADER.pack(1, 2**64 - 1) + b"\1" * 66,
    v1.HEADER.pack(1, 1)[:11],
]


class NoSizes:
    """Pithos knows of none."""

    def of(self, name: bytes) -> tuple[int, ...]:
        del name
        return ()


@dataclass(frozen=True)
class Found:
    """What a survey found: the rows of files, and how many directories and files it counted."""

    rows: list[tuple[object, ...]]
    tally: Tally
    failures: list[bytes]


def survey(maps: Path, *, native: bool, limits: Limits) -> Found:
    """Survey the maps in as many units as the limits make of them."""
    root = os.open(maps, os.O_PATH)
    tree = Tree(root)
    survey = Survey(tree, Locks(tree, False, b"ours"), NoSizes(), sweeps=False, native=native)
    journal, tally, failures = Journal(None, new=True), Tally(), []
    journal.commit([prepare_tables])
    units = [*survey.first_units()]
    while units:
        scan = survey.scan(units.pop(), limits)
        journal.commit(scan.writes)
        tally.add(scan.tally)
        failures += [failure.path for failure in scan.failures]
        units += [unit for unit in (scan.rest, scan.wide, *scan.again) if unit is not None]
    rows = sorted(journal.select(f"SELECT {FILE} FROM file"))
    journal.close()
    os.close(root)
    return Found(rows, tally, sorted(failures))


def places(name: bytes) -> Iterator[DirPath]:
    """Yield directories that a file of this name may be in, by anybody's rule or nobody's."""
    yield from (sha256_dir(name), (), (b"aa",), (b"aa", b"bb"), (b"aa", b"bb", b"cc"))
    yield from (
        *(path for path in (v03_dir(name), pithos_dir(name)) if path),
        (*sha256_dir(name), b"d"),
    )


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Maps with every name in every place, of contents by chance; and what is no file."""
    rng = random.Random(1)
    maps = tmp_path / "maps"
    maps.mkdir()
    for base in BASES:
        for end in ENDS:
            for path in places(base + end):
                directory = os.path.join(os.fsencode(maps), *path)
                os.makedirs(directory, exist_ok=True)
                put(os.path.join(directory, base + end), rng)
    os.symlink(maps, maps / "zz")
    return maps


def put(path: bytes, rng: random.Random) -> None:
    kind = rng.choice(["directory", "link", "fifo", *["file"] * 20])
    if os.path.lexists(path) or len(os.path.basename(path)) > 255:
        return
    if kind == "directory":
        os.mkdir(path)
    elif kind == "link":
        os.symlink(b"/etc/passwd", path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        Path(os.fsdecode(path)).write_bytes(rng.choice(CONTENTS))


@pytest.fixture(autouse=True)
def native() -> None:
    need_native()


@pytest.mark.parametrize("entries", [1, 7, 1_000_000])
def test_twins_find_the_same(odd: Path, entries: int) -> None:
    limits = Limits(60, entries, 1)
    found = survey(odd, native=True, limits=limits)
    assert found == survey(odd, native=False, limits=limits)
    roles = {(row[1], row[4]) for row in found.rows}
    assert roles >= {(role, Placement.V04) for role in (Role.MAP, Role.BLOCK, Role.LOCK)}
    assert roles >= {(Role.MAP, Placement.V03), (Role.LOCK, Placement.V03)}


def test_wide_directory_is_read_in_pieces(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "WIDE", 5)
    limits = Limits(60, 100, 1)
    assert survey(odd, native=True, limits=limits) == survey(odd, native=False, limits=limits)


@pytest.mark.usefixtures("no_python")
def test_plain_share_is_walked_in_c_alone(maps: Path) -> None:
    for name, content in (
        (b"foobar", HEADER),
        (b"foobar_%016x" % 0, b"\0" * 1280),
        (b"foobar_lock", b"host_1"),
        (b"archip_other1", v1.HEADER.pack(1, 0)),
    ):
        directory = maps.joinpath(*map(os.fsdecode, sha256_dir(name)))
        directory.mkdir(parents=True)
        (directory / os.fsdecode(name)).write_bytes(content)
    found = survey(maps, native=True, limits=Limits(60, 1000, 1))
    assert len(found.rows) == found.tally.files == 4
    assert {row[1:6] for row in found.rows} >= {PLAIN_MAP, PLAIN_BLOCK}


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the walk in Python opened a directory")

    monkeypatch.setattr(Listing, "__init__", refuse)


def test_names_that_a_survey_is_not_for_are_refused(maps: Path) -> None:
    root = os.open(maps, os.O_PATH)
    for body in (b"x", b"\0" * 20, b"\0" * 16 + b"\3\0\0\0e\1x"):
        with pytest.raises(ValueError, match="malformed"):
            survey_plain(Tree(root), body, Limits(1, 1, 1), 1)
    os.close(root)
