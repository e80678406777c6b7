"""How `mapfiles` stops, and how it is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.engine import commit
from tests.support import map_shares as mapshare
from tests.support.inprocess import Program
from tests.support.map_runs import arguments, check_summary, lines, results
from tests.support.map_shares import contents, put_v1, snapshot
from tests.support.program import Cli, Ended, need

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


def test_read_only_share_stops_with_the_cause(
    program: Program, maps: Path, mount: Callable[..., Path], tmp_path: Path
) -> None:
    put_v1(maps, "foobar")
    where = mount(tmp_path / "mounted", "--bind", maps)
    subprocess.run([need("mount"), "-o", "remount,bind,ro", where], check=True)
    assert results(program("mapfiles", "-n", "--json", "--maps", where)) == {
        "foobar": "would-upgrade"
    }
    ended = program("mapfiles", "--json", "--maps", where)
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "read-only" in ended.err


def test_full_share_stops_the_run_which_is_resumed_when_there_is_room(
    program: Program,
    tmp_path: Path,
    mount: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("archipmigrate.engine.controllers.FIRST_PAUSE", 0.01)
    maps = mount(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    put_v1(maps, "foobar", "second", "another", objects=300)
    ballast = maps / "ballast"
    ballast.write_bytes(bytes(os.statvfs(maps).f_bavail * 4096))
    before = contents(snapshot(maps))
    ended = program(*arguments(maps))
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "the share is full" in ended.err
    assert contents(snapshot(maps)) == before
    ballast.unlink()
    ended = program("resume", "--json")
    assert (ended.status, set(results(ended).values())) == (0, {"upgraded"})


def test_lock_that_cannot_be_acquired_is_named_in_the_failure(
    program: Program, maps: Path, locks: Path, mount: Callable[..., Path]
) -> None:
    put_v1(maps, "foobar")
    before = snapshot(maps)
    mount(locks, "-t", "tmpfs", "-o", "ro", "tmpfs")
    ended = program(*arguments(maps, locks=locks))
    (line,) = lines(ended, "volume")
    assert (ended.status, line["result"]) == (1, "failed")
    assert "lock" in line["reason"]
    assert snapshot(maps) == before


def test_full_state_directory_stops_the_run_and_is_named(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "foobar")
    with monkeypatch.context() as full:
        full.setattr(commit, "spare_bytes", lambda _: 0)
        ended = program("mapfiles", "--maps", maps)
        assert ended.status == 1
        first, *_, last = ended.out.splitlines()
        assert "stopped" in first
        assert "MiB left" in first
        ended = program("mapfiles", "--maps", maps, "--json")
        assert (ended.status, ended.summary["status"]) == (1, "stopped")
        assert "MiB left" in ended.err
    assert last.startswith("go on with: ")
    assert program(*last.partition("archipmigrate ")[2].split()).status == 0
    assert mapshare.read_volume(maps, "foobar").version == 2


def test_caller_who_may_change_nothing_stops_with_the_cause(
    program: Program, maps: Path, state: Path
) -> None:
    put_v1(maps, "foobar")
    for path in (maps, *maps.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.chown(state, 65534, 65534)
    for path in (maps, *maps.parents):
        path.chmod(path.stat().st_mode | 0o111)
    ended = as_nobody(lambda: program(*arguments(maps)))
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "every change was refused (prepare: EACCES)" in ended.err


def as_nobody(work: Callable[[], Ended]) -> Ended:
    """Call *work* in a process of a user without any rights."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            ended = work()
            os.write(writing, json.dumps([ended.status, ended.out, ended.err]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return Ended(*json.loads(said))


def test_interrupted_run_goes_on_where_it_was(cli: Cli, maps: Path) -> None:
    names = [f"volume{number:04}" for number in range(600)]
    put_v1(maps, *names)
    words = ("mapfiles", "-q", "--maps", maps)
    with cli.start(*words, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(maps.rglob("volume*_0000000000000000")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
    assert not list(maps.rglob("*lock*"))
    assert not list(maps.rglob("*.archipmigrate*"))
    left = [path.name.removeprefix("archip_") for path in maps.rglob("archip_*")]
    assert 0 < len(left) < len(names)
    ended = cli("mapfiles", "--json", "--maps", maps)
    check_summary(ended)
    assert ended.summary["resumed"] is True
    assert results(ended) == dict.fromkeys(names, "upgraded")
    assert "resuming" in ended.err
    ended = cli("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, len(names))
    assert len(list(maps.rglob("archip_*"))) == len(names)


def test_failed_volume_is_tried_again_by_resume(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    put_v1(maps, "foobar", "second")
    (place,) = [path.parent for path in maps.rglob("archip_foobar")]
    where = maps / mapshare.sha256_place("foobar_0000000000000000")
    where.parent.mkdir(parents=True)
    where.write_bytes(b"a file where a directory is to be")
    ended = program("mapfiles", "--json", "--maps", maps)
    assert (ended.status, results(ended)) == (3, {"foobar": "failed", "second": "upgraded"})
    assert [path.name for path in place.iterdir()] == ["archip_foobar"]
    where.unlink()
    logs = tmp_path / "logs"
    words = ("resume", "--failed", "--json", "--log-dir", logs)
    assert program(*words).status == 2
    logs.mkdir()
    ended = program(*words)
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded", "second": "upgraded"})
    assert (logs / "upgraded.log").read_text() == "Upgraded foobar\nUpgraded second\n"


def test_resume_lists_volumes_as_mapfiles_does(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar", "locked")
    mapshare.put_lock(maps, None, "locked")
    assert program("mapfiles", "--maps", maps).status == 3
    for path in [path for path in maps.rglob("locked_lock*") if path.is_file()]:
        path.unlink()
    ended = program("resume", "--failed", "--list")
    assert (ended.status, ended.err) == (0, "")
    assert "upgraded                2" in ended.out


def test_command_that_goes_on_writes_the_logs_too(
    program: Program, maps: Path, tmp_path: Path
) -> None:
    put_v1(maps, "foobar")
    where = maps / mapshare.sha256_place("foobar_0000000000000000")
    where.parent.mkdir(parents=True)
    where.write_bytes(b"a file where a directory is to be")
    ended = program("mapfiles", "--maps", maps, "--log-dir", tmp_path)
    (line,) = [line for line in ended.out.splitlines() if "--failed" in line]
    assert f" --log-dir {tmp_path} mapfiles-" in line


def test_status_counts_volumes_by_result(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    mapshare.put(maps, "archip_broken", b"garbage")
    program(*arguments(maps))
    (run,) = program("status", "--json").objects
    assert (run["job"], run["volumes"]) == ("mapfiles", {"upgraded": 1, "invalid": 1})
    assert "volumes: " in program("status").out
