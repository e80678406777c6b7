"""`mapfiles` over several sessions, with changes by others in between: it uses nothing stale."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from archipmigrate.engine.session import Session
from archipmigrate.maps.blocker import together
from archipmigrate.maps.blocker.preimage import VolumePreimage
from archipmigrate.maps.blocker.store import Store
from archipmigrate.maps.survey import walk
from tests.support import map_shares as mapshare
from tests.support.inprocess import Program
from tests.support.map_kills import killed_before_the_second
from tests.support.map_runs import arguments, foreign, lines, results
from tests.support.map_shares import contents, read_volume, sha256_place, snapshot, v03_place

pytestmark = pytest.mark.privileged
ENTRIES = mapshare.v1_entries(4)
LONGER = mapshare.v1_entries(5, "longer")


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


def put_v1(maps: Path, *volumes: str, v03: bool = False) -> list[Path]:
    names = [f"archip_{volume}" for volume in volumes]
    places = [v03_place(name) if v03 else None for name in names]
    content = mapshare.v1(ENTRIES)
    return [
        mapshare.put(maps, name, content, place=place)
        for name, place in zip(names, places, strict=True)
    ]


def left(maps: Path) -> list[Path]:
    """Return the v1 maps that are there."""
    return [path for path in maps.rglob("archip_*") if not path.name.endswith("_lock")]


# -- volumes that were prepared and not begun


@pytest.mark.parametrize("v03", [False, True], ids=["v0.4's place", "v0.3's place"])
def test_map_that_grew_after_a_kill_is_upgraded_as_it_is_now(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch, v03: bool
) -> None:
    put_v1(maps, "volaaa", "volbbb", v03=v03)
    killed_before_the_second(program, maps)
    (path,) = left(maps)
    volume = path.name.removeprefix("archip_")
    path.write_bytes(mapshare.v1(LONGER))  # in the same inode
    ended = program("resume", "--json")
    assert (ended.status, set(results(ended).values())) == (0, {"upgraded"})
    assert read_volume(maps, volume).entries == mapshare.from_v1(LONGER)
    assert not list(maps.rglob("*lock*"))


def test_resumed_mapfiles_says_how_many_volumes_there_are(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = []
    real = Session._work_off

    async def work_off(session: Session[Any], helpers: trio.Nursery) -> None:
        totals.append(session.counters.total)
        await real(session, helpers)

    put_v1(maps, "volaaa", "volbbb", "volccc")
    killed_before_the_second(program, maps)
    monkeypatch.setattr(Session, "_work_off", work_off)
    assert program("resume", "--json").status == 0
    assert totals == [3]


def test_map_that_v03_locked_after_a_kill_is_left_alone(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "volaaa", "volbbb", v03=True)
    killed_before_the_second(program, maps)
    (path,) = left(maps)
    volume = path.name.removeprefix("archip_")
    mapshare.put_v03_lock(maps, volume)
    before = path.read_bytes(), path.stat().st_ino
    ended = program("resume", "--json")
    assert (ended.status, results(ended)[volume]) == (3, "locked")
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_undo_of_a_killed_run_leaves_what_was_not_begun(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "volaaa", "volbbb")
    before = contents(snapshot(maps))
    killed_before_the_second(program, maps)
    (path,) = left(maps)
    inode = path.stat().st_ino
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, 1)
    assert contents(snapshot(maps)) == before
    assert path.stat().st_ino == inode


def test_lock_of_a_killed_run_is_ours_under_another_name_of_the_host(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "volaaa", "volbbb")
    killed_before_the_second(program, maps)
    assert list(maps.rglob("*_lock"))
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed.example.org")
    ended = program("resume", "--json")
    assert (ended.status, set(results(ended).values())) == (0, {"upgraded"})
    assert not list(maps.rglob("*_lock"))


def test_dry_run_after_a_kill_says_what_a_run_would_do(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "volaaa", "volbbb")
    killed_before_the_second(program, maps)
    found = results(program(*arguments(maps), "-n"))
    assert sorted(found.values()) == ["current", "would-upgrade"]


def test_run_that_may_have_left_locks_is_not_forgotten(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "volaaa", "volbbb")
    killed_before_the_second(program, maps)
    (run,) = program("status", "--json").objects
    ended = program("forget", run["run"])
    assert (ended.status, "--force" in ended.err) == (2, True)
    resume = f"`archipmigrate resume {run['run']} --state {program.state}`"
    assert resume in ended.err
    assert resume in program(*arguments(maps), "--check").err
    assert program("forget", "--force", run["run"]).status == 0


def test_dead_lock_is_swept_and_the_verdict_of_the_survey_stays(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second file of the name lies where only the survey sees it."""
    put_v1(maps, "volaaa", "volbbb")
    killed_before_the_second(program, maps)
    (path,) = left(maps)
    volume = path.name.removeprefix("archip_")
    stray = mapshare.put(maps, path.name, mapshare.v1(LONGER), place=Path("el/se/wh"))
    before = path.stat().st_ino, stray.stat().st_ino
    ended = program(*arguments(maps), "--fresh", "--check")
    assert (ended.status, results(ended)[volume]) == (3, "conflict")
    assert (path.stat().st_ino, stray.stat().st_ino) == before
    assert not list(maps.rglob("*_lock"))


# -- headers that are written in part


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it: from then on headers in place are written in part, and nothing after that."""
    real = os.pwrite

    def break_down() -> None:
        def pwrite(fd: int, content: bytes, offset: int) -> int:
            if "/maps/" not in os.readlink(f"/proc/self/fd/{fd}"):
                return real(fd, content, offset)
            if len(content) <= 32:
                real(fd, content[:10], offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "pwrite", pwrite)

    return break_down


def test_torn_header_keeps_its_lock_until_it_is_repaired(
    program: Program, maps: Path, torn: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mapshare.put(maps, "foobar", mapshare.v1(ENTRIES))
    before = contents(snapshot(maps))
    torn()
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (3, {"foobar": "failed"})
    assert path.read_bytes()[:10] == mapshare.v1(ENTRIES)[:10]
    assert [found.name for found in maps.rglob("*_lock")] == ["foobar_lock"]
    monkeypatch.undo()
    ended = program("resume", "--failed", "--json")
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})
    assert read_volume(maps, "foobar").entries == mapshare.from_v1(ENTRIES)
    assert not list(maps.rglob("*_lock"))
    (run,) = program("status", "--json").objects
    assert (run["status"], run["failed"], run["changed"]) == ("done", 0, 1)
    assert program("undo").status == 0
    assert contents(snapshot(maps)) == before


def test_header_torn_by_an_undo_is_repaired_by_the_next(
    program: Program, maps: Path, torn: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mapshare.put(maps, "foobar", mapshare.v1(ENTRIES))
    before = contents(snapshot(maps))
    assert program(*arguments(maps)).status == 0
    torn()
    assert program("undo").status == 3
    monkeypatch.undo()
    assert program("undo").status == 0
    assert contents(snapshot(maps)) == before


# -- changes by others in between


def test_volume_that_vanishes_after_the_survey_is_no_failure(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = put_v1(maps, "volaaa", "volbbb")
    real = Store.acquire_together

    def acquire(store: Store, groups: Sequence[Sequence[bytes]]) -> list[bool]:
        first.unlink()
        return real(store, groups)

    monkeypatch.setattr(Store, "acquire_together", acquire)
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (0, {"volbbb": "upgraded"})


def test_map_that_was_written_to_after_its_upgrade_is_not_removed(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v0.3 ignores the locks of v0.4."""
    (path,) = put_v1(maps, "foobar")
    real = together._Batch._remove_old

    def remove(batch: together._Batch, volumes: Sequence[VolumePreimage]) -> None:
        path.write_bytes(mapshare.v1(LONGER))
        real(batch, volumes)

    monkeypatch.setattr(together._Batch, "_remove_old", remove)
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (3, {"foobar": "shadowed"})
    assert path.read_bytes() == mapshare.v1(LONGER)


def test_locked_volume_is_retried_by_resume_failed(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    lock = mapshare.put_lock(maps, None, "foobar")
    assert results(program(*arguments(maps))) == {"foobar": "locked"}
    assert program("status", "--json").objects[0]["status"] == "failures"
    lock.unlink()
    ended = program("resume", "--failed", "--json")
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})


def test_directory_that_could_be_listed_after_all_is_judged_anew(
    program: Program, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_v1(maps, "foobar")
    stray = mapshare.put(maps, "archip_broken", b"garbage")
    unlisted = maps / sha256_place("archip_foobar")

    class Denied(walk.Listing):
        def __init__(self, path: bytes, fd: int) -> None:
            if os.readlink(f"/proc/self/fd/{fd}") == str(unlisted):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            super().__init__(path, fd)

    monkeypatch.setattr(walk, "Listing", Denied)
    ended = program(*arguments(maps), "--backend", "python")
    assert (ended.status, results(ended)) == (3, {"broken": "invalid"})
    monkeypatch.undo()
    stray.unlink()
    ended = program("resume", "--failed", "--json")
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})


# -- misleading names and lengths


def test_map_with_the_name_of_a_locks_part_is_a_map(program: Program, maps: Path) -> None:
    names = ["my_locker_vm", "web_lock2_db", "x.archipmigrate_y"]
    put_v1(maps, *names)
    stale = mapshare.put_stale(maps, None, "foobar")
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (0, dict.fromkeys(names, "upgraded"))
    assert foreign(ended) == [stale.name]


def test_files_of_absurd_length_end_in_a_verdict(
    program: Program, maps: Path, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    maps = mount(maps, "-t", "tmpfs", "tmpfs")
    (longer,) = put_v1(maps, "longer")
    os.truncate(longer, 1 << 62)
    mapshare.put(maps, "blocked", mapshare.v1(ENTRIES))
    block = mapshare.put(maps, "blocked_0000000000000000", b"x")
    os.truncate(block, 1 << 62)
    digest = "ab" * 32
    v0 = mapshare.put(maps, digest, mapshare.v0(mapshare.digests(3)))
    os.truncate(v0, 1 << 62)
    put_v1(maps, "foobar")
    expected = {"longer": "invalid", "blocked": "invalid", digest: "invalid"}
    words = arguments(maps, sizes={digest: 3 << 22})
    assert results(program(*words, "-n")) == {**expected, "foobar": "would-upgrade"}
    found = results(program(*words, "-n", "--no-keep"))
    assert (found["longer"], found["blocked"]) == ("would-upgrade", "would-upgrade")
    ended = program(*words)
    assert results(ended) == {**expected, "foobar": "upgraded"}
    reasons = {line["volume"]: line["reason"] for line in lines(ended, "volume")}
    assert "--no-keep" in reasons["longer"]
    found = results(program(*arguments(maps), "--no-keep", "--fresh"))
    assert (found["longer"], found["blocked"]) == ("upgraded", "upgraded")


def test_deep_chain_is_listed_and_not_a_failure(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    here = os.open(maps, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    ended = program(*arguments(maps))
    assert (ended.status, results(ended)) == (0, {"foobar": "upgraded"})
    assert foreign(ended) == ["d" * 200]


def test_v03_lock_counts_beside_a_map_at_its_place_only(program: Program, maps: Path) -> None:
    put_v1(maps, "foobar")
    mapshare.put_v03_lock(maps, "foobar")
    assert results(program(*arguments(maps))) == {"foobar": "upgraded"}
