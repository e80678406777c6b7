"""`mapfiles` over shares with more than plain maps: other places, names, locks, odd files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.map_cases import DIGESTS, FEW, MAP, OLD, PITHOS_SIZE, SCENES, VOLUME, Scene
from tests.support.map_runs import arguments, check_summary, finished, foreign, lines, results
from tests.support.map_shares import (
    DELETED,
    MODE,
    OTHER,
    PREFIX,
    Snapshot,
    block_name,
    contents,
    from_v0,
    from_v1,
    padded,
    pithos_place,
    put,
    put_lock,
    put_stale,
    put_v03_lock,
    put_v2,
    read_volume,
    sha256_place,
    snapshot,
    v0,
    v03_place,
    v1,
    v1_entries,
    v2_block,
    v2_blocks,
    v2_header,
)
from tests.support.program import GID, attrs

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


@pytest.fixture
def lock_directory(tmp_path: Path) -> Path:
    path = tmp_path / "locks"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The caller's umask must not matter, and is put back."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def upgraded(maps: Path, volume: str = VOLUME) -> bool:
    """Whether a volume is v2, has all entries of the scenes, and its old name is gone."""
    found = read_volume(maps, volume)
    gone = not [path for path in snapshot(maps) if Path(path).name == PREFIX + volume]
    return gone and (found.version, found.entries) == (2, from_v1(FEW))


def alone(program: Program, maps: Path, result: str, volume: str = VOLUME) -> None:
    """Check that the only volume has a result that leaves it as it is."""
    before = snapshot(maps)
    ended = program(*arguments(maps))
    check_summary(ended)
    assert (results(ended), ended.status) == ({volume: result}, 0 if result == "current" else 3)
    assert snapshot(maps) == before


# -- each kind of volume, with nothing in the way


@pytest.mark.parametrize("locks", [False, True], ids=["locks in maps", "lock directory"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_volume_of_each_kind_is_upgraded_and_put_back(
    program: Program, maps: Path, lock_directory: Path, tmp_path: Path, scene: Scene, locks: bool
) -> None:
    scene.before(maps)
    scene.after(tmp_path / "due")
    before = snapshot(maps)
    words = arguments(maps, locks=lock_directory if locks else None, sizes=scene.sizes)
    ended = program(*words)
    finished(ended, [scene.volume])
    assert results(ended) == {scene.volume: "upgraded"}
    assert contents(snapshot(maps)) == contents(snapshot(tmp_path / "due"))
    assert not snapshot(lock_directory)
    assert results(program(*words)) == {scene.volume: "current"}
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["status"]) == (0, "done")
    assert contents(snapshot(maps)) == contents(before)


def test_blocks_beyond_the_last_are_foreign_and_kept(program: Program, maps: Path) -> None:
    SCENES["old blocks"].before(maps)
    surplus = block_name(VOLUME, 7)
    ended = program(*arguments(maps))
    finished(ended, [VOLUME])
    assert foreign(ended) == [surplus]
    assert snapshot(maps)[str(sha256_place(surplus) / surplus)].content == b"beyond the last"
    assert foreign(program(*arguments(maps))) == [surplus]


# -- two places


def test_same_map_at_two_places_is_a_conflict_unless_it_is_one_file(
    program: Program, maps: Path
) -> None:
    put(maps, OLD, v1(FEW))
    put(maps, OLD, v1(FEW), place=v03_place(OLD))
    alone(program, maps, "conflict")
    (maps / v03_place(OLD) / OLD).unlink()
    os.link(maps / sha256_place(OLD) / OLD, maps / v03_place(OLD) / OLD)
    finished(program(*arguments(maps)), [VOLUME])
    assert upgraded(maps)


def test_pithos_map_at_two_places_is_a_conflict_unless_it_is_one_file(
    program: Program, maps: Path
) -> None:
    words = arguments(maps, sizes={MAP: PITHOS_SIZE})
    first = put(maps, MAP, v0(DIGESTS))
    second = put(maps, MAP, v0(DIGESTS), place=pithos_place(MAP))
    before = snapshot(maps)
    assert results(program(*words)) == {MAP: "conflict"}
    assert snapshot(maps) == before
    second.unlink()
    second.hardlink_to(first)
    finished(program(*words), [MAP])
    assert read_volume(maps, MAP).entries == from_v0(DIGESTS)
    assert first.samefile(second)


def test_v2_at_pithos_place_is_current(program: Program, maps: Path) -> None:
    put_v2(maps, MAP, from_v0(DIGESTS), place=pithos_place(MAP))
    alone(program, maps, "current", MAP)


def test_misplaced_v2_is_invalid(program: Program, maps: Path) -> None:
    put_v2(maps, OLD, from_v1(FEW), place=v03_place(OLD))
    alone(program, maps, "invalid")


def test_v2_header_at_the_place_of_another_name_is_invalid(program: Program, maps: Path) -> None:
    put_v2(maps, VOLUME, from_v1(FEW), place=sha256_place("another"))
    alone(program, maps, "invalid")


def test_v2_with_a_misplaced_block_is_invalid(program: Program, maps: Path) -> None:
    put(maps, VOLUME, v2_header(len(FEW) << 22))
    put(maps, block_name(VOLUME, 0), v2_block(from_v1(FEW)), place=sha256_place("another"))
    alone(program, maps, "invalid")


@pytest.mark.parametrize("kind", ["link", "mount"])
def test_directory_that_cannot_be_searched_is_a_failure(
    program: Program, maps: Path, tmp_path: Path, mount: Callable[..., Path], kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    put(elsewhere, OLD, v1(FEW))
    top = sha256_place(OLD).parts[0]
    if kind == "link":
        (maps / top).symlink_to(elsewhere / top)
    else:
        mount(maps / top, "-t", "tmpfs", "tmpfs")
        put(maps, OLD, v1(FEW))
    (maps / "stray").symlink_to(elsewhere)
    put(maps, "second", v1(FEW))
    put(maps, "headed", v2_header(1 << 22))
    ended = program(*arguments(maps))
    assert (results(ended), ended.status) == ({"second": "upgraded", "headed": "invalid"}, 3)
    (reason,) = [line["reason"] for line in lines(ended, "volume") if line["reason"]]
    assert "failures" in reason
    assert [line["path"] for line in lines(ended, "failure")] == [top]
    assert foreign(ended) == ["stray"]


@pytest.mark.parametrize("volume", ["..foobar", "....ab"])
def test_name_that_leads_out_of_the_share_is_not_followed(
    program: Program, maps: Path, tmp_path: Path, volume: str
) -> None:
    inside = tmp_path / "a" / "b" / "maps"
    inside.mkdir(parents=True)
    name = PREFIX + volume
    outside = Path(os.path.normpath(inside / v03_place(name))) / name
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_bytes(v1(v1_entries(1)))
    assert not outside.is_relative_to(inside)
    ended = program(*arguments(inside))
    assert (results(ended), ended.status) == ({}, 0)
    put(inside, name, v1(FEW))
    finished(program(*arguments(inside)), [volume])
    assert upgraded(inside, volume)
    assert outside.read_bytes() == v1(v1_entries(1))


# -- names


@pytest.mark.parametrize("how", ["prefixed", "in place", "v2"])
@pytest.mark.parametrize(
    ("volume", "good"),
    [("n" * 5, False), ("n" * 6, True), ("n" * 82, True), ("n" * 83, False), ("\u03b2" * 2, False),
     ("\u03b2" * 3, True), ("\u03b2" * 41, True), ("\u03b2" * 42, False)],
)  # fmt: skip
def test_name_has_6_to_82_bytes(
    program: Program, maps: Path, volume: str, good: bool, how: str
) -> None:
    if how == "v2":
        put_v2(maps, volume, from_v1(FEW))
    else:
        put(maps, PREFIX * (how == "prefixed") + volume, v1(FEW))
    if not good:
        alone(program, maps, "invalid", volume)
        return
    finished(program(*arguments(maps)), [volume])
    assert upgraded(maps, volume)


def test_names_that_are_no_volumes_are_foreign(program: Program, maps: Path) -> None:
    names = ["archip_archip_foobar", "nothing_lock", "archip_nothing_lock",
             block_name("nothing", 0), block_name("archip_nothing", 3), "_lock"]  # fmt: skip
    for name in names:
        put(maps, name, v1(FEW))
    put(maps, OLD, v1(FEW))
    before = contents(snapshot(maps))
    ended = program(*arguments(maps))
    finished(ended, [VOLUME])
    assert foreign(ended) == sorted(names)
    after = contents(snapshot(maps))
    for name in names:
        path = str(sha256_place(name) / name)
        assert after[path] == before[path]


# -- odd files


def stranger(path: Path, kind: str, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)


each_stranger = pytest.mark.parametrize("kind", ["directory", "fifo", "link"])


@each_stranger
def test_file_that_is_not_regular_is_no_volume(
    program: Program, maps: Path, tmp_path: Path, kind: str
) -> None:
    target = put(tmp_path / "elsewhere", OLD, v1(FEW))
    stranger(maps / sha256_place(OLD) / OLD, kind, target)
    put(maps, PREFIX + "another", v1(FEW))
    kept = (maps / sha256_place(OLD) / OLD).lstat()
    ended = program(*arguments(maps))
    assert results(ended)["another"] == "upgraded"
    assert VOLUME not in results(ended) or results(ended)[VOLUME] == "invalid"
    assert (maps / sha256_place(OLD) / OLD).lstat().st_ino == kept.st_ino
    assert target.read_bytes() == v1(FEW)


@each_stranger
@pytest.mark.parametrize("name", [VOLUME, block_name(VOLUME, 0)], ids=["header", "block"])
def test_odd_file_in_the_way_of_an_upgrade_is_not_followed_or_replaced(
    program: Program, maps: Path, tmp_path: Path, kind: str, name: str
) -> None:
    target = put(tmp_path / "elsewhere", VOLUME, b"somebody's")
    in_the_way = maps / sha256_place(name) / name
    stranger(in_the_way, kind, target)
    put(maps, OLD, v1(FEW))
    before, kept = snapshot(maps), in_the_way.lstat()
    ended = program(*arguments(maps))
    check_summary(ended)
    assert ended.status == 3
    assert results(ended)[VOLUME] in {"conflict", "invalid", "failed"}
    assert snapshot(maps) == before
    assert in_the_way.lstat().st_ino == kept.st_ino
    assert target.read_bytes() == b"somebody's"


# -- locks


@pytest.mark.parametrize("directory", [False, True], ids=["locks in maps", "lock directory"])
@pytest.mark.parametrize("pad", [False, True], ids=["plain", "padded"])
@pytest.mark.parametrize("name", [VOLUME, OLD])
def test_lock_of_another_holder_is_respected(
    program: Program, maps: Path, lock_directory: Path, name: str, pad: bool, directory: bool
) -> None:
    locks = lock_directory if directory else None
    put(maps, OLD, v1(FEW))
    lock = put_lock(maps, locks, name, pad=pad)
    before = snapshot(maps, locks)
    ended = program(*arguments(maps, locks=locks))
    assert (results(ended), ended.status) == ({VOLUME: "locked"}, 3)
    assert snapshot(maps, locks) == before
    lock.unlink()
    finished(program(*arguments(maps, locks=locks)), [VOLUME])
    assert upgraded(maps)


@pytest.mark.parametrize("owner", ["", "archipmigrate", "archipmigrate_elsewhere_1", "x" * 600])
def test_lock_of_any_content_is_respected(program: Program, maps: Path, owner: str) -> None:
    put(maps, OLD, v1(FEW))
    put_lock(maps, None, VOLUME, owner)
    alone(program, maps, "locked")


@pytest.mark.parametrize("directory", [False, True], ids=["locks in maps", "lock directory"])
def test_stale_temporary_locks_are_listed_and_hinder_nobody(
    program: Program, maps: Path, lock_directory: Path, directory: bool
) -> None:
    locks = lock_directory if directory else None
    put(maps, OLD, v1(FEW))
    stale = [put_stale(maps, locks, name, owner) for name in (VOLUME, OLD)
             for owner in (OTHER, "archipmigrate_elsewhere_1")]  # fmt: skip
    before = contents(snapshot(maps, locks))
    ended = program(*arguments(maps, locks=locks))
    finished(ended, [VOLUME])
    assert upgraded(maps)
    assert foreign(ended) == sorted(path.name for path in stale)
    after = contents(snapshot(maps, locks))
    assert all(after[path] == kept for path, kept in before.items() if "_lock" in path)


@pytest.mark.parametrize("directory", [False, True], ids=["locks in maps", "lock directory"])
def test_v03_lock_beside_the_map_is_respected(
    program: Program, maps: Path, lock_directory: Path, directory: bool
) -> None:
    locks = lock_directory if directory else None
    put(maps, OLD, v1(FEW), place=v03_place(OLD), mode=0o600)
    lock = put_v03_lock(maps, VOLUME)
    before = snapshot(maps, locks)
    ended = program(*arguments(maps, locks=locks))
    assert (results(ended), ended.status) == ({VOLUME: "locked"}, 3)
    assert snapshot(maps, locks) == before
    lock.unlink()
    finished(program(*arguments(maps, locks=locks)), [VOLUME])
    assert upgraded(maps)


# -- modes and groups


@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_new_files_have_v04s_mode_whatever_the_callers_umask(
    program: Program, maps: Path, mask: int
) -> None:
    put(maps, OLD, v1(FEW), mode=0o400)
    known = set(attrs(maps))
    os.umask(mask)
    finished(program(*arguments(maps)), [VOLUME])
    new = {path: mode for path, (mode, _, _) in attrs(maps).items() if path not in known}
    assert {stat.S_IMODE(mode) for mode in new.values() if stat.S_ISREG(mode)} == {MODE}
    assert {stat.S_IMODE(mode) for mode in new.values() if stat.S_ISDIR(mode)} == {0o770}


def test_new_files_and_directories_inherit_the_group_of_a_set_gid_directory(
    program: Program, maps: Path
) -> None:
    put(maps, OLD, v1(FEW))
    known = set(attrs(maps))
    os.chown(maps, 0, GID)
    maps.chmod(0o2770)
    finished(program(*arguments(maps)), [VOLUME])
    new = {path: found for path, found in attrs(maps).items() if path not in known}
    assert new
    for mode, _, gid in new.values():
        assert gid == GID
        assert stat.S_IMODE(mode) == (0o2770 if stat.S_ISDIR(mode) else MODE)


@pytest.mark.parametrize("mode", [0o444, 0o600, 0o640])
def test_map_in_place_keeps_inode_mode_and_owner(program: Program, maps: Path, mode: int) -> None:
    path = put(maps, VOLUME, v1(FEW), mode=mode)
    os.chown(path, 7, 8)
    path.chmod(mode)
    was = path.stat()
    finished(program(*arguments(maps)), [VOLUME])
    now = path.stat()
    assert upgraded(maps)
    assert (now.st_ino, now.st_mode, now.st_uid, now.st_gid) == (
        (was.st_ino, was.st_mode, was.st_uid, was.st_gid)
    )


# -- contents


def test_padded_v2_is_current(program: Program, maps: Path) -> None:
    put(maps, VOLUME, padded(v2_header(len(FEW) << 22)))
    put(maps, block_name(VOLUME, 0), padded(v2_block(from_v1(FEW))))
    alone(program, maps, "current")


def test_v2_of_small_blocks_is_current_only_with_all_of_them(program: Program, maps: Path) -> None:
    put_v2(maps, VOLUME, from_v1(FEW), blocksize=256)
    alone(program, maps, "current")
    last = block_name(VOLUME, len(v2_blocks(FEW, 256)) - 1)
    (maps / sha256_place(last) / last).unlink()
    alone(program, maps, "invalid")


def test_block_that_is_too_short_is_invalid(program: Program, maps: Path) -> None:
    put_v2(maps, VOLUME, from_v1(FEW))
    put(maps, block_name(VOLUME, 0), v2_block(from_v1(FEW))[:-1])
    alone(program, maps, "invalid")


def test_block_that_is_a_link_is_reported_as_no_file(program: Program, maps: Path) -> None:
    put_v2(maps, VOLUME, from_v1(FEW))
    block = put(maps, block_name(VOLUME, 0))
    block.unlink()
    block.symlink_to("elsewhere")
    ended = program(*arguments(maps))
    (line,) = lines(ended, "volume")
    assert (line["result"], ended.status) == ("invalid", 3)
    assert line["reason"].endswith("not a regular file")


def test_names_in_blocks_are_read_only_to_check(program: Program, maps: Path) -> None:
    put(maps, VOLUME, v2_header(4 << 20))
    put(maps, block_name(VOLUME, 0), b"\0" + (124).to_bytes(4, "little") + bytes(123))
    alone(program, maps, "current")
    ended = program(*arguments(maps), "--check")
    assert (results(ended), ended.status) == ({VOLUME: "invalid"}, 3)


@pytest.mark.parametrize("size", [(1 << 60), (1 << 64) - 1, 5 * (4 << 20) + 1])
def test_v1_that_claims_more_than_it_holds_is_invalid(
    program: Program, maps: Path, size: int
) -> None:
    put(maps, OLD, v1(FEW, size=size))
    alone(program, maps, "invalid")


def test_two_sizes_for_one_map_are_invalid_and_twice_the_same_is_one(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    put(maps, MAP, v0(DIGESTS))
    before = snapshot(maps)
    table = tmp_path / "two.csv"
    table.write_text(f"mapfile,size\n{MAP},{PITHOS_SIZE}\n{MAP},{PITHOS_SIZE + 1}\n")
    ended = program(*arguments(maps), "--sizes", table)
    assert (results(ended), ended.status) == ({MAP: "invalid"}, 3)
    assert snapshot(maps) == before
    table.write_text(f"{MAP},{PITHOS_SIZE}\n" * 2)
    finished(program(*arguments(maps), "--sizes", table), [MAP])
    assert read_volume(maps, MAP).entries == from_v0(DIGESTS)


def test_v1_called_by_64_digits_is_told_by_its_length(program: Program, maps: Path) -> None:
    put(maps, MAP, v1(FEW, surplus=b"\0"))
    alone(program, maps, "invalid", MAP)
    put(maps, MAP, padded(v1(FEW)))
    finished(program(*arguments(maps)), [MAP])
    assert upgraded(maps, MAP)
    assert (read_volume(maps, MAP).flags, read_volume(maps, MAP).epoch) == (0, 0)


# -- many volumes


def many(maps: Path, count: int) -> dict[str, str]:
    """Make volumes of many kinds; return the result that each must have."""
    expected = {}
    for number in range(count):
        volume = f"volume{number:04}"
        old, entries = PREFIX + volume, v1_entries(number % 7, number)
        result = "upgraded"
        match number % 10:
            case 0 | 1 | 2:
                put(maps, old, v1(entries))
            case 3:
                put(maps, old, v1(entries), place=v03_place(old), mode=0o600)
            case 4:
                put(maps, volume, v1(entries))
            case 5:
                put_v2(maps, old, from_v1(entries))
            case 6:
                put_v2(maps, volume, from_v1(entries))
                result = "current"
            case 7:
                put(maps, old, v1(entries))
                put_lock(maps, None, (volume, old)[number // 10 % 2])
                result = "locked"
            case 8:
                put(maps, old, v1(entries))
                put(maps, volume, (b"garbage", v2_header(0))[number // 10 % 2])
                result = ("conflict", "shadowed")[number // 10 % 2]
            case _:
                put_v2(maps, old, from_v1(entries), flags=DELETED)
                result = "leftover"
        expected[volume] = result
    return expected


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 8])
def test_many_volumes_of_all_kinds_are_each_treated_as_if_alone(
    program: Program, maps: Path, jobs: int
) -> None:
    expected = many(maps, 300)
    before = snapshot(maps)
    ended = program(*arguments(maps), "--jobs", jobs)
    check_summary(ended)
    assert results(ended) == expected
    now = snapshot(maps)
    others = {volume for volume, result in expected.items() if result != "upgraded"}
    assert _files_of(now, others) == _files_of(before, others)
    for number, (volume, result) in enumerate(expected.items()):
        if result == "upgraded":
            found = read_volume(maps, volume)
            assert (found.version, found.name) == (2, volume)
            assert found.entries == from_v1(v1_entries(number % 7, number))
    assert not _files_of(now, {PREFIX + volume for volume in set(expected) - others})
    assert program("undo", "--json", "--jobs", jobs).status == 0
    assert contents(snapshot(maps)) == contents(before)


def _files_of(found: Snapshot, names: set[str]) -> Snapshot:
    """Return the files of volumes, or of objects: their maps, blocks and locks."""
    return {path: file for path, file in found.items()
            if any(name in Path(path).name for name in names)}  # fmt: skip
