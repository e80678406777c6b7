"""A share as v0.3 leaves it: every file where v0.3 or Pithos puts it, its contents known."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.errors import UsageError
from archipmigrate.testshare import ShareSize, make_v03_share
from tests.testshare.test_objects import contents, files_below, parsed_v1, run_command

MIB = 1 << 20
OBJECT = 4 * MIB
ZEROS = hashlib.sha256(b"").digest()
PREFIX = "archip_"


def made(tmp_path: Path, objects: int = 60, volumes: int = 12, **more: object) -> Path:
    top = tmp_path / "share"
    pithos, sums = str(tmp_path / "pithos"), str(tmp_path / "sums.json")
    make_v03_share(
        str(top), objects=objects, volumes=volumes, pithos=pithos, sums=sums, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    return top


def cut(name: str, at: int) -> str:
    return "/".join(name[i : i + 2] for i in (at, at + 2, at + 4))


def place(path: Path, tree: Path) -> str:
    return str(path.parent.relative_to(tree))


def data_name(volume: str, number: int) -> str:
    return PREFIX + hashlib.sha256(f"{PREFIX}{volume}_{number}".encode()).hexdigest()


def volumes_of(top: Path) -> dict[str, tuple[int, list[tuple[int, bytes]]]]:
    """Return size and entries of each volume, by name."""
    return {
        path.name.removeprefix(PREFIX): parsed_v1(path.read_bytes())
        for path in files_below(top / "maps")
        if path.stat().st_size
    }


def served(top: Path, volume: str) -> Iterator[bytes]:
    """Yield the objects of a volume as v0.3 serves them: Pithos' tree first, then its own."""
    size, entries = volumes_of(top)[volume]
    for number, (flag, digest) in enumerate(entries):
        name = f"{PREFIX if flag else ''}{digest.hex()}"
        length = min(OBJECT, size - number * OBJECT)
        content = b""
        if flag or digest != ZEROS:
            path = top.parent / "pithos" / "data" / cut(name, 0) / name
            if not path.exists():
                path = top / "blocks" / cut(name, 7) / name
            content = path.read_bytes()
        assert len(content) <= length
        yield content.ljust(length, b"\0")


def test_every_file_lies_where_v03_puts_it(tmp_path: Path) -> None:
    top = made(tmp_path)
    for tree in (top / "blocks", top / "maps"):
        odd = [path for path in files_below(tree) if place(path, tree) != cut(path.name, 7)]
        assert [path.name for path in odd] == (["archip_shrt"] if tree.name == "maps" else [])
    [short] = (top / "maps").rglob("archip_shrt")
    levels = short.relative_to(top / "maps").parts
    assert (len(levels), levels[:2]) == (4, ("sh", "rt"))
    assert sorted(os.listdir(top)) == ["blocks", "maps"]


def test_written_objects_have_v03s_names(tmp_path: Path) -> None:
    top = made(tmp_path)
    named = set()
    for volume, (size, entries) in volumes_of(top).items():
        assert len(entries) == -(-size // OBJECT)
        for number, (flag, digest) in enumerate(entries):
            if flag:
                assert PREFIX + digest.hex() == data_name(volume, number)
                named.add(data_name(volume, number))
    found = {path.name for path in files_below(top / "blocks") if path.name.startswith(PREFIX)}
    assert found == named
    assert len(found) == 60 + 1  # that of `shrt`


def test_leftovers_of_v03_are_there(tmp_path: Path) -> None:
    top = made(tmp_path, volumes=25)
    maps = {path.name: path.stat() for path in files_below(top / "maps")}
    locks = {name: found for name, found in maps.items() if name.endswith("_lock")}
    kinds = {(stat.S_IMODE(found.st_mode), found.st_size) for found in locks.values()}
    assert kinds == {(0o700, 0)}
    volumes = volumes_of(top)
    assert len(volumes) == 26
    held = {name.removeprefix(PREFIX).removesuffix("_lock") for name in locks}
    assert volumes.keys() < held  # and those of deleted volumes
    never = [found for name, found in maps.items() if not found.st_size and name not in locks]
    assert {stat.S_IMODE(found.st_mode) for found in never} == {0o600}
    assert len(never) == len(held) - len(volumes) == 2


def test_strays_hide_what_lies_in_pithos_tree(tmp_path: Path) -> None:
    top = made(tmp_path)
    strays = [path for path in files_below(top / "blocks") if len(path.name) == 64]
    assert {path.stat().st_size for path in strays} == {0}
    blocks = {path.name: path for path in files_below(tmp_path / "pithos" / "data")}
    names = {path.name for path in strays} - {ZEROS.hex()}
    assert names
    assert all(blocks[name].stat().st_size for name in names)


def test_pithos_has_trees_of_its_own(tmp_path: Path) -> None:
    made(tmp_path, objects=100, volumes=20)
    pithos = tmp_path / "pithos"
    rows = dict(line.split(",") for line in (pithos / "sizes.csv").read_text().splitlines()[1:])
    blocks = {path.name for path in files_below(pithos / "data")}
    assert len(blocks) == 10
    images = files_below(pithos / "maps")
    assert {path.name for path in images} == set(rows)
    for path in [*images, *files_below(pithos / "data")]:
        tree = pithos / path.relative_to(pithos).parts[0]
        assert place(path, tree) == cut(path.name, 0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for path in images:
        raw = path.read_bytes()
        assert int(rows[path.name]) == len(raw) // 32 * OBJECT
        assert {raw[at : at + 32].hex() for at in range(0, len(raw), 32)} <= blocks
    for path in files_below(pithos / "data"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_sums_are_those_of_what_v03_serves(tmp_path: Path) -> None:
    top = made(tmp_path, objects=12, volumes=6, object_bytes=10_000)
    sums = json.loads((tmp_path / "sums.json").read_text())
    assert sums.keys() == volumes_of(top).keys() - {"shrt"}
    cloned = 0
    for volume, expected in sums.items():
        size, entries = volumes_of(top)[volume]
        digest = hashlib.sha256()
        for piece in served(top, volume):
            digest.update(piece)
        assert expected == {"size": size, "sha256": digest.hexdigest()}
        cloned += any(not flag and found != ZEROS for flag, found in entries)
    assert cloned
    assert any(size % OBJECT for size, _ in volumes_of(top).values())


def test_same_seed_gives_the_same_share(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        (tmp_path / name).mkdir()
        made(tmp_path / name, seed=seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_sizes_are_counted(tmp_path: Path) -> None:
    size = make_v03_share(str(tmp_path / "share"), objects=5, volumes=3)
    entries = [tmp_path / "share", *(tmp_path / "share").rglob("*")]
    files = sum(path.is_file() for path in entries)
    assert size == ShareSize(files, len(entries) - files, volumes=4)


def test_command_makes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share, pithos, sums = (str(tmp_path / name) for name in ("share", "pithos", "sums.json"))
    words = ["--layout", "v0.3", "--objects=9", "--volumes=2", "--pithos", pithos, "--sums", sums]
    assert run_command(share, *words) == 0
    out = capsys.readouterr().out
    assert "(9 objects, 3 maps)" in out
    command = f"archipmigrate relocate --blocks {share}/blocks --maps {share}/maps -n"
    assert out.endswith(f"next: {command}\n")
    assert len(json.loads(Path(sums).read_text())) == 2
    assert stat.S_IMODE(Path(sums).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "words",
    [
        ["--layout", "v0.3", "--v2=1"],
        ["--layout", "v0.3", "--map-place", "v03"],
        ["--layout", "v0.3", "--lock-dir"],
        ["--layout", "v0.3", "--volumes=0"],
        ["--layout", "filed", "--pithos", "pithos"],
        ["--layout", "filed", "--sums", "sums.json"],
    ],
    ids=" ".join,
)
def test_command_refuses_what_does_not_go_together(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(UsageError):
        run_command(str(tmp_path / "share"), *words)
    assert list(tmp_path.iterdir()) == []


def test_command_refuses_sums_and_pithos_that_are_there(tmp_path: Path) -> None:
    sums, pithos = tmp_path / "sums.json", tmp_path / "pithos"
    sums.write_text("mine")
    pithos.mkdir(mode=0o700)
    (pithos / "precious").write_text("mine")
    few = ["--layout", "v0.3", "--objects=1", "--volumes=1"]
    with pytest.raises(UsageError, match="is there already"):
        run_command(str(tmp_path / "share"), *few, "--sums", str(sums))
    assert not (tmp_path / "share").exists()
    with pytest.raises(UsageError, match="not empty"):
        run_command(str(tmp_path / "share"), *few, "--pithos", str(pithos))
    assert (sums.read_text(), (pithos / "precious").read_text()) == ("mine", "mine")
