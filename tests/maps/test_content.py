"""`mapfiles show --sha256`: the digest of what v0.3 or v0.4 serves, hole for hole."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from archipmigrate.testshare import make_v03_share
from tests.support.inprocess import Program
from tests.support.map_runs import arguments, results
from tests.support.map_shares import (
    OBJECT,
    PREFIX,
    ZERO,
    Entry,
    digests,
    from_v1,
    pithos_place,
    put,
    put_v2,
    sha256_place,
    v03_place,
    v1,
)
from tests.support.program import Ended
from tests.support.v03_share import extract_v03, relocate, sums

pytestmark = pytest.mark.privileged

VOLUME = "foobar"
OLD = PREFIX + VOLUME
ZEROS = bytes(OBJECT)
PRELINK = Path(__file__).parents[3] / "shared" / "golden" / "v03" / "prelink"


@pytest.fixture
def backend(codec: str) -> str:
    """Entries are read by the codec that `auto` takes."""
    return codec


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    path = tmp_path / "blocks"
    path.mkdir()
    return path


def shown(program: Program, maps: Path, volume: str = VOLUME, *words: object) -> Ended:
    return program("mapfiles", "show", "--json", "--sha256", "--maps", maps, *words, volume)


def sha256(program: Program, maps: Path, volume: str = VOLUME, *words: object) -> str:
    ended = shown(program, maps, volume, *words)
    assert ended.status == 0, ended.err
    return str(ended.objects[0]["sha256"])


# -- the share of the real v0.3, before and after


def test_volumes_of_the_real_v03_have_the_digests_of_what_it_served(
    program: Program, tmp_path: Path
) -> None:
    share = extract_v03(tmp_path / "share")
    pithos = ["--pithos-blocks", share / "pithos" / "data"]
    for volume, expected in sums().items():
        assert sha256(program, share / "maps", volume, *pithos) == expected["sha256"]


def test_volumes_have_the_same_digests_once_moved_and_once_upgraded(
    program: Program, tmp_path: Path
) -> None:
    share = extract_v03(tmp_path / "share")
    relocate(share)
    expected = {volume: found["sha256"] for volume, found in sums().items()}
    assert {volume: sha256(program, share / "maps", volume) for volume in expected} == expected
    found = results(program(*arguments(share / "maps")))
    assert {volume for volume, result in found.items() if result == "upgraded"} == set(expected)
    assert {volume: sha256(program, share / "maps", volume) for volume in expected} == expected


@pytest.mark.skipif(not PRELINK.is_dir(), reason=f"{PRELINK} is not there")
def test_old_names_decide_while_blocks_have_two(program: Program, tmp_path: Path) -> None:
    """Some objects were made again since their second name was, and v0.3 serves the new ones."""
    with tarfile.open(PRELINK / "a-after.tar.xz") as archive:
        archive.extractall(tmp_path, filter="fully_trusted")
    expected = json.loads((PRELINK / "a-expected.json").read_text())["volumes"]
    del expected["shrt"]  # nobody can compute where that lies
    words = ["--pithos-blocks", tmp_path / "pithos" / "data"]
    found = {volume: sha256(program, tmp_path / "maps", volume, *words) for volume in expected}
    assert found == {volume: facts["sha256"] for volume, facts in expected.items()}


def test_sample_share_has_the_sums_that_it_says(program: Program, tmp_path: Path) -> None:
    share, pithos, path = (str(tmp_path / name) for name in ("share", "pithos", "sums.json"))
    make_v03_share(share, objects=9, volumes=3, object_bytes=5000, pithos=pithos, sums=path)
    expected = json.loads(Path(path).read_text())
    assert len(expected) == 3
    for volume, found in expected.items():
        words = ["--pithos-blocks", f"{pithos}/data"]
        assert sha256(program, Path(share) / "maps", volume, *words) == found["sha256"]


# -- what is served


def test_holes_zeros_and_the_end_of_a_volume_are_hashed(
    program: Program, maps: Path, blocks: Path
) -> None:
    holed = put(blocks, PREFIX + digests(3)[0].hex())
    with holed.open("r+b") as file:
        file.write(b"begin")
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(OBJECT - 4096)
    put(blocks, PREFIX + digests(3)[1].hex(), b"", mode=0o600)
    put(blocks, digests(3)[2].hex(), b"x" * 6000)  # longer than what belongs to the volume
    one, two, three = digests(3)
    entries: list[Entry] = [(1, one), (0, ZERO), (1, two), (0, three)]
    size = 3 * OBJECT + 5120
    put(maps, OLD, v1(entries, size=size))
    content = holed.read_bytes().ljust(OBJECT, b"\0") + ZEROS + ZEROS + b"x" * 5120
    assert len(content) == size
    assert sha256(program, maps) == hashlib.sha256(content).hexdigest()


def test_holes_are_not_read(
    program: Program, maps: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[Entry] = [(1, digest) for digest in digests(2)]
    for _, digest in entries:
        path = put(blocks, PREFIX + digest.hex())
        os.truncate(path, OBJECT)
    put(maps, OLD, v1(entries))
    read: list[tuple[str, int]] = []
    pread = os.pread

    def watched(fd: int, length: int, at: int) -> bytes:
        raw = pread(fd, length, at)
        read.append((os.readlink(f"/proc/self/fd/{fd}"), len(raw)))
        return raw

    monkeypatch.setattr(os, "pread", watched)
    found = sha256(program, maps)
    monkeypatch.undo()
    assert found == hashlib.sha256(bytes(2 * OBJECT)).hexdigest()
    assert [path for path, _ in read if path.startswith(str(maps))]  # the control
    assert sum(length for path, length in read if path.startswith(str(blocks))) == 0


def test_blocks_of_other_sizes_are_served_as_the_map_says(
    program: Program, maps: Path, blocks: Path
) -> None:
    entries = from_v1([(1, digest) for digest in digests(40)])
    for number, (_, name) in enumerate(entries):
        put(blocks, name.decode(), b"%d" % number)
    put_v2(maps, VOLUME, entries, blocksize=4096)
    content = b"".join((b"%d" % number).ljust(4096, b"\0") for number in range(40))
    assert sha256(program, maps) == hashlib.sha256(content).hexdigest()


def test_text_has_the_digest_too(program: Program, maps: Path, blocks: Path) -> None:
    put(maps, OLD, v1([(0, ZERO)]))
    ended = program("mapfiles", "show", "--sha256", "--maps", maps, VOLUME)
    assert ended.out.splitlines()[-1] == f"  sha256 {hashlib.sha256(ZEROS).hexdigest()}"


# -- what is missing


@pytest.mark.parametrize("place", ["nowhere", "v0.3's", "v0.4's"])
def test_missing_object_is_named(program: Program, maps: Path, blocks: Path, place: str) -> None:
    """Whoever finds the map is whose places count for its objects."""
    name = PREFIX + digests(1)[0].hex()
    put(maps, OLD, v1([(1, digests(1)[0])]), place=v03_place(OLD) if place == "v0.4's" else None)
    if place != "nowhere":
        put(blocks, name, b"x", place=v03_place(name) if place == "v0.3's" else sha256_place(name))
    ended = shown(program, maps)
    assert (ended.status, ended.out) == (3, "")
    assert ended.err == f"the sha256 of foobar cannot be taken: object {name} is missing\n"


def test_stray_of_v03_does_not_stand_for_pithos_block(
    program: Program, maps: Path, blocks: Path, tmp_path: Path
) -> None:
    (digest,) = digests(1)
    name = digest.hex()
    put(maps, OLD, v1([(0, digest)]), place=v03_place(OLD))
    put(blocks, name, b"", place=Path(name[7:9], name[9:11], name[11:13]))
    ended = shown(program, maps)
    assert ended.status == 3
    assert f"object {name} is missing (--pithos-blocks" in ended.err
    put(tmp_path / "pithos", name, b"data", place=pithos_place(name))
    words = ["--pithos-blocks", tmp_path / "pithos"]
    expected = hashlib.sha256(b"data".ljust(OBJECT, b"\0")).hexdigest()
    assert sha256(program, maps, VOLUME, *words) == expected


def test_v03_takes_what_lies_in_pithos_tree_before_its_own(
    program: Program, maps: Path, blocks: Path, tmp_path: Path
) -> None:
    (digest,) = digests(1)
    name = PREFIX + digest.hex()
    put(maps, OLD, v1([(1, digest)]), place=v03_place(OLD))
    put(blocks, name, b"own", place=v03_place(name))
    put(tmp_path / "pithos", name, b"pithos'", place=Path("ar", "ch", "ip"))
    for words, content in [([], b"own"), (["--pithos-blocks", tmp_path / "pithos"], b"pithos'")]:
        expected = hashlib.sha256(content.ljust(OBJECT, b"\0")).hexdigest()
        assert sha256(program, maps, VOLUME, *words) == expected


def test_directory_or_object_that_cannot_be_read_is_named(
    program: Program, maps: Path, blocks: Path, tmp_path: Path
) -> None:
    (digest,) = digests(1)
    name = PREFIX + digest.hex()
    put(maps, OLD, v1([(1, digest)]))
    (blocks / sha256_place(name) / name).mkdir(parents=True)
    ended = shown(program, maps)
    assert ended.status == 1
    assert f"the content of foobar cannot be read: {name} is no regular file" in ended.err
    ended = shown(program, maps, VOLUME, "--pithos-blocks", tmp_path / "nowhere")
    assert ended.status == 1
    assert f"{tmp_path}/nowhere: No such file" in ended.err


def test_without_a_directory_of_objects_it_says_which_option_helps(
    program: Program, maps: Path
) -> None:
    put(maps, OLD, v1([(0, ZERO)]))
    ended = shown(program, maps)
    assert ended.status == 2
    assert "--blocks" in ended.err


def test_volume_that_nobody_can_open_has_no_digest(
    program: Program, maps: Path, blocks: Path
) -> None:
    put(maps, OLD, v1([(0, ZERO)]), place=Path("zz", "zz", "zz"))
    put(maps, PREFIX + "shrt", v1([(0, ZERO)]))
    assert shown(program, maps).status == 1
    ended = shown(program, maps, "shrt")
    assert ended.status == 1
    assert "the name has 4 bytes" in ended.err
