"""Undo where birth times say nothing: copied up by overlayfs, or made while the clock was ahead."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.backend.python.statx import birth_time
from tests.support.inprocess import Program
from tests.support.program import attrs, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]


def fill(directory: Path) -> None:
    (directory / "a").mkdir(mode=0o700)
    for number in range(3):
        (directory / "a" / f"f{number}").write_text("content")


def born(path: Path) -> int:
    fd = os.open(path, os.O_PATH)
    try:
        return birth_time(fd)
    finally:
        os.close(fd)


def test_undo_puts_back_what_overlayfs_copied_up(
    program: Program, tmpfs: Path, tmp_path: Path, mount: Mount
) -> None:
    for name in ("lower", "upper", "work"):
        (tmpfs / name).mkdir()
    fill(tmpfs / "lower")
    layers = f"lowerdir={tmpfs}/lower,upperdir={tmpfs}/upper,workdir={tmpfs}/work"
    share = mount(tmp_path / "merged", "-t", "overlay", "-o", layers, "overlay")
    before, birth = attrs(share), born(share / "a" / "f1")
    made(program.perms(share).status == 0, "a finished run")
    made(birth and born(share / "a" / "f1") > birth, "a file with another time of birth")
    assert program("undo").status == 0
    assert attrs(share) == before


def test_undo_puts_back_what_was_made_while_the_clock_was_ahead(
    program: Program, tmp_path: Path, mount: Mount
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    subprocess.run([need("mkfs.ext4", "e2fsprogs"), "-q", "-I", "256", image], check=True)
    share = mount(tmp_path / "ext4", "-o", "loop", image)
    fill(share)
    subprocess.run([need("umount"), share], check=True)
    for path in ("/a", "/a/f2"):
        order = f"set_inode_field {path} crtime 20400101000000"
        subprocess.run(
            [need("debugfs", "e2fsprogs"), "-w", "-R", order, image],
            check=True,
            capture_output=True,
        )
    subprocess.run([need("mount"), "-o", "loop", image, share], check=True)
    made(born(share / "a" / "f2") > 2 * 10**18, "a file that is born in 2040")
    before = attrs(share)
    made(program.perms(share).status == 0, "a finished run")
    assert program("undo").status == 0
    assert attrs(share) == before
