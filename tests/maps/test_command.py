"""`mapfiles` as a command: its options, its output, the old maps that it keeps."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import map_shares as mapshare
from tests.support.inprocess import Program
from tests.support.map_runs import arguments, lines, results
from tests.support.map_shares import contents, put_v1, snapshot
from tests.support.program import Cli

pytestmark = pytest.mark.privileged
DIGEST = "2414e36d7bd6484b6f33c9ad9f553c5f99e3b478538c1baff9f544514c8a059c"


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


def config(path: Path, maps: Path, **more: object) -> Path:
    """Write a configuration for *maps* and return its path."""
    user, group = pwd.getpwuid(1).pw_name, grp.getgrgid(2).gr_name
    options = {"archip_dir": maps, "umask": "027", **more}
    text = f"[ARCHIPELAGO]\nUSER = {user}\nGROUP = {group}\n[blockerm]\n"
    path.write_text(text + "".join(f"{name} = {value}\n" for name, value in options.items()))
    return path


# -- directories, owner and umask


def test_configuration_gives_directories_owner_and_umask(
    program: Program, maps: Path, locks: Path, tmp_path: Path
) -> None:
    put_v1(maps, "foobar")
    mapshare.put_lock(maps, locks, "foobar")
    path = config(tmp_path / "conf", maps, lock_dir=locks)
    ended = program("mapfiles", "--json", "--config", path)
    assert (ended.status, results(ended)) == (3, {"foobar": "locked"})
    (locks / "foobar_lock").unlink()
    ended = program("mapfiles", "--json", "--config", path)
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})
    made = [found for found in maps.rglob("*") if "foobar" in found.name]
    assert len(made) == 2
    for found in made:
        status = found.stat()
        assert (status.st_uid, status.st_gid) == (1, 2)
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o750


def test_maps_without_the_lock_directory_of_their_configuration_are_refused(
    program: Program, maps: Path, locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "foobar")
    path = config(tmp_path / "conf", maps, lock_dir=locks)
    monkeypatch.setattr("archipmigrate.maps.locate.CONFIG", path)
    ended = program("mapfiles", "--json", "--maps", maps)
    assert ended.status == 2
    assert f"add --locks {locks}" in ended.err
    ended = program("mapfiles", "--json", "--maps", maps, "--locks", locks)
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})


def test_maps_of_no_configuration_have_their_locks_among_them(
    program: Program, maps: Path, locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "foobar")
    path = config(tmp_path / "conf", locks, lock_dir=locks)
    monkeypatch.setattr("archipmigrate.maps.locate.CONFIG", path)
    ended = program("mapfiles", "--json", "--maps", maps)
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"type": "rados_blocker"}, "maps in RADOS are not files"),
        ({"lock_dir": "/no/such/directory"}, "the lock directory /no/such/directory"),
        ({"unique_str": "archipmigrate_host"}, "could be taken for each other"),
        ({"unique_str": "archip"}, "could be taken for each other"),
        ({"umask": "rwx"}, "umask"),
    ],
)
def test_configuration_that_cannot_be_followed_is_refused(
    program: Program, maps: Path, tmp_path: Path, options: dict[str, str], says: str
) -> None:
    put_v1(maps, "foobar")
    before = snapshot(maps)
    ended = program("mapfiles", "--config", config(tmp_path / "conf", maps, **options))
    assert ended.status in (1, 2)
    assert says in ended.err
    assert snapshot(maps) == before


def test_options_that_contradict_each_other_are_usage(program: Program, maps: Path) -> None:
    for words in (
        ("--maps", maps, "--locks", ""),
        ("--maps", ""),
        ("--maps", maps, "--config", "/dev/null"),
        ("--locks", maps),
        ("--config", "/no/such/file"),
        ("--maps", maps, "--log-dir", "/no/such/directory"),
        ("--maps", maps, "--sizes", "/no/such/file"),
    ):
        assert program("mapfiles", *words).status == 2


# -- sizes of v0 maps


def v0(maps: Path, objects: int = 3) -> None:
    digests = [bytes([number + 1] * 32) for number in range(objects)]
    mapshare.put(maps, DIGEST, mapshare.v0(digests))


def test_sizes_come_from_a_database(program: Program, maps: Path, tmp_path: Path) -> None:
    v0(maps)
    database = sqlite3.connect(tmp_path / "pithos.db")
    database.execute("CREATE TABLE versions (mapfile TEXT, size INTEGER)")
    rows = [(DIGEST, 12 << 20), (DIGEST, 12 << 20), (None, 5)]
    database.executemany("INSERT INTO versions VALUES (?, ?)", rows)
    database.commit()
    database.close()
    url = f"sqlite:///{tmp_path / 'pithos.db'}"
    (shown,) = program(
        "mapfiles", "show", "--json", "--maps", maps, "--pithos-db", url, DIGEST
    ).objects
    assert (shown["version"], shown["size"]) == (0, 12 << 20)
    ended = program("mapfiles", "--json", "--maps", maps, "--pithos-db", url)
    assert (ended.status, results(ended)) == (0, {DIGEST: "upgraded"})


def test_command_that_a_dry_run_names_is_one_whatever_the_environment_has(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    v0(maps)
    table = tmp_path / "sizes.csv"
    table.write_text(f"{DIGEST},{12 << 20}\n")
    program.env["ARCHIPMIGRATE_PITHOS_DB"] = "sqlite:////nowhere"
    ended = program("mapfiles", "-n", "--maps", maps, "--sizes", table)
    *_, last = ended.out.splitlines()
    assert program(*last.partition("archipmigrate ")[2].split()).status == 0


def test_two_sizes_for_one_map_make_it_invalid(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    v0(maps)
    before = snapshot(maps)
    table = tmp_path / "sizes.csv"
    table.write_text(f"{DIGEST},{12 << 20}\n{DIGEST},{8 << 20}\n{DIGEST},{12 << 20}\n")
    ended = program("mapfiles", "--json", "--maps", maps, "--sizes", table)
    assert (ended.status, results(ended)) == (3, {DIGEST: "invalid"})
    assert "two sizes" in lines(ended, "volume")[0]["reason"]
    assert snapshot(maps) == before


# -- output


def test_text_has_a_table_the_reasons_and_the_next_command(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar", "second")
    mapshare.put(maps, "archip_broken", b"garbage")
    (maps / "stray").write_bytes(b"x")
    ended = program("mapfiles", "--maps", maps)
    assert ended.status == 3
    words = ended.out.split()
    assert words[words.index("upgraded") + 1] == "2"
    assert "invalid: broken: archip_broken: " in ended.out
    assert "foreign: stray: " in ended.out
    (undo,) = [line for line in ended.out.splitlines() if line.startswith("take it back")]
    assert program(*undo.partition("archipmigrate ")[2].split()).status == 0


def test_text_shows_names_that_the_terminals_encoding_lacks(cli: Cli, maps: Path) -> None:
    put_v1(maps, "f\xe4hre\u2603")
    mapshare.put_lock(maps, None, "f\xe4hre\u2603")
    cli.env["PYTHONIOENCODING"] = "latin-1:strict"
    ended = cli("mapfiles", "--maps", maps)
    assert (ended.status, ended.err.count("Traceback")) == (3, 0)
    assert "hre\\u2603" in ended.out


def test_quiet_run_that_succeeds_prints_nothing(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    ended = program("mapfiles", "-q", "--maps", maps)
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_quiet_run_prints_the_volumes_that_are_left(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    mapshare.put(maps, "archip_broken", b"garbage")
    ended = program("mapfiles", "-q", "--maps", maps)
    assert (ended.status, ended.err) == (3, "")
    (line,) = ended.out.splitlines()
    assert line.startswith("invalid: broken: ")


def test_logs_are_those_of_the_official_tool(program: Program, maps: Path, tmp_path: Path) -> None:
    put_v1(maps, "foobar", "locked")
    mapshare.put(maps, "archip_broken", b"garbage")
    mapshare.put(maps, "wrecked", b"garbage")
    mapshare.put_lock(maps, None, "locked")
    assert program("mapfiles", "--maps", maps, "--log-dir", tmp_path).status == 3
    assert (tmp_path / "upgraded.log").read_text() == "Upgraded foobar\n"
    assert (tmp_path / "invalid.log").read_text() == (
        "broken has invalid header object archip_broken\n"
        "wrecked has invalid header object wrecked\n"
    )
    assert (tmp_path / "failed.log").read_text() == "Failed to upgrade locked\n"


def test_logs_that_cannot_be_written_are_refused_before_or_named_after(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    put_v1(maps, "foobar")
    file = tmp_path / "executable"
    file.touch(0o755)
    before = snapshot(maps)
    assert program("mapfiles", "--maps", maps, "--log-dir", file).status == 2
    assert snapshot(maps) == before
    (tmp_path / "upgraded.log").mkdir()
    ended = program("mapfiles", "--maps", maps, "--log-dir", tmp_path)
    assert ended.status == 1
    assert "upgraded" in ended.out
    assert str(tmp_path / "upgraded.log") in ended.err


def test_show_prints_header_and_entries_before_and_after(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")

    def show(*words: object) -> tuple[dict[str, object], list[str]]:
        ended = program("mapfiles", "show", "--maps", maps, "--json", *words, "foobar")
        assert ended.status == 0, ended.err
        head, *entries = map(json.loads, ended.out.splitlines())
        return head, [entry["name"] for entry in entries]

    head, names = show("-v")
    assert (head["version"], head["objects"], head["size"]) == (1, 3, 12 << 20)
    assert names == ["archip_" + 8 * f"{number:08x}" for number in range(3)]
    assert program("mapfiles", "--maps", maps).status == 0
    head, after = show("-v")
    assert (head["version"], head["epoch"], after) == (2, 1, names)
    assert show()[1] == []
    missing = program("mapfiles", "show", "--maps", maps, "nothing")
    assert (missing.status, missing.out) == (1, "")


def test_show_names_a_volume_in_json_as_a_run_does(program: Program, maps: Path) -> None:
    name = os.fsdecode(b"caf\xe9foo")
    put_v1(maps, name)
    (volume,) = lines(program("mapfiles", "--maps", maps, "-n", "--json"), "volume")
    for asked in (name, f"archip_{name}"):
        (shown,) = program("mapfiles", "show", "--maps", maps, "--json", asked).objects
        assert (shown["volume"], shown["volume_b64"]) == (volume["volume"], volume["volume_b64"])
        assert base64.b64decode(shown["path_b64"]).endswith(b"/archip_caf\xe9foo")


@pytest.mark.parametrize("length", [2 * 128, 2 * 128 + 1])
def test_show_says_that_a_block_is_cut_off(program: Program, maps: Path, length: int) -> None:
    mapshare.put_v2(maps, "foobar", mapshare.from_v1(mapshare.v1_entries(3)))
    name = mapshare.block_name("foobar", 0)
    os.truncate(maps / mapshare.sha256_place(name) / name, length)
    ended = program("mapfiles", "show", "--maps", maps, "-v", "foobar")
    assert ended.status == 1
    assert "cut off" in ended.err


def test_text_of_names_and_locks_never_reaches_the_terminal_as_it_is(
    program: Program, maps: Path, locks: Path
) -> None:
    mapshare.put(maps, "archip_esc\x1b[2Jape\n", b"garbage")
    put_v1(maps, "foobar")
    (locks / "foobar_lock").write_bytes(b"host\x1b[2J\n" + b"x" * 1000)
    ended = program("mapfiles", "--maps", maps, "--locks", locks)
    assert ended.status == 3
    assert ended.out.isascii()
    assert all(line.isprintable() for line in ended.out.splitlines())
    (locked,) = [line for line in ended.out.splitlines() if line.startswith("locked: foobar")]
    assert r"host\033[2J\n" in locked
    assert len(locked) < 250
    shown = program("mapfiles", "show", "--maps", maps, "esc\x1b[2Jape\n")
    assert shown.status == 1
    assert "\x1b" not in shown.err


# -- old maps


def test_run_that_keeps_nothing_cannot_be_undone(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    mapshare.put(maps, "inplace", mapshare.v1([(1, bytes(31) + b"1")]))
    ended = program("mapfiles", "--maps", maps, "--no-keep")
    assert ended.status == 0
    assert "kept for undo" not in ended.err
    after = contents(snapshot(maps))
    ended = program("undo", "--json")
    assert ended.status == 3
    # A map that was changed in place only needs its first bytes, which are in the journal.
    assert (ended.summary["changed"], ended.summary["skipped"]) == (1, 1)
    (failure,) = lines(ended, "failure")
    assert (failure["path"], "--no-keep" in failure["reason"]) == ("foobar", True)
    changed = {path for path, file in after.items() if contents(snapshot(maps)).get(path) != file}
    assert changed
    assert not any("foobar" in path for path in changed)


def test_room_for_old_maps_is_announced_before(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar", objects=40_000)
    ended = program("mapfiles", "--maps", maps)
    assert ended.status == 0
    assert "up to 1.3 MB of old maps will be kept for undo" in ended.err


def test_directory_above_the_maps_is_not_taken_for_theirs(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    before = snapshot(maps)
    ended = program("mapfiles", "--maps", maps.parent)
    assert (ended.status, snapshot(maps)) == (2, before)
    assert f"did you mean {maps}?" in ended.err


def test_relative_state_directory_serves(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "foobar")
    monkeypatch.chdir(program.state.parent)
    relative = replace(program, state=Path(program.state.name))
    for words in (["-n"], [], ["-n"]):
        assert relative("mapfiles", *words, "--maps", maps).status == 0
    assert relative("undo").status == 0


def test_volume_whose_old_map_is_damaged_is_left_as_it_is(
    program: Program, maps: Path, state: Path
) -> None:
    put_v1(maps, "foobar", "second")
    assert program("mapfiles", "--maps", maps).status == 0
    after = snapshot(maps)
    (kept,) = state.glob("*.journal-kept")
    raw = bytearray(kept.read_bytes())
    raw[len(raw) // 4] ^= 1  # in the first of two pieces
    kept.write_bytes(raw)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"], ended.summary["failed"]) == (3, 1, 1)
    (failure,) = lines(ended, "failure")
    assert str(kept) in failure["reason"]
    volume = failure["path"]
    assert {path: f for path, f in snapshot(maps).items() if volume in path} == {
        path: f for path, f in after.items() if volume in path
    }


@pytest.mark.parametrize("change", ["header", "block", "both gone"])
def test_volume_that_changed_since_is_left_as_it_is_by_undo(
    program: Program, maps: Path, change: str
) -> None:
    put_v1(maps, "foobar", "second")
    assert program("mapfiles", "--maps", maps).status == 0
    header, block = sorted(maps.rglob("foobar*"), key=lambda path: len(path.name))
    if change == "header":
        raw = bytearray(header.read_bytes())
        raw[-1] += 1
        header.write_bytes(raw)
    elif change == "block":
        raw = bytearray(block.read_bytes())
        raw[10] ^= 1
        block.write_bytes(raw)
    else:
        header.write_bytes(b"")
    before = {path: file for path, file in snapshot(maps).items() if "foobar" in path}
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"], ended.summary["skipped"]) == (3, 1, 1)
    assert {path: f for path, f in snapshot(maps).items() if "foobar" in path} == before


def test_volume_that_undo_left_is_put_back_by_the_command_that_it_names(
    program: Program, maps: Path
) -> None:
    put_v1(maps, "foobar", "second")
    before = contents(snapshot(maps))
    assert program("mapfiles", "--maps", maps).status == 0
    lock = mapshare.put_lock(maps, None, "foobar")
    ended = program("undo")
    assert ended.status == 3
    lock.unlink()
    *_, last = ended.out.splitlines()
    assert program(*last.partition("archipmigrate ")[2].split()).status == 0
    assert contents(snapshot(maps)) == before


def test_lock_directory_that_was_replaced_is_used_only_if_it_is_named(
    program: Program, maps: Path, locks: Path
) -> None:
    put_v1(maps, "foobar", "second")
    before = contents(snapshot(maps))
    mapshare.put_lock(maps, locks, "second")
    assert program(*arguments(maps, locks=locks)).status == 3
    locks.rename(locks.with_name("gone"))
    locks.mkdir()
    refused = program("resume", "--failed")
    assert (refused.status, "--locks" in refused.err) == (1, True)
    assert program("resume", "--failed", "--locks", locks).status == 0
    held = mapshare.put_lock(maps, locks, "second")
    refused = program("undo")
    assert (refused.status, "--locks" in refused.err) == (1, True)
    left = program("undo", "--json", "--locks", locks)
    assert (left.status, left.summary["changed"], left.summary["skipped"]) == (3, 1, 1)
    held.unlink()
    assert program("resume", "--failed", "--locks", locks).status == 0
    assert contents(snapshot(maps)) == before
