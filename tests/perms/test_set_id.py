"""Set-id bits after undo: off for every file that the group could write to meanwhile.

    group member   open, mmap, close .................................. write by the mapping
    perms                              undo: size and times unchanged

A write by a mapping takes no set-id bits away, and a descriptor that was opened while the group
could write stays open: what is seen of a file does not show who can still write to it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

pytestmark = pytest.mark.privileged

NOBODY = 65534
CONTENT, WRITTEN = b"root's program", b"a member wrote"


def put(directory: Path, mode: int, name: str = "tool") -> Path:
    """Make a program of root's with that mode."""
    path = directory / name
    path.write_bytes(CONTENT)
    path.chmod(mode)
    return path


def bits(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def mapped_by_member(path: Path) -> Iterator[mmap.mmap]:
    """Have a member of the group map a file to be written to; its descriptor is closed again."""
    directory = os.open(path.parent, os.O_PATH)
    os.setegid(GID)
    os.seteuid(NOBODY)
    try:
        opened = os.open(path.name, os.O_RDWR, dir_fd=directory)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.close(directory)
    mapping = mmap.mmap(opened, 0)
    os.close(opened)
    with contextlib.closing(mapping):
        yield mapping


def write(mapping: mmap.mmap) -> None:
    mapping[: len(WRITTEN)] = WRITTEN
    mapping.flush()


def is_members_set_id_program(path: Path) -> bool:
    return bool(bits(path) & stat.S_ISUID and path.read_bytes().startswith(WRITTEN))


def test_write_by_a_mapping_takes_no_set_id_bits_away(share: Path) -> None:
    """The control of the attack."""
    tool = put(share, 0o664)
    os.chown(share, 0, GID)
    share.chmod(0o770)
    os.chown(tool, 0, GID)
    with mapped_by_member(tool) as mapping:
        tool.chmod(0o4755)
        write(mapping)
    assert is_members_set_id_program(tool)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="undo trusts size and times")
def test_member_who_mapped_a_file_gets_no_set_id_program_by_undo(
    program: Program, share: Path
) -> None:
    tool = put(share, 0o4755)
    made(program.perms(share).status == 0, "a finished run")
    with mapped_by_member(tool) as mapping:
        program("undo")
        write(mapping)
    made(tool.read_bytes().startswith(WRITTEN), "a write by the mapping")
    assert not is_members_set_id_program(tool)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="undo trusts size and times")
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755, 0o4644], ids=oct)
def test_set_id_bits_stay_off_and_are_listed_with_the_mode_of_before(
    program: Program, share: Path, mode: int
) -> None:
    tool, other = put(share, mode), put(share, 0o600, "other")
    made(program.perms(share).status == 0, "a finished run")
    ended = program("undo", "--json")
    assert (bits(other), other.stat().st_gid) == (0o600, 0)
    assert (bits(tool), tool.stat().st_gid) == (mode & 0o1777, 0)
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert failure["path"] == "tool"
    assert f"{mode:04o}" in failure["reason"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="there is no --restore-set-id")
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755], ids=oct)
def test_set_id_bits_come_back_if_asked_for_where_nobody_has_the_file_open(
    program: Program, tmpfs: Path, mode: int
) -> None:
    tool = put(tmpfs, mode)
    made(program.perms(tmpfs).status == 0, "a finished run")
    assert program("undo", "--restore-set-id").status == 0
    assert (bits(tool), tool.stat().st_gid) == (mode, 0)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="there is no --restore-set-id")
def test_set_id_bits_stay_off_of_what_is_mapped_though_they_are_asked_for(
    program: Program, tmpfs: Path
) -> None:
    tool, free = put(tmpfs, 0o4755), put(tmpfs, 0o4755, "free")
    made(program.perms(tmpfs).status == 0, "a finished run")
    with mapped_by_member(tool) as mapping:
        ended = program("undo", "--json", "--restore-set-id")
        write(mapping)
    made(tool.read_bytes().startswith(WRITTEN), "a write by the mapping")
    assert (ended.status, bits(tool), bits(free)) == (3, 0o755, 0o4755)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="there is no --restore-set-id")
def test_set_id_bits_stay_off_of_what_was_written_to_though_they_are_asked_for(
    program: Program, tmpfs: Path
) -> None:
    tool, free = put(tmpfs, 0o4755), put(tmpfs, 0o4755, "free")
    made(program.perms(tmpfs).status == 0, "a finished run")
    tool.write_bytes(CONTENT[::-1])  # as long as it was: its times show it
    ended = program("undo", "--json", "--restore-set-id")
    assert (ended.status, bits(tool), bits(free)) == (3, 0o755, 0o4755)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="there is no --restore-set-id")
def test_set_id_bits_stay_off_though_they_are_asked_for_where_leases_tell_nothing(
    program: Program, tmpfs: Path, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    for name in ("lower", "upper", "work"):
        (tmpfs / name).mkdir()
    layers = f"lowerdir={tmpfs}/lower,upperdir={tmpfs}/upper,workdir={tmpfs}/work"
    share = mount(tmp_path / "merged", "-t", "overlay", "-o", layers, "overlay")
    tool = put(share, 0o4755)
    made(program.perms(share).status == 0, "a finished run")
    ended = program("undo", "--restore-set-id")
    assert (ended.status, bits(tool)) == (3, 0o755)
    assert "overlay" in ended.out + ended.err
