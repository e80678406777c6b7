"""`mapfiles` beside another run, and beside blockers that acquire locks by `filed`'s protocol."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.support.inprocess import Program
from tests.support.kill import WATCHED, Loaded, Running
from tests.support.lock_holder import Blocker, lock_of_dead_run
from tests.support.map_runs import arguments, finished, results
from tests.support.map_shares import (
    PREFIX,
    Entry,
    contents,
    from_v1,
    lock_path,
    put,
    put_v2,
    read_volume,
    sha256_place,
    snapshot,
    v1,
    v1_entries,
)
from tests.support.program import Cli

pytestmark = pytest.mark.privileged
VOLUMES = 60
MOST_RUNS = 10
RUNS_BESIDE_BLOCKERS = 4
KILLED = -9

Volumes = dict[str, tuple[list[str], list[Entry]]]


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


@pytest.fixture(params=[False, True], ids=["locks in maps", "lock directory"])
def locks(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    path = tmp_path / "locks"
    path.mkdir()
    return path if request.param else None


@pytest.fixture
def loaded(backend: str, tmp_path: Path) -> Iterator[Loaded]:
    loaded = Loaded(backend, tmp_path, "fail_at")
    yield loaded
    loaded.close()


def fill(maps: Path, count: int = VOLUMES) -> Volumes:
    """Make volumes of three kinds; return the names whose locks an upgrade needs, and entries."""
    volumes: Volumes = {}
    for number in range(count):
        volume, entries = f"volume{number:03}", v1_entries(3, number)
        needed = [volume] if number % 3 == 1 else [volume, PREFIX + volume]
        if number % 3 == 2:
            put_v2(maps, PREFIX + volume, from_v1(entries))
        else:
            put(maps, needed[-1], v1(entries))
        volumes[volume] = (needed, from_v1(entries))
    return volumes


def check_upgraded(maps: Path, locks: Path | None, volumes: Volumes) -> None:
    """Check that every volume is v2 under its own name, with all entries, and no lock is left."""
    for volume, (_, entries) in volumes.items():
        found = read_volume(maps, volume)
        assert (found.version, found.name, found.entries) == (2, volume, entries)
    assert not [path for path in snapshot(maps, locks) if "_lock" in path or PREFIX in path]


# -- two runs


def stopped(loaded: Loaded, tmp_path: Path, state: Path, words: list[object], at: int) -> Running:
    """Start a run and wait until it has stopped itself before its *at*-th changing call."""
    report = tmp_path / "report"
    fault = {"FAIL_UNDER": f"{tmp_path / 'maps'}:{tmp_path / 'locks'}", "FAIL_AT": str(at),
             "FAIL_HOW": "stop", "FAIL_REPORT": str(report)}  # fmt: skip
    running = loaded.start(state, *words, env=fault)
    while not report.exists():
        assert not running.ended(WATCHED)
    while Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass
    return running


@pytest.mark.parametrize("at", [1, 8, 20])
def test_second_run_over_the_same_maps_is_refused_whatever_its_state_directory(
    loaded: Loaded, cli: Cli, maps: Path, locks: Path | None, tmp_path: Path, at: int
) -> None:
    volumes = fill(maps, 6)
    words = [*arguments(maps, locks=locks), "--jobs", 1]
    running = stopped(loaded, tmp_path, cli.state, words, at)
    try:
        before = snapshot(maps, locks)
        other = Cli(cli.backend, tmp_path / "other")
        for second in (cli, other):
            ended = second(*words)
            assert ended.status == 11, ended.err
            assert not [line for line in ended.out.splitlines() if '"volume"' in line]
        assert snapshot(maps, locks) == before
    finally:
        os.kill(running.pid, signal.SIGCONT)
    finished(running.wait(), volumes)
    check_upgraded(maps, locks, volumes)


def test_locks_of_a_dead_run_are_its_own_to_release(
    loaded: Loaded, cli: Cli, maps: Path, locks: Path | None, tmp_path: Path
) -> None:
    words = [*arguments(maps, locks=locks), "--jobs", 1]
    fault = {"FAIL_UNDER": f"{maps}:{tmp_path / 'locks'}", "FAIL_HOW": "kill"}
    for at in itertools.count(1):
        for directory in (maps, tmp_path / "locks"):
            shutil.rmtree(directory)
            directory.mkdir()
        volumes = fill(maps, 1)
        (volume,) = volumes
        mine = Cli(cli.backend, tmp_path / f"state{at}")
        ended = loaded.start(mine.state, *words, env={**fault, "FAIL_AT": str(at)}).wait()
        assert ended.status == KILLED
        if lock_path(maps, locks, volume).exists():
            break
    left = snapshot(maps, locks)
    # Another state directory knows nothing of that run.
    ended = Cli(cli.backend, tmp_path / "other")(*words)
    assert (results(ended), ended.status) == ({volume: "locked"}, 3)
    assert contents(snapshot(maps, locks)) == contents(left)
    finished(mine(*words), volumes)
    check_upgraded(maps, locks, volumes)


@pytest.mark.parametrize(("host", "run"), [("elsewhere", "1"), (socket.gethostname(), "1")])
def test_lock_of_an_unknown_run_is_kept(
    program: Program, maps: Path, locks: Path | None, host: str, run: str
) -> None:
    volumes = fill(maps, 3)
    for names, _ in volumes.values():
        lock_of_dead_run(maps, locks, names[-1], host, run)
    before = snapshot(maps, locks)
    ended = program(*arguments(maps, locks=locks))
    assert ended.status == 3
    assert set(results(ended).values()) == {"locked"}
    assert snapshot(maps, locks) == before


# -- blockers


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 4])
def test_nothing_changes_while_a_blocker_holds_a_lock_and_all_is_upgraded_in_the_end(
    cli: Cli, maps: Path, locks: Path | None, jobs: int
) -> None:
    volumes = fill(maps)
    blockers = [Blocker(maps, locks, volumes, f"node{number}_1002") for number in range(2)]
    words = [*arguments(maps, locks=locks), "--jobs", jobs]
    stop = Event()
    with ThreadPoolExecutor() as pool:
        working = [pool.submit(blocker.work, stop, seed) for seed, blocker in enumerate(blockers)]
        try:
            _run_beside(cli, words, volumes)
        finally:
            stop.set()
        for work in working:
            work.result()
    assert not [line for blocker in blockers for line in blocker.broken]
    assert all(blocker.acquired for blocker in blockers)
    for _ in range(MOST_RUNS):
        ended = cli(*words)
        if ended.status == 0:
            break
    finished(ended, volumes)
    check_upgraded(maps, locks, volumes)


def _run_beside(cli: Cli, words: list[object], volumes: Volumes) -> None:
    upgraded: set[str] = set()
    for _ in range(RUNS_BESIDE_BLOCKERS):
        ended = cli(*words)
        found = results(ended)
        assert set(found) == set(volumes)
        assert set(found.values()) <= {"upgraded", "current", "locked"}, ended.out
        assert ended.status == (3 if "locked" in found.values() else 0)
        assert {volume for volume, result in found.items() if result == "current"} == upgraded
        upgraded |= {volume for volume, result in found.items() if result == "upgraded"}


@pytest.mark.parametrize("which", [0, -1], ids=["own name", "prefixed name"])
def test_held_volumes_are_skipped_and_the_others_upgraded(
    program: Program, maps: Path, locks: Path | None, which: int
) -> None:
    volumes = fill(maps, 12)
    blocker = Blocker(maps, locks, volumes, "node_1002")
    held = list(volumes)[:5]
    entered = [blocker.holding(volumes[volume][0][which]) for volume in held]
    before = contents(snapshot(maps))
    for lock in entered:
        assert lock.__enter__()
    ended = program(*arguments(maps, locks=locks))
    assert ended.status == 3
    assert results(ended) == {v: "locked" if v in held else "upgraded" for v in volumes}
    now = contents(snapshot(maps))
    for path in before:
        if any(volume in path for volume in held):
            assert now[path] == before[path]
    for lock in entered:
        lock.__exit__(None, None, None)
    assert not blocker.broken
    again = program(*arguments(maps, locks=locks))
    finished(again, volumes)
    check_upgraded(maps, locks, volumes)


# -- the blocker itself


def test_blocker_notices_a_change_while_it_holds_a_lock(maps: Path, locks: Path | None) -> None:
    volumes = fill(maps, 3)
    blocker = Blocker(maps, locks, volumes, "node_1002")
    other = Blocker(maps, locks, volumes, "other_1002")
    with blocker.holding("volume001") as held:
        assert held
        with other.holding("volume001") as second:
            assert not second
    assert not snapshot(locks)
    path = maps / sha256_place("volume001") / "volume001"
    blocker.watch("volume001", lambda: None)
    assert not blocker.broken
    blocker.watch("volume001", lambda: os.utime(path, (1, 1)))
    blocker.watch("volume001", path.unlink)
    blocker.watch("volume001", lambda: None)
    assert [line.split()[1] for line in blocker.broken] == ["changed", "changed", "is"]
