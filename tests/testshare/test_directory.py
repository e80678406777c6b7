"""The directory of a sample share: made by us, or the caller's and nobody else's to write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archipmigrate.testshare.tree import BlockerTree, open_empty
from tests.support.inprocess import Program
from tests.support.situations import made

pytestmark = pytest.mark.privileged

FEW = ("--objects", 2, "--volumes", 1)


@pytest.fixture
def backend(codec: str) -> str:
    """None is needed."""
    return codec


@pytest.mark.parametrize("mode", [None, 0o700, 0o755])
def test_directory_of_the_caller_is_filled(
    program: Program, tmp_path: Path, mode: int | None
) -> None:
    """The control."""
    place = tmp_path / "place"
    if mode is not None:
        place.mkdir(mode=mode)
    assert program("testshare", place, *FEW).status == 0
    assert (place / "maps").is_dir()


@pytest.mark.parametrize(
    ("uid", "gid", "mode"),
    [(1000, 1000, 0o700), (0, 1000, 0o770), (0, 0, 0o777), (0, 0, 0o1777)],
    ids=["somebody else's", "a group's", "everybody's", "sticky"],
)
def test_directory_that_others_can_write_to_is_refused(
    program: Program, tmp_path: Path, uid: int, gid: int, mode: int
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, uid, gid)
    place.chmod(mode)
    ended = program("testshare", place, *FEW)
    made(place.is_dir(), "a directory that was there")
    assert ended.status == 2
    assert list(place.iterdir()) == []
    found = place.stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (uid, mode)


def test_link_to_a_directory_is_refused(program: Program, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.mkdir()
    victim.chmod(0o755)
    place.symlink_to(victim)
    made(place.is_dir(), "a link that leads to a directory")
    assert program("testshare", place, *FEW).status == 2
    assert (list(victim.iterdir()), victim.stat().st_mode & 0o777) == ([], 0o755)


def test_directory_that_becomes_a_link_while_it_is_filled_leads_nowhere(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write above exchanges it between two steps by its path."""
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.mkdir()
    victim.chmod(0o755)
    mkdir = os.mkdir

    def exchanged(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        if str(path) == str(place):
            place.rename(tmp_path / "moved away")
            place.symlink_to(victim)

    monkeypatch.setattr(os, "mkdir", exchanged)
    program("testshare", place, *FEW)
    made(place.is_symlink(), "a directory that was exchanged")
    assert (list(victim.iterdir()), victim.stat().st_mode & 0o777) == ([], 0o755)


def test_link_within_the_share_leads_nowhere(tmp_path: Path) -> None:
    """No directory of it is entered by a link, at whatever depth."""
    place, victim = tmp_path / "place", tmp_path / "victim"
    victim.mkdir()
    top = open_empty(str(place))
    try:
        (place / "aa").symlink_to(victim)
        (place / "bb").mkdir()
        (place / "bb" / "cc").symlink_to(victim)
        for path in [(b"aa",), (b"aa", b"cc"), (b"bb", b"cc"), (b"bb", b"cc", b"dd")]:
            with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
                BlockerTree(top, 0).add(b"name", b"content", path)
    finally:
        os.close(top)
    assert list(victim.iterdir()) == []
