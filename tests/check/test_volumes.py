"""`check --volumes`, --record and --compare: of each volume, its objects and its content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from archipmigrate.check import sums
from tests.support.inprocess import Program
from tests.support.map_shares import (
    OBJECT,
    PREFIX,
    Entry,
    digests,
    from_v1,
    put,
    put_v2,
    sha256_place,
    v1,
)
from tests.support.program import Ended
from tests.support.v03_share import GOLDEN, SHORT, extract_v03
from tests.support.v03_share import sums as served

pytestmark = pytest.mark.privileged
RECORD = GOLDEN / "v03-small.volumes.json"


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


def check(program: Program, top: Path, *words: object) -> Ended:
    return program("check", "--json", *words, top)


def found(ended: Ended, level: str) -> dict[str, str]:
    """Return the texts of findings that are about a volume, by its name."""
    return {
        o["data"]["volume"]: o["text"]
        for o in ended.objects
        if o.get("level") == level and "volume" in o["data"]
    }


def put_volume(top: Path, name: str, version: int, *, old: Sequence[int] = ()) -> list[Path]:
    """Make a volume of three objects at v0.4's places, *old* ones at v0.3's; return them."""
    entries: list[Entry] = [(1, digest) for digest in digests(3, name)]
    if version == 1:
        put(top / "maps", PREFIX + name, v1(entries))
    else:
        put_v2(top / "maps", name, from_v1(entries))
    paths = []
    for number, (_, digest) in enumerate(entries):
        block = f"{PREFIX}{digest.hex()}"
        hexes = digest.hex()
        there = Path(hexes[:2], hexes[2:4], hexes[4:6]) if number in old else None
        paths.append(put(top / "blocks", block, name.encode() * 100, place=there))
    return paths


@pytest.fixture
def top(share: Path) -> Path:
    (share / "maps").mkdir()
    (share / "blocks").mkdir()
    return share


# -- where objects are


def test_every_object_of_every_volume_is_looked_for(program: Program, top: Path) -> None:
    put_volume(top, "volume-1", 1)
    put_volume(top, "volume-2", 2)
    ended = check(program, top, "--volumes")
    assert ended.status == 0, ended.out
    assert ended.objects[1]["text"] == "every object of 2 volumes is where v0.4 looks"
    put_volume(top, "misplaced-1", 1, old=[1])
    put_volume(top, "misplaced-2", 2, old=[2])
    (gone, *_) = put_volume(top, "missing-1", 2)
    gone.unlink()
    ended = check(program, top, "--volumes")
    assert ended.status == 5
    assert set(found(ended, "blocker")) == {"misplaced-1", "misplaced-2"}
    assert set(found(ended, "warning")) == {"missing-1"}
    todo = {o["todo"] for o in ended.objects if o.get("level") == "blocker"}
    places = f"--blocks {top}/blocks --maps {top}/maps"
    command = f"archipmigrate relocate {places} --v03-stopped --state {program.state}"
    assert todo == {f"stop Archipelago on all nodes, then: {command}"}
    shutil.rmtree(top / "blocks")
    (top / "blocks").mkdir()
    assert check(program, top, "--volumes").status == 5  # nothing in it: not mounted?


def test_object_that_hides_the_old_one_is_found(program: Program, top: Path) -> None:
    (hiding, *_) = put_volume(top, "diverged-1", 2)
    digest = hiding.name.removeprefix("archip_")
    place = Path(digest[:2], digest[2:4], digest[4:6])
    old = put(top / "blocks", hiding.name, b"what v0.3 had", place=place)
    ended = check(program, top, "--volumes")
    assert (ended.status, set(found(ended, "blocker"))) == (5, {"diverged-1"})
    old.unlink()
    old.hardlink_to(hiding)  # as relocate --prelink leaves it
    assert check(program, top, "--volumes").status == 0


def test_missing_objects_alone_are_warnings(program: Program, top: Path) -> None:
    (gone, *_) = put_volume(top, "missing-1", 2)
    gone.unlink()
    ended = check(program, top, "--volumes")
    assert (ended.status, set(found(ended, "warning"))) == (4, {"missing-1"})


# -- digests


def test_digests_of_the_real_v03_are_recorded_and_stay_all_the_way(
    program: Program, tmp_path: Path
) -> None:
    top, record = extract_v03(tmp_path / "share"), tmp_path / "before.json"
    ended = check(program, top, "--record", record, "--pithos-blocks", top / "pithos" / "data")
    assert (ended.status, "cannot open the names: shrt" in ended.out) == (4, True), ended.out
    assert json.loads(record.read_text()) == served()
    for name, where in (("data", "blocks"), ("maps", "maps")):
        shutil.copytree(top / "pithos" / name, top / where, dirs_exist_ok=True)
    next(path for path in (top / "maps").rglob("*") if path.name == SHORT).unlink()
    sizes = tmp_path / "sizes.csv"
    image = next(path for path in (top / "pithos" / "maps").rglob("*") if path.is_file())
    sizes.write_text(f"{image.name},{image.stat().st_size // 32 * OBJECT}\n")
    places = ("--maps", top / "maps", "--blocks", top / "blocks")
    for job in (
        ("relocate", "--v03-stopped", *places),
        ("mapfiles", "--v03-stopped", "--sizes", sizes, *places),
    ):
        assert program(*job).status == 0
        ended = check(program, top, "--volumes", "--compare", record, "--sizes", sizes)
        assert not found(ended, "blocker")
        assert list(found(ended, "warning")) == [image.name]  # v0.3 never served it by name
        assert f"{len(served())} of {len(served())} volumes as recorded" in ended.out


def test_what_differs_misses_and_is_new_is_listed(
    program: Program, top: Path, tmp_path: Path
) -> None:
    record = tmp_path / "before.json"
    for name in ("changed", "deleted", "damaged", "staying"):
        put_volume(top, name, 2)
    assert check(program, top, "--record", record).status == 0
    assert check(program, top, "--compare", record).status == 0
    put_volume(top, "another", 2)
    ended = check(program, top, "--compare", record)
    assert (ended.status, set(found(ended, "warning"))) == (4, {"another"})
    paths = {name: put_volume(top, name, 2) for name in ("changed", "damaged")}
    paths["changed"][1].write_bytes(b"changed")
    paths["damaged"][2].unlink()
    (top / "maps" / sha256_place("deleted") / "deleted").unlink()
    ended = check(program, top, "--compare", record)
    assert ended.status == 5
    assert set(found(ended, "blocker")) == {"changed", "damaged", "deleted"}
    assert "content differs" in found(ended, "blocker")["changed"]
    assert "is missing" in found(ended, "blocker")["damaged"]
    assert "no such volume" in found(ended, "blocker")["deleted"]
    assert "1 of 4 volumes as recorded" in ended.out


def test_volume_that_cannot_be_hashed_is_no_part_of_the_record(
    program: Program, top: Path, tmp_path: Path
) -> None:
    record = tmp_path / "before.json"
    (gone, *_) = put_volume(top, "damaged", 2)
    put_volume(top, "staying", 2)
    gone.unlink()
    ended = check(program, top, "--record", record)
    assert (ended.status, set(found(ended, "warning"))) == (4, {"damaged"})
    assert set(json.loads(record.read_text())) == {"staying"}


def test_name_that_is_no_unicode_comes_back_from_the_record(tmp_path: Path) -> None:
    sums_of = {b"vol\xff": sums.Sum(1, "0" * 64), "völlig".encode(): sums.Sum(2, "1" * 64)}
    sums.write_sums(tmp_path / "record", sums_of)
    assert sums.read_sums(tmp_path / "record") == sums_of


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"v": 1}', '{"v": {"size": 1}}', '{"v": {"size": 1, "sha256": "xyz"}}', "\x00\xff"],
)
def test_file_that_is_no_record_is_a_usage_error(
    program: Program, top: Path, tmp_path: Path, content: str
) -> None:
    put_volume(top, "staying", 2)
    (tmp_path / "record").write_text(content, encoding="latin-1")
    assert check(program, top, "--compare", tmp_path / "record").status == 2
    assert check(program, top, "--compare", tmp_path / "none").status == 2
    assert check(program, top, "--record", tmp_path / "none" / "record").status == 2


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)]
)
def test_interrupted_record_leaves_no_file_and_no_half_one(
    program: Program,
    top: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    directory = tmp_path / "records"
    directory.mkdir()
    put_volume(top, "staying", 2)

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", failing)
    assert check(program, top, "--record", directory / "record").status == status
    assert list(directory.iterdir()) == []


def test_record_is_never_replaced(program: Program, top: Path, tmp_path: Path) -> None:
    put_volume(top, "staying", 2)
    record = tmp_path / "record"
    record.write_text("that of before")
    ended = check(program, top, "--record", record)
    assert (ended.status, record.read_text()) == (2, "that of before")
    assert "name another file" in ended.err


def test_many_volumes_are_hashed_a_few_at_once(program: Program, top: Path, tmp_path: Path) -> None:
    for number in range(40):
        put_volume(top, f"volume-{number}", 2)
    record = tmp_path / "record"
    assert check(program, top, "--record", record, "--jobs", 3).status == 0
    assert len(json.loads(record.read_text())) == 40
