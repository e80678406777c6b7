"""What is one share for those who use it, though its files have several device numbers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]


@pytest.fixture
def layered(tmp_path: Path, tmpfs: Path, mount: Mount) -> Path:
    """An overlayfs of two filesystems: its files have the device numbers of their layers."""
    lower = tmp_path / "lower"
    (lower / "a").mkdir(parents=True)
    for number in range(3):
        (lower / "a" / f"f{number}").write_text("content")
    for linked in ("b", "c"):
        (lower / linked).hardlink_to(lower / "a" / "f0")
    for name in ("upper", "work"):
        (tmpfs / name).mkdir()
    layers = f"xino=off,index=off,lowerdir={lower},upperdir={tmpfs}/upper,workdir={tmpfs}/work"
    share = mount(tmp_path / "merged", "-t", "overlay", "-o", layers, "overlay")
    made((share / "a" / "f1").stat().st_dev != share.stat().st_dev, "two device numbers")
    return share


@pytest.fixture
def subvolumes(tmp_path: Path, mount: Mount) -> Path:
    """A btrfs with a subvolume, which is no mount and has a device number of its own."""
    image, tool = tmp_path / "image", need("btrfs", "btrfs-progs")
    image.write_bytes(b"")
    os.truncate(image, 256 << 20)
    subprocess.run([need("mkfs.btrfs", "btrfs-progs"), "-q", image], check=True)
    share = mount(tmp_path / "btrfs", "-o", "loop", image) / "share"
    share.mkdir()
    subprocess.run([tool, "-q", "subvolume", "create", share / "sub"], check=True)
    for directory in (share, share / "sub"):
        (directory / "file").write_text("content")
    made((share / "sub").stat().st_dev != share.stat().st_dev, "two device numbers")
    return share


def test_files_of_an_overlay_of_two_filesystems_are_changed(
    program: Program, layered: Path
) -> None:
    before = attrs(layered)
    summary = program.perms(layered).summary
    assert (summary["status"], summary["skipped"]) == ("done", 0)
    assert not drift(layered)
    made(program("undo").status in (0, 3), "an undo")  # of what was copied up: see birth times
    assert attrs(layered).keys() == before.keys()


def test_every_name_of_a_file_of_an_overlay_is_changed(program: Program, layered: Path) -> None:
    """Without an index, a name that is changed gets a file of its own."""
    made((layered / "c").stat().st_nlink == 3, "a file of three names")
    assert program.perms(layered).status == 0
    assert not drift(layered)


def test_files_of_an_overlay_of_two_filesystems_are_verified(
    program: Program, layered: Path
) -> None:
    assert program.verify(layered).summary["drift"] == len(attrs(layered))


def test_subvolume_that_is_no_mount_is_entered(program: Program, subvolumes: Path) -> None:
    before = attrs(subvolumes)
    summary = program.perms(subvolumes).summary
    assert (summary["status"], summary["skipped"]) == ("done", 0)
    assert not drift(subvolumes)
    assert program("undo").status == 0
    assert attrs(subvolumes) == before


def test_subvolume_that_is_no_mount_is_verified(program: Program, subvolumes: Path) -> None:
    ended = program.verify(subvolumes)
    assert (ended.status, ended.summary["drift"]) == (4, len(attrs(subvolumes)))


def test_what_was_renamed_is_not_sought_among_subvolumes(
    program: Program, subvolumes: Path
) -> None:
    """They number their inodes apart: another file may have the number that is sought."""
    made(program.perms(subvolumes).status == 0, "a finished run")
    (subvolumes / "sub" / "file").rename(subvolumes / "sub" / "moved")
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["vanished"]) == (3, 1)
    assert (subvolumes / "sub" / "moved").stat().st_gid == GID
