"""Undo finds an entry whose name is another by now; what it cannot find is not "all is back"."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

pytestmark = pytest.mark.privileged


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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="looks by the old name only")
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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="looks by the old name only")
def test_undo_puts_back_a_file_of_which_one_name_went(program: Program, filled: Path) -> None:
    os.link(filled / "d" / "e" / "f0", filled / "second")
    before = by_inode(filled)
    known = {"d/e/f0", "second"}.intersection(changed(program, filled))
    made(len(known) == 1, "a file that was changed by one of its names")
    (filled / known.pop()).unlink()
    assert program("undo").status == 0
    assert by_inode(filled) == before


def test_what_undo_cannot_find_is_listed(program: Program, filled: Path, tmp_path: Path) -> None:
    changed(program, filled)
    (filled / "d" / "e" / "f1").rename(tmp_path / "outside")
    made((tmp_path / "outside").stat().st_gid == GID, "a file that is still the group's")
    ended = program("undo", "--json")
    assert ended.status == 3
    assert [f["path"] for f in ended.objects if f["type"] == "failure"] == ["d/e/f1"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="looks by the old name only")
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
