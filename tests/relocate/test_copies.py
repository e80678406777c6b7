"""Objects whose new places lie on another filesystem: refused, or moved by copying them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.relocate.extents import extents
from tests.support.inprocess import Program
from tests.support.old_shares import (
    Entry,
    block_name,
    entries,
    make_old_share,
    new_place,
    old_place,
)
from tests.support.program import Ended

pytestmark = pytest.mark.privileged
FIRST = block_name("foobar", 0)
HOLE = 1 << 20
DATA = [(0, 4096), (2 * HOLE, 2 * HOLE + 4096)]


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path, mount: Callable[..., Path]) -> Path:
    """A share where a part of the new places lies on a filesystem of its own."""
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    mount(top / "blocks" / new_place(FIRST).parts[0], "-t", "tmpfs", "tmpfs")
    path = top / "blocks" / old_place(FIRST)
    with path.open("r+b") as file:
        file.truncate(3 * HOLE)
        file.seek(2 * HOLE)
        file.write(b"after a hole")
    os.chown(path, 1001, 1002)
    path.chmod(0o640)
    os.setxattr(path, "trusted.note", b"kept")
    os.utime(path, ns=(10**18, 10**18 + 7))
    return top


def relocate(program: Program, top: Path, *words: object) -> Ended:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    return program("relocate", "--json", "--v03-stopped", *place, *words)


def without_inodes(found: dict[str, Entry]) -> dict[str, tuple[object, ...]]:
    return {p: (e.mode, e.uid, e.gid, e.content, e.mtime) for p, e in found.items()}


def data_of(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:
        return extents(file.fileno())


def test_share_that_needs_copies_is_refused_and_nothing_is_touched(
    program: Program, top: Path
) -> None:
    before = sorted(top.rglob("*"))
    dry = relocate(program, top, "-n")
    assert (dry.status, dry.summary["classes"]["moved_blocks"]) == (2, 4)
    ended = relocate(program, top)
    assert ended.status == 2, ended.out
    for said in (dry.summary["refused"], ended.err):
        assert "1 object with " in said
        assert "--copy" in said
    assert sorted(top.rglob("*")) == before


def test_status_and_summary_name_what_a_refused_run_needs(program: Program, top: Path) -> None:
    ended = relocate(program, top)
    [run] = program("status", "--json").objects
    assert run["resume"].endswith(f" {run['run']} --copy")
    assert f"go on with: {run['resume']}" in program("status").out
    refused = program("resume", run["run"])
    assert (refused.status, "go on with: " in refused.out) == (2, True), refused.out
    assert f"{run['run']} --copy" in refused.out
    resumed = program("resume", run["run"], "--copy")
    assert resumed.status == 0, resumed.out + resumed.err
    assert not (top / "blocks" / old_place(FIRST)).exists()
    [done] = program("status", "--json").objects
    assert (done["status"], done["resume"], ended.status) == ("done", None, 2)


def test_copy_keeps_all_that_there_is_of_a_file(program: Program, top: Path) -> None:
    before = entries(top)
    assert relocate(program, top).status == 2
    ended = relocate(program, top, "--copy")
    assert (ended.status, ended.summary["resumed"]) == (0, True), ended.out  # no second survey
    assert ended.summary["classes"]["moved_blocks"] == 4
    new = top / "blocks" / new_place(FIRST)
    was, now = before[f"blocks/{old_place(FIRST)}"], entries(top)[f"blocks/{new_place(FIRST)}"]
    assert (now.mode, now.uid, now.gid, now.mtime) == (was.mode, was.uid, was.gid, was.mtime)
    assert now.content == was.content
    assert os.getxattr(new, "trusted.note") == b"kept"
    assert data_of(new) == DATA
    assert not (top / "blocks" / old_place(FIRST)).exists()
    assert os.listdir(new.parent) == [FIRST]


def test_undo_copies_back_what_was_written_meanwhile(program: Program, top: Path) -> None:
    before = entries(top)
    relocate(program, top, "--copy")
    new, old = (top / "blocks" / place for place in (new_place(FIRST), old_place(FIRST)))
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, 6), ended.out + ended.err
    assert without_inodes(entries(top)) == without_inodes(before)
    assert data_of(old)[1][0] == 2 * HOLE
    relocate(program, top, "--copy", "--fresh")
    new.write_bytes(b"written by v0.4")
    assert program("undo").status == 0
    assert old.read_bytes() == b"written by v0.4"


def test_undo_of_perms_knows_what_the_undo_of_copies_made_again(
    program: Program, top: Path
) -> None:
    """Of objects that were written to meanwhile it knows nothing."""
    path = top / "blocks" / old_place(FIRST)
    before = entries(top)
    for is_written in (False, True):
        assert program.perms(top).status == 0
        given = path.stat()
        with path.open("rb"):  # so that its inode number is not used again
            assert relocate(program, top, "--copy").status == 0
            if is_written:
                (top / "blocks" / new_place(FIRST)).write_bytes(b"written by v0.4")
            assert program("undo").status == 0
        assert path.stat().st_ino != given.st_ino
        ended = program("undo", "--json")
        if not is_written:
            assert (ended.status, ended.summary["skipped"], ended.summary["failed"]) == (0, 0, 0)
            assert without_inodes(entries(top)) == without_inodes(before)
    assert ended.status == 3
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert failure["path"] == f"blocks/{old_place(FIRST)}"
    assert (path.stat().st_mode, path.stat().st_gid) == (given.st_mode, given.st_gid)
    assert path.read_bytes() == b"written by v0.4"


def test_undo_leaves_a_file_that_has_taken_the_place_of_a_copy(program: Program, top: Path) -> None:
    relocate(program, top, "--copy")
    new = top / "blocks" / new_place(FIRST)
    new.rename(new.parent / "kept")  # so that its inode is not used again
    new.write_bytes(b"another one")
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    assert new.read_bytes() == b"another one"


def test_file_that_changes_while_it_is_copied_is_copied_again(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, times = os.fsync, iter(range(10))
    old, new = (top / "blocks" / place for place in (old_place(FIRST), new_place(FIRST)))

    def written(fd: int) -> None:
        sync(fd)
        if next(times) < 2:
            old.write_bytes(b"a late write")

    monkeypatch.setattr(os, "fsync", written)
    assert relocate(program, top, "--copy").status == 0
    assert new.read_bytes() == b"a late write"
    assert not old.exists()


def test_rename_that_fails_across_an_unknown_border_is_done_by_copying(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between directories of different quota projects: they have one device number."""
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    before = entries(top)

    def refuse(*_: object) -> bool:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr("archipmigrate.relocate.mover.rename_exclusive", refuse)
    monkeypatch.setattr("archipmigrate.relocate.mover.Mover.can_rename", lambda *_: False)
    monkeypatch.setattr("archipmigrate.relocate.carry.rename_exclusive", refuse)
    refused = relocate(program, top)
    assert (refused.status, refused.summary["changed"]) == (1, 0)
    assert entries(top) == before
    ended = relocate(program, top, "--copy")
    assert (ended.status, ended.summary["changed"]) == (0, 6), ended.out
    assert program("undo").status == 0
    assert without_inodes(entries(top)) == without_inodes(before)


def test_too_little_room_for_copies_is_refused(
    program: Program, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    mount(top / "blocks" / new_place(FIRST).parts[0], "-t", "tmpfs", "-o", "size=64k", "tmpfs")
    (top / "blocks" / old_place(FIRST)).write_bytes(bytes(range(256)) * 4096)
    before = entries(top)
    ended = relocate(program, top, "--copy")
    assert ended.status == 1
    assert "1 copy" in ended.err
    assert "make room" in ended.err
    assert entries(top) == before
