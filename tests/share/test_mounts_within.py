"""Mounts within a share: of single files, that come while a run is at work, read-only ones."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.model import Limits, Scan, Verb
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]
ALL = Limits(60, 10**6, 10**6)


def is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory with a file of root's, on the share's filesystem but not in it."""
    directory = tmp_path / "outside"
    directory.mkdir(mode=0o700)
    (directory / "secret").touch(mode=0o600)
    return directory


def bind_file(share: Path, outside: Path, mount: Mount) -> None:
    """Mount the file outside on one of the share."""
    (share / "file").touch(mode=0o600)
    subprocess.run([need("mount"), "--bind", outside / "secret", share / "file"], check=True)


def scan(backend: str, share: Path, meanwhile: Callable[[], object]) -> Scan:
    """Scan a share as a run does; something happens after it was opened."""
    place = open_share(str(share))
    opened = open_backend(backend, place, 1)
    meanwhile()
    found = opened.scan(walk_unit([whole()]), GroupPolicy(GID), ScanOptions(), ALL)
    opened.close()
    place.close()
    return found


# -- single files


@pytest.mark.parametrize("command", ["perms", "verify"])
def test_file_that_is_mounted_within_is_skipped(
    program: Program, share: Path, outside: Path, mount: Mount, unmounting: Mount, command: str
) -> None:
    bind_file(share, outside, mount)
    unmounting(share / "file")
    made(is_mounted(share / "file"), "a file that is a mount")
    before = attrs(outside)
    summary = program(command, "--json", "--group", GID, share).summary
    assert attrs(outside) == before
    assert (summary["entries"], summary["files"], summary["skipped"]) == (2, 1, 1)


def test_file_that_is_mounted_within_is_changed_if_asked_for(
    program: Program, share: Path, outside: Path, mount: Mount, unmounting: Mount
) -> None:
    bind_file(share, outside, mount)
    unmounting(share / "file")
    before = attrs(outside)
    assert program.perms(share, "--cross-filesystems").summary["changed"] == 2
    assert drift(outside) == [b""]
    assert program("undo").status == 0
    assert attrs(outside) == before


def test_file_that_is_mounted_between_scan_and_apply_is_not_changed(
    backend: str, share: Path, outside: Path, mount: Mount, unmounting: Mount
) -> None:
    """A hard link to a file of the share has its inode, and so has a mount of it elsewhere."""
    (share / "file").hardlink_to(outside / "secret")
    place = open_share(str(share))
    opened = open_backend(backend, place, 1)
    found = opened.scan(walk_unit([whole()]), GroupPolicy(GID), ScanOptions(), ALL)
    made(found.count == 2, "a change of the file")
    bind_file(share, outside, mount)
    unmounting(share / "file")
    applied = opened.apply(found.preimage, Verb.FORWARD)
    opened.close()
    place.close()
    made(len(applied.outcomes) == 2, "two outcomes")
    assert drift(outside) == [b"", b"secret"]


# -- while a run is at work


def test_directory_that_is_mounted_during_the_run_is_not_entered(
    backend: str, share: Path, outside: Path, mount: Mount
) -> None:
    (share / "later").mkdir()
    found = scan(backend, share, lambda: mount(share / "later", "--bind", outside))
    made(is_mounted(share / "later"), "a mount within the share")
    assert (found.tally.entries, found.tally.skipped) == (2, 1)
    assert [change.path for change in read_changes(found.preimage)] == [b""]


# -- read-only parts


@pytest.fixture
def partly(share: Path, outside: Path, mount: Mount) -> Path:
    """A share with a read-only bind mount in it, which comes first, or last, of its names."""
    for name in ("0", "a", "b", "c"):
        (share / name / "d").mkdir(parents=True, mode=0o700)
        (share / name / "d" / "file").touch(mode=0o600)
    mount(share / "0", "--bind", outside)
    subprocess.run([need("mount"), "-o", "remount,bind,ro", share / "0"], check=True)
    return share


def test_read_only_part_fails_and_all_else_is_changed(program: Program, partly: Path) -> None:
    arguments = ("--cross-filesystems", "--jobs", 1)
    ended = program.perms(partly, *arguments)
    for _ in range(2):  # each session may get as far as the first refusal
        if ended.status == 1:
            ended = program.perms(partly, *arguments)
    failed = [f for f in ended.objects if f["type"] == "failure"]
    made({f["errno"] for f in failed} == {errno.EROFS}, "refusals of what is read-only")
    assert set(drift(partly)) == {b"0", b"0/secret"}
    assert (ended.status, ended.summary["failed"]) == (3, 2)


def test_read_only_part_is_not_looked_at_unless_asked_for(program: Program, partly: Path) -> None:
    summary = program.perms(partly).summary
    assert (summary["status"], summary["skipped"], summary["failed"]) == ("done", 1, 0)
    assert set(drift(partly)) == {b"0", b"0/secret"}
