"""No map is upgraded while its objects lie where v0.3 put them: v0.4 could read none of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from archipmigrate.maps.settings import MapfilesSettings
from tests.support.inprocess import Program
from tests.support.map_runs import arguments, check_summary, lines, results
from tests.support.map_shares import (
    PREFIX,
    ZERO,
    Entry,
    contents,
    digests,
    from_v1,
    pithos_place,
    put,
    put_v03_lock,
    put_v2,
    read_volume,
    sha256_place,
    snapshot,
    v0,
    v03_place,
    v1,
)
from tests.support.program import Ended
from tests.support.v03_share import GOLDEN, SHORT, extract_v03, listing, relocate, sums

pytestmark = pytest.mark.privileged

VOLUME = "foobar"
OLD = PREFIX + VOLUME
SMALL = hashlib.sha256(b"image").hexdigest()  # a name that a v0 map may have
STRAY_PLACE = slice(7, 13)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    path = tmp_path / "blocks"
    path.mkdir()
    return path


def old_place(name: str) -> Path:
    """Return v0.3's place of any name."""
    cut = name[STRAY_PLACE]
    return Path(cut[:2], cut[2:4], cut[4:])


def entries_of(count: int) -> list[Entry]:
    return [(1, digest) for digest in digests(count)]


def names_of(entries: Sequence[Entry]) -> list[str]:
    return [f"{PREFIX if flag else ''}{digest.hex()}" for flag, digest in entries]


def put_objects(blocks: Path, names: Sequence[str], *, old: bool = False) -> None:
    for name in names:
        put(blocks, name, b"data", place=old_place(name) if old else None)


def volume(ended: Ended, name: str = VOLUME) -> dict[str, object]:
    (found,) = [line for line in lines(ended, "volume") if line["volume"] == name]
    return found


# -- a share that the real v0.3 left


def test_share_of_v03_is_locked_until_v03_is_said_to_be_stopped(
    program: Program, tmp_path: Path
) -> None:
    share = extract_v03(tmp_path / "share")
    before = snapshot(share)
    ended = program(*arguments(share / "maps"))
    check_summary(ended)
    assert results(ended) == {**dict.fromkeys(sums(), "locked"), "shrt": "invalid"}
    text = program("mapfiles", "-n", "--maps", share / "maps")
    said = [line for line in text.out.splitlines() if line.startswith("held by v0.3")]
    words = "held by v0.3, which never releases a lock: 5 volumes."
    assert said == [f"{words} Once it is stopped on all nodes, add --v03-stopped"]
    assert snapshot(share) == before


@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "run"])
def test_volumes_of_v03_are_misplaced_until_their_objects_are_moved(
    program: Program, tmp_path: Path, dry: bool
) -> None:
    share = extract_v03(tmp_path / "share")
    before, directories = contents(snapshot(share)), set(share.rglob("*/"))
    words = [*arguments(share / "maps"), "--v03-stopped", *(["-n"] if dry else [])]
    ended = program(*words)
    check_summary(ended)
    unwritten = "would-upgrade" if dry else "upgraded"
    expected = {**dict.fromkeys(sums(), "misplaced"), "shrt": "invalid", "neverwritten": unwritten}
    assert results(ended) == expected
    assert "archipmigrate relocate" in str(volume(ended)["reason"])
    after = contents(snapshot(share))
    changed = {path for path in before if before[path] != after.get(path)}
    assert {Path(path).name for path in changed} == (set() if dry else {"archip_neverwritten"})
    # Those of the new map, its block, and two locks: none for a volume that is refused.
    made = {path for path in set(share.rglob("*/")) - directories if path.is_dir()}
    assert len(made) <= (0 if dry else 4 * 3)
    text = program("mapfiles", "-n", "--v03-stopped", "--maps", share / "maps").out
    command = f"archipmigrate relocate --maps {share}/maps --blocks {share}/blocks"
    assert f"move the objects first: {command} --v03-stopped\n" in text


def test_share_is_upgraded_once_all_lies_where_v04_looks(program: Program, tmp_path: Path) -> None:
    """Placeholders, strays and old locks stay, and change nothing."""
    share = extract_v03(tmp_path / "share")
    relocate(share)
    expected = (GOLDEN / "v03-small.relocated.txt").read_bytes().decode(errors="surrogateescape")
    wanted = sorted((line.split(" ", 4)[3:] for line in expected.splitlines()), key=lambda x: x[1])
    assert listing(share) == [" ".join(words) for words in wanted]
    next((share / "maps").rglob(SHORT)).unlink()
    image = next(path.name for path in (share / "pithos" / "maps").rglob("*") if path.is_file())
    ended = program(*arguments(share / "maps", sizes={image: 8 << 20}), "--check")
    check_summary(ended)
    assert (ended.status, results(ended)) == (0, dict.fromkeys([*sums(), image], "upgraded"))
    assert [line for line in lines(ended, "volume") if "warning" in line] == []
    kinds = {Path(line["path"]).name: line["kind"] for line in lines(ended, "file")}
    assert kinds["archip_never-made-volume"] == "placeholder"
    for name, found in sums().items():
        assert read_volume(share / "maps", name).size == found["size"]


# -- which objects are looked for


def put_map(maps: Path, kind: str, entries: list[Entry]) -> tuple[str, dict[str, int]]:
    """Make a map of a kind; return the volume and the sizes to give."""
    if kind == "v0":
        put(maps, SMALL, v0(digest for _, digest in entries), place=pithos_place(SMALL))
        return SMALL, {SMALL: len(entries) << 22}
    if kind == "half renamed":
        put_v2(maps, OLD, from_v1(entries))
    elif kind == "in place":
        put(maps, VOLUME, v1(entries))
    else:
        put(maps, OLD, v1(entries), place=v03_place(OLD) if kind == "v0.3's place" else None)
    return VOLUME, {}


@pytest.mark.parametrize("kind", ["v0.4's place", "v0.3's place", "in place", "half renamed", "v0"])
def test_map_of_any_kind_is_looked_at(
    program: Program, maps: Path, blocks: Path, kind: str
) -> None:
    entries = [(0 if kind == "v0" else 1, digest) for digest in digests(3)]
    names = names_of(entries)
    name, sizes = put_map(maps, kind, entries)
    put_objects(blocks, names, old=True)
    before = contents(snapshot(maps))
    ended = program(*arguments(maps, sizes=sizes))
    check_summary(ended)
    assert results(ended) == {name: "misplaced"}
    assert contents(snapshot(maps)) == before
    put_objects(blocks, names)  # as a hard link would be: at both places
    ended = program(*arguments(maps, sizes=sizes))
    assert (ended.status, results(ended)) == (0, {name: "upgraded"})


@pytest.mark.parametrize("at", [0, 699], ids=["first", "last"])
def test_first_and_last_object_decide_beyond_any_zeros(
    program: Program, maps: Path, blocks: Path, at: int
) -> None:
    zeros: list[Entry] = [(0, ZERO)] * 3000
    entries = entries_of(700)
    put(maps, OLD, v1([*zeros, *entries, *zeros]))
    put_objects(blocks, names_of(entries)[at : at + 1], old=True)
    assert results(program(*arguments(maps), "-n")) == {VOLUME: "misplaced"}


def test_every_object_is_looked_for_with_check(program: Program, maps: Path, blocks: Path) -> None:
    entries = entries_of(20_000)
    put(maps, OLD, v1(entries))
    put_objects(blocks, names_of(entries)[12_345:12_346], old=True)
    few = program(*arguments(maps), "-n")
    assert results(few) == {VOLUME: "would-upgrade"}
    assert str(volume(few)["warning"]).startswith("6 of 6 objects looked at are nowhere")
    assert results(program(*arguments(maps), "-n", "--check")) == {VOLUME: "misplaced"}


def test_objects_of_a_map_that_is_v2_already_are_looked_for_with_check(
    program: Program, maps: Path, blocks: Path
) -> None:
    """Of a volume that somebody upgraded before its objects were moved."""
    entries = entries_of(3)
    put_v2(maps, VOLUME, from_v1(entries))
    put_objects(blocks, names_of(entries)[:2])
    assert results(program(*arguments(maps))) == {VOLUME: "current"}
    ended = program(*arguments(maps), "--check")
    check_summary(ended)
    assert (ended.status, results(ended)) == (0, {VOLUME: "current"})
    said = f"1 of 3 objects looked at are nowhere, the first of them {names_of(entries)[2]}"
    assert volume(ended)["warning"] == said
    put_objects(blocks, names_of(entries)[2:], old=True)
    ended = program(*arguments(maps), "--check")
    check_summary(ended)
    assert (ended.status, results(ended)) == (3, {VOLUME: "misplaced"})
    put_objects(blocks, names_of(entries)[2:])
    ended = program("resume", "--failed", "--json")
    assert (ended.status, results(ended)) == (0, {VOLUME: "current"})


def test_directories_of_objects_are_never_listed(
    program: Program, maps: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = entries_of(5)
    put(maps, OLD, v1(entries))
    put_objects(blocks, names_of(entries))
    listed = []
    scandir = os.scandir

    def watched(path: int | str) -> object:
        where = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
        listed.append(str(where))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    ended = program(*arguments(maps), "--check")
    monkeypatch.undo()
    assert (ended.status, results(ended)) == (0, {VOLUME: "upgraded"})
    assert str(maps) in listed or program.backend == "native"  # the control; C lists maps alone
    assert [path for path in listed if path.startswith(str(blocks))] == []


# -- what counts as found


def test_objects_that_are_nowhere_are_a_warning(program: Program, maps: Path, blocks: Path) -> None:
    entries = entries_of(2)
    for name in (VOLUME, "barfoo"):
        put(maps, PREFIX + name, v1(entries))
    put_objects(blocks, names_of(entries)[:1])
    ended = program(*arguments(maps))
    check_summary(ended)
    assert (ended.status, results(ended)[VOLUME]) == (0, "upgraded")
    missing = names_of(entries)[1]
    said = f"1 of 2 objects looked at are nowhere, the first of them {missing}"
    assert volume(ended)["warning"] == said
    put(maps, PREFIX + "foofoo", v1(entries))
    put(maps, PREFIX + "barbar", v1(entries))
    text = program("mapfiles", "--maps", maps, "-n", "-v").out
    assert f"warning: foofoo: {said}\n" in text
    assert "warning: objects of 2 volumes are nowhere; v0.3 reads zeros there, v0.4 fails\n" in text


@pytest.mark.parametrize(
    ("content", "result"), [(b"", "would-upgrade"), (b"data", "misplaced")], ids=["empty", "full"]
)
def test_stray_of_v03_is_no_object(
    program: Program, maps: Path, blocks: Path, content: bytes, result: str
) -> None:
    """v0.3 makes an empty file, at bytes 7 to 12 of the name, of a block that it only reads."""
    entries: list[Entry] = [(0, digest) for digest in digests(1)]
    put(maps, OLD, v1(entries))
    (name,) = names_of(entries)
    put(blocks, name, content, place=old_place(name))
    assert results(program(*arguments(maps), "-n")) == {VOLUME: result}
    put(blocks, name, b"data", place=pithos_place(name))
    found = program(*arguments(maps), "-n")
    assert results(found) == {VOLUME: "would-upgrade"}
    assert "warning" not in volume(found)


def test_empty_object_at_its_old_place_is_misplaced(
    program: Program, maps: Path, blocks: Path
) -> None:
    entries = entries_of(1)
    put(maps, OLD, v1(entries))
    (name,) = names_of(entries)
    put(blocks, name, b"", place=old_place(name))
    assert results(program(*arguments(maps))) == {VOLUME: "misplaced"}


def test_misplaced_volume_is_upgraded_by_a_retry_once_its_objects_are_moved(
    program: Program, maps: Path, blocks: Path
) -> None:
    entries = entries_of(3)
    put(maps, OLD, v1(entries))
    put_objects(blocks, names_of(entries), old=True)
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (3, {VOLUME: "misplaced"})
    for name in names_of(entries):
        (blocks / sha256_place(name)).mkdir(parents=True)
        (blocks / old_place(name) / name).rename(blocks / sha256_place(name) / name)
    ended = program("resume", "--failed", "--json")
    assert (ended.status, results(ended)) == (0, {VOLUME: "upgraded"})


@pytest.mark.parametrize("beside", [True, False], ids=["beside a map", "alone"])
def test_placeholder_changes_nothing(
    program: Program, maps: Path, blocks: Path, beside: bool
) -> None:
    if beside:
        put_v2(maps, VOLUME, from_v1(entries_of(2)))
    placeholder = put(maps, OLD, b"", place=v03_place(OLD), mode=0o600)
    ended = program(*arguments(maps))
    check_summary(ended)
    assert (ended.status, results(ended)) == (0, {VOLUME: "current"} if beside else {})
    (line,) = lines(ended, "file")
    assert (line["kind"], line["path"]) == ("placeholder", str(placeholder.relative_to(maps)))
    assert placeholder.exists()


# -- where the objects are


def test_without_a_directory_of_objects_it_is_said_once(program: Program, maps: Path) -> None:
    for name in ("volaaa", "volbbb"):
        put(maps, PREFIX + name, v1(entries_of(2)))
    ended = program(*arguments(maps))
    assert (ended.status, set(results(ended).values())) == (0, {"upgraded"})
    assert ended.err.count("no directory of blocks") == 1
    ended = program(*arguments(maps))
    assert "no directory of blocks" not in ended.err  # there is nothing to upgrade


def test_directory_of_objects_that_went_away_stops_the_retry_and_no_undo(
    program: Program, maps: Path, blocks: Path
) -> None:
    for name, old in (("volaaa", True), ("volbbb", False)):
        entries: list[Entry] = [(1, digest) for digest in digests(2, name)]
        put(maps, PREFIX + name, v1(entries))
        put_objects(blocks, names_of(entries), old=old)
    found = results(program(*arguments(maps)))
    assert found == {"volaaa": "misplaced", "volbbb": "upgraded"}
    blocks.rename(blocks.with_name("away"))
    ended = program("resume", "--failed", "--json")
    assert ended.status == 1
    assert "directory of objects" in ended.err
    assert program("undo").status == 0


def test_directory_of_objects_is_that_of_the_option_or_the_configuration(
    program: Program, maps: Path, blocks: Path, tmp_path: Path
) -> None:
    entries = entries_of(2)
    put(maps, OLD, v1(entries))
    put_objects(tmp_path / "other", names_of(entries), old=True)
    put_objects(blocks, names_of(entries))
    config = tmp_path / "archipelago.conf"
    config.write_text(
        f"[ARCHIPELAGO]\nUSER = root\nGROUP = root\n[blockerm]\narchip_dir = {maps}\n"
        f"[blockerb]\narchip_dir = {tmp_path}/other\n"
    )
    looks = ["mapfiles", "-n", "--json"]
    assert results(program(*looks, "--config", config)) == {VOLUME: "misplaced"}
    assert results(program(*looks, "--maps", maps)) == {VOLUME: "would-upgrade"}
    chosen = program(*looks, "--config", config, "--blocks", blocks)
    assert results(chosen) == {VOLUME: "would-upgrade"}
    missing = program(*looks, "--maps", maps, "--blocks", tmp_path / "nowhere")
    assert missing.status == 1
    assert "--blocks" in missing.err


# -- locks of v0.3


@pytest.mark.parametrize(
    ("mode", "content", "result"),
    [
        (0o700, b"", "upgraded"),
        (0o760, b"", "upgraded"),
        (0o660, b"", "locked"),
        (0o700, b"somebody", "locked"),
    ],
    ids=["v0.3's", "given to a group", "another mode", "a holder"],
)
def test_lock_of_v03_holds_nothing_once_v03_is_stopped(
    program: Program, maps: Path, mode: int, content: bytes, result: str
) -> None:
    put(maps, OLD, v1(entries_of(2)), place=v03_place(OLD))
    lock = put_v03_lock(maps, VOLUME)
    lock.chmod(mode)
    lock.write_bytes(content)
    assert results(program(*arguments(maps))) == {VOLUME: "locked"}
    assert results(program(*arguments(maps), "--v03-stopped")) == {VOLUME: result}
    assert lock.exists()
    if result == "upgraded":
        assert program("undo").status == 0
        assert (maps / v03_place(OLD) / OLD).exists()


def test_settings_of_earlier_runs_are_equal_to_those_of_the_same_options_now() -> None:
    stored = {
        "locks": "/srv/archip/locks",
        "locks_identity": "id",
        "umask": 7,
        "uid": 1,
        "gid": 2,
        "check": False,
        "keep": True,
        "sizes": "",
    }
    assert MapfilesSettings.from_dict(stored).as_dict() == stored
