"""Removal of empty directories, after a run of `relocate` and after its undo."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.relocate.kind import EMPTY_STAY
from archipmigrate.share.daemons import check_all_stopped
from tests.support.inprocess import Program
from tests.support.kill import Loaded
from tests.support.old_shares import entries, make_old_share, put
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = pytest.mark.privileged
STOPPED = ("--v03-stopped", "--v04-stopped")


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A share whose objects were moved."""
    make_old_share(tmp_path / "share", odd=False)
    return tmp_path / "share"


def relocate(program: Program, top: Path, *words: object) -> Ended:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    return program("relocate", "--json", *place, *words)


def directories(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_dir()}


def needed(top: Path) -> set[str]:
    """Return the directories that hold a file, the roots, and those above."""
    found = {"blocks", "maps"}
    for path in top.rglob("*"):
        if not path.is_dir():
            found |= {str(p) for p in path.relative_to(top).parents if p != Path(".")}
    return found


def test_old_directories_go_and_no_others(program: Program, top: Path) -> None:
    relocate(program, top, "--v03-stopped")
    odd = ("blocks/abc", "blocks/x", "blocks/ab/cd/ef/gh", "maps/lost+found", "blocks/é")
    for name in odd:
        (top / name).mkdir(parents=True)
    before, files = directories(top), entries(top)
    dry = relocate(program, top, "--prune", "-n")
    assert (dry.status, directories(top)) == (0, before)
    ended = relocate(program, top, "--prune", *STOPPED)
    assert ended.status == 0, ended.err
    after = directories(top)
    # `é` has two bytes: v0.3 makes directories of arbitrary ones.
    kept = {"blocks/abc", "blocks/x", "maps/lost+found"}
    kept |= {"blocks/ab", "blocks/ab/cd", "blocks/ab/cd/ef", "blocks/ab/cd/ef/gh"}
    assert after == needed(top) | kept
    assert ended.summary["changed"] == len(before - after) > 10
    assert 0 < dry.summary["changed"] < ended.summary["changed"]  # the first level is not foreseen
    assert entries(top) == files
    assert relocate(program, top, "--prune", *STOPPED).summary["changed"] == 0


def test_directories_stay_while_a_daemon_may_run(
    program: Program, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relocate(program, top, "--v03-stopped")
    before = directories(top)
    for words in ([], ["--v03-stopped"], ["--v04-stopped"]):
        ended = relocate(program, top, "--prune", *words)
        assert ended.status == 2
        assert "--v03-stopped and --v04-stopped" in ended.err
    put(tmp_path / "proc/4711/comm", b"archip-filed\n")
    monkeypatch.setattr(check_all_stopped, "__defaults__", (tmp_path / "proc",))
    ended = relocate(program, top, "--prune", *STOPPED)
    assert ended.status == 1
    assert "archip-filed (process 4711)" in ended.err
    assert directories(top) == before


def test_undo_removes_the_directories_of_the_run(program: Program, top: Path) -> None:
    before, files = directories(top), entries(top)
    relocate(program, top, "--v03-stopped")
    assert program("undo", "--prune", "--v03-stopped").status == 2
    ended = program("undo", "--prune", *STOPPED)
    assert "empty directories stay" not in ended.out
    assert ended.status == 0, ended.err
    assert (directories(top), entries(top)) == (before, files)


def test_undo_names_the_command_that_removes_them_later(program: Program, top: Path) -> None:
    before, files = directories(top), entries(top)
    relocate(program, top, "--v03-stopped")
    [line] = [line for line in program("undo").out.splitlines() if line.startswith(EMPTY_STAY)]
    assert directories(top) > before
    words = shlex.split(line.removeprefix(f"{EMPTY_STAY}: "))
    assert words[0] == "archipmigrate"
    assert program(*words[1:]).status == 0
    assert (directories(top), entries(top)) == (before, files)


def test_run_is_undone_also_when_its_old_directories_are_gone(program: Program, top: Path) -> None:
    files = entries(top)
    run = relocate(program, top, "--v03-stopped").summary["run"]
    relocate(program, top, "--prune", *STOPPED)
    ended = program("undo", "--json")  # not of prune: that has nothing to put back
    assert (ended.status, ended.summary["undone"]) == (0, run)
    assert entries(top) == files
    prune = next(o["run"] for o in program("status", "--json").objects if o["job"] == "prune")
    assert program("undo", prune).status == 1


def test_mount_point_and_what_came_meanwhile_stay(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relocate(program, top, "--v03-stopped")
    (top / "blocks/zz/zz/zz").mkdir(parents=True)
    rmdir = os.rmdir

    def comes_first(name: bytes, *, dir_fd: int) -> None:
        if name == b"zz" and not (top / "blocks/zz/zz/zz/new").exists():
            (top / "blocks/zz/zz/zz/new").write_bytes(b"")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", comes_first)
    assert relocate(program, top, "--prune", *STOPPED).status == 0
    assert (top / "blocks/zz/zz/zz/new").exists()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    loaded = Loaded("auto", tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "EIO"])
def test_prune_struck_at_any_call_is_finished_by_the_same_command(loaded: Loaded, how: str) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        top = Path(directory) / "share"
        place = ["--blocks", top / "blocks", "--maps", top / "maps", "--jobs", 1]
        report = Path(directory) / "report"
        for at in strikes(2):
            for path in (top, Path(directory) / "state"):
                shutil.rmtree(path, ignore_errors=True)
            report.unlink(missing_ok=True)
            state = Path(directory) / "state"
            state.mkdir(0o700)
            make_old_share(top, odd=False)
            assert loaded(state, "relocate", "--v03-stopped", *place).status == 0
            before, files = directories(top), entries(top)
            fault = {"FAIL_UNDER": str(top), "FAIL_AT": str(at), "FAIL_HOW": how,
                     "FAIL_REPORT": str(report)}  # fmt: skip
            words = ["relocate", "--json", "--prune", *STOPPED, *place]
            ended = loaded.start(state, *words, env=fault).wait()
            if not report.exists():
                break
            if how == "kill":
                ended = loaded(state, *words)
            elif ended.status:
                ended = loaded(state, "resume", "--failed", "--json")
            assert ended.status == 0, report.read_text() + ended.out + ended.err
            assert entries(top) == files
            assert directories(top) == needed(top), report.read_text()
            assert ended.summary["changed"] == len(before - directories(top)), report.read_text()
        assert at > 10
