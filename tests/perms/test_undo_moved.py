"""Undo finds an entry whose name is another by now; what it cannot find is not "all is back"."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.engine.job import UnitResult
from archipmigrate.model import StopFlag
from archipmigrate.packed.changes import Flag, read_changes
from archipmigrate.perms import find
from archipmigrate.perms.job import PermsJob
from archipmigrate.perms.undo import UndoJob
from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

pytestmark = pytest.mark.privileged
DROPPED = Flag.DROPPED


def by_inode(top: Path) -> dict[int, tuple[int, int]]:
    """Return mode and group of all that is below a directory, and of it."""
    found = [path.lstat() for path in (top, *top.rglob("*"))]
    return {status.st_ino: (status.st_mode, status.st_gid) for status in found}


def changed(program: Program, share: Path) -> list[str]:
    """Run perms; return the paths by which entries were changed."""
    ended = program.perms(share, "--list")
    made(ended.status == 0, "a finished run")
    return [thing["path"] for thing in ended.objects if thing["type"] == "change"]


@pytest.fixture
def filled(share: Path) -> Path:
    """A share of two directories, one in the other, with files."""
    (share / "d" / "e").mkdir(parents=True, mode=0o700)
    for number in range(3):
        (share / "d" / "e" / f"f{number}").touch(mode=0o600)
    return share


@pytest.mark.parametrize(
    ("old", "new"),
    [("d/e/f1", "d/e/other"), ("d/e/f1", "elsewhere"), ("d", "moved"), ("d/e", "e")],
    ids=["file", "file elsewhere", "directory", "directory elsewhere"],
)
def test_undo_puts_back_what_was_renamed_within_the_share(
    program: Program, filled: Path, old: str, new: str
) -> None:
    before = by_inode(filled)
    changed(program, filled)
    (filled / old).rename(filled / new)
    ended = program("undo", "--json")
    assert by_inode(filled) == before
    assert (ended.status, ended.summary["changed"]) == (0, len(before))


def test_undo_puts_back_a_file_of_which_one_name_went(program: Program, filled: Path) -> None:
    os.link(filled / "d" / "e" / "f0", filled / "second")
    before = by_inode(filled)
    known = {"d/e/f0", "second"}.intersection(changed(program, filled))
    made(len(known) == 1, "a file that was changed by one of its names")
    (filled / known.pop()).unlink()
    assert program("undo").status == 0
    assert by_inode(filled) == before


def test_undo_puts_back_a_file_whose_names_go_one_by_one(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        os.link(filled / "d" / "e" / "f0", filled / f"{number}")
    before = by_inode(filled)
    names = {"d/e/f0", *"0123"}
    known = names.intersection(changed(program, filled)).pop()
    (filled / known).unlink()
    put_back = UndoJob._put_found_back

    def removed(job: UndoJob, body: bytes, found: list[find.Found], *args: Any) -> UnitResult:
        for name in found[:-1]:
            (filled / os.fsdecode(name.path)).unlink()
        return put_back(job, body, found, *args)

    monkeypatch.setattr(UndoJob, "_put_found_back", removed)
    ended = program("undo", "--json")
    made(sum((filled / name).exists() for name in names) == 1, "a file with a single name left")
    assert (ended.status, ended.summary["changed"]) == (0, len(before))
    assert by_inode(filled) == before


def test_what_undo_cannot_find_is_listed(program: Program, filled: Path, tmp_path: Path) -> None:
    changed(program, filled)
    (filled / "d" / "e" / "f1").rename(tmp_path / "outside")
    made((tmp_path / "outside").stat().st_gid == GID, "a file that is still the group's")
    ended = program("undo", "--json")
    assert ended.status == 3
    assert [f["path"] for f in ended.objects if f["type"] == "failure"] == ["d/e/f1"]


def test_new_file_in_the_place_of_a_moved_one_is_left_alone(
    program: Program, filled: Path, tmp_path: Path
) -> None:
    changed(program, filled)
    moved, place = filled / "moved", filled / "d" / "e" / "f1"
    place.rename(moved)
    place.touch()
    os.chown(place, 0, GID)
    place.chmod(0o660)
    assert program("undo").status == 0
    assert (place.stat().st_mode & 0o777, place.stat().st_gid) == (0o660, GID)
    assert (moved.stat().st_mode & 0o777, moved.stat().st_gid) == (0o600, 0)


# -- the search


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_search_that_is_killed_is_repeated(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    before = by_inode(filled)
    changed(program, filled)
    (filled / "d").rename(filled / "moved")
    put_back = UndoJob._put_found_back

    def killed(job: UndoJob, *args: Any) -> UnitResult:
        if after:
            put_back(job, *args)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(UndoJob, "_put_found_back", killed)
        with pytest.raises(Killed):
            program("undo")
    made((by_inode(filled) == before) == after, "a search that was killed")
    ended = program("undo", "--json")
    assert by_inode(filled) == before
    assert (ended.status, ended.summary["resumed"]) == (0, True)
    found = ended.summary
    assert (found["entries"], found["vanished"], found["failed"]) == (len(before), 0, 0)
    assert found["changed"] + found["compliant"] == len(before)  # as before already: those killed


@pytest.mark.parametrize("links", [False, True], ids=["renamed", "one of two names removed"])
@pytest.mark.parametrize("resumes", [False, True], ids=["undone", "resumed"])
def test_undo_puts_back_what_a_killed_run_changed_by_a_name_that_went(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch, *, resumes: bool, links: bool
) -> None:
    names = [Path("d", "e", "f1"), Path("moved")]
    if links:
        os.link(filled / names[0], filled / names[1])
    before = by_inode(filled)
    by: list[Path] = []
    apply = PermsJob.apply

    def killed(job: PermsJob, scan: Any, **more: Any) -> UnitResult:
        changes = [change for change in read_changes(scan.preimage) if not change.flags & DROPPED]
        by.extend(path for path in names if os.fsencode(path) in {c.path for c in changes})
        apply(job, scan, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PermsJob, "apply", killed)
        while not by:
            with pytest.raises(Killed):
                program.perms(filled, "--jobs", 1)
    made((filled / by[0]).stat().st_gid == GID, "a file that was changed")
    if links:
        (filled / by[0]).unlink()
    else:
        (filled / by[0]).rename(filled / names[1])
    if resumes:
        assert program.perms(filled).status == 0
    assert program("undo", "--json").status == 0
    assert by_inode(filled) == before


def test_undo_seeks_what_several_killed_sessions_changed(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: dict[int, tuple[int, int]] = {}
    apply = PermsJob.apply

    def killed(job: PermsJob, scan: Any, **more: Any) -> UnitResult:
        apply(job, scan, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PermsJob, "apply", killed)
        for number in range(3):
            new = filled / f"new{number}"
            new.touch(mode=0o600)
            before |= by_inode(new)
            while new.stat().st_gid != GID:
                with pytest.raises(Killed):
                    program.perms(filled)
            new.rename(filled / f"moved{number}")
    assert program("undo").status == 0
    assert before.items() <= by_inode(filled).items()


def test_search_that_is_interrupted_is_repeated(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = by_inode(filled)
    changed(program, filled)
    (filled / "d").rename(filled / "moved")
    walk = find.walk

    def interrupted(
        root: int, wanted: Mapping[int, object], stop: StopFlag
    ) -> Iterator[tuple[int, int, bytes]]:
        os.kill(os.getpid(), signal.SIGINT)
        while not stop[0]:
            time.sleep(0.001)
        return walk(root, wanted, stop)

    with monkeypatch.context() as patched:
        patched.setattr(find, "walk", interrupted)
        assert program("undo").status == 128 + signal.SIGINT
    made(by_inode(filled) != before, "a search that was interrupted")
    ended = program("resume", "--json")
    assert by_inode(filled) == before
    assert (ended.status, ended.summary["changed"]) == (0, len(before))


def test_nothing_is_sought_where_inodes_cannot_be_told_apart(
    program: Program, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(program, filled)
    (filled / "d" / "e" / "f1").rename(filled / "other")
    monkeypatch.setattr(find, "identity_of", lambda kind, fd, status: 0)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["vanished"]) == (3, 1)
    assert (filled / "other").stat().st_gid == GID


def test_what_was_born_since_is_not_what_is_sought(program: Program, filled: Path) -> None:
    """Inode numbers are given out again: the new file is made to look like the old one."""
    changed(program, filled)
    old = filled / "d" / "e" / "f1"
    inode = old.stat().st_ino
    old.unlink()
    for number in range(2000):
        new = filled / f"new{number}"
        new.touch()
        if new.stat().st_ino == inode:
            break
    else:
        pytest.skip("this filesystem does not reuse inode numbers soon")
    os.chown(new, 0, GID)
    new.chmod(0o660)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["vanished"]) == (3, 1)
    assert (new.stat().st_mode & 0o777, new.stat().st_gid) == (0o660, GID)


def test_set_id_of_what_was_renamed_stays_off(program: Program, filled: Path) -> None:
    tool, moved = filled / "tool", filled / "d" / "tool"
    tool.write_text("content")
    tool.chmod(0o4755)
    changed(program, filled)
    tool.rename(moved)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    assert (moved.stat().st_mode & 0o7777, moved.stat().st_gid) == (0o755, 0)
