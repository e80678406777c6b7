"""Where a share ends, and what is none: mounts below, read-only ones, the root of the system."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.model import Limits
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift, missing, need

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]


def fill(directory: Path, number: int = 3) -> None:
    """Put a few files and directories there, none of which complies."""
    for name in range(number):
        (directory / f"d{name}").mkdir(mode=0o700)
        (directory / f"d{name}" / "file").write_text("content")
        (directory / f"f{name}").write_text("content")


def remount(path: Path, *options: str) -> None:
    subprocess.run([need("mount"), "-o", ",".join(("remount", *options)), path], check=True)


# -- what is no share


@pytest.mark.parametrize("command", [("perms", "--dry-run"), ("verify",)])
def test_root_of_the_system_is_refused(program: Program, command: tuple[str, ...]) -> None:
    for path in ("/", "//", "/../", "/proc/self/root"):
        ended = program(*command, "--group", GID, path)
        assert ended.status == 1
        assert "root of this system, not a share: refused" in ended.err
        assert ended.out == ""


def test_root_of_the_system_is_refused_where_it_is_mounted_again(
    program: Program, mount: Mount, tmp_path: Path
) -> None:
    again = mount(tmp_path / "again", "--bind", "/")
    ended = program("perms", "--dry-run", "--group", GID, again)
    assert (ended.status, ended.out) == (1, "")
    assert "root of this system" in ended.err


def test_symbolic_link_to_the_share_is_followed_once_and_shown_resolved(
    program: Program, share: Path, tmp_path: Path
) -> None:
    fill(share)
    link = tmp_path / "link"
    link.symlink_to("share")
    ended = program("perms", "--group", GID, link)
    assert ended.status == 0
    assert f"perms {share}: done" in ended.out
    assert str(link) not in ended.out
    assert not drift(share)
    assert program.perms(link).summary["share"] == str(share)


# -- other filesystems


@pytest.fixture
def borders(share: Path, tmp_path: Path, mount: Mount) -> Path:
    """A share in which a tmpfs and another directory of its own filesystem are mounted."""
    fill(share)
    fill(mount(share / "tmpfs", "-t", "tmpfs", "-o", "mode=755", "tmpfs"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    fill(elsewhere)
    mount(share / "d0" / "bound", "--bind", elsewhere)
    return share


def test_filesystems_mounted_below_are_not_entered(
    program: Program, borders: Path, tmp_path: Path
) -> None:
    apart = (borders / "tmpfs", tmp_path / "elsewhere")
    before = [attrs(path) for path in apart]
    summary = program.perms(borders).summary
    assert (summary["status"], summary["skipped"], summary["failed"]) == ("done", 2, 0)
    assert summary["entries"] == 1 + 9 + 2
    assert [attrs(path) for path in apart] == before
    inside = [p for p in drift(borders) if not p.startswith((b"tmpfs", b"d0/bound"))]
    assert not inside
    verified = program.verify(borders).summary
    assert (verified["status"], verified["skipped"]) == ("done", 2)


def test_filesystems_mounted_below_are_entered_if_asked_for(
    program: Program, borders: Path, tmp_path: Path
) -> None:
    before = attrs(borders)
    summary = program.perms(borders, "--cross-filesystems").summary
    assert (summary["status"], summary["skipped"]) == ("done", 0)
    assert summary["entries"] == summary["changed"] == len(before)
    assert not drift(borders)
    assert not drift(tmp_path / "elsewhere")
    assert program("undo").status == 0
    assert attrs(borders) == before


def test_filesystem_mounted_during_the_run_is_not_entered(
    backend: str, share: Path, mount: Mount
) -> None:
    fill(share)
    place = open_share(str(share))
    opened = open_backend(backend, place, 1)
    fill(mount(share / "later", "-t", "tmpfs", "-o", "mode=755", "tmpfs"))
    scan = opened.scan(
        walk_unit([whole()]), GroupPolicy(GID), ScanOptions(), Limits(60, 10**6, 10**6)
    )
    opened.close()
    place.close()
    assert (scan.tally.skipped, scan.count) == (1, 10)
    assert not any(change.path.startswith(b"later") for change in read_changes(scan.preimage))


def test_share_that_is_itself_a_mount_point_is_entered(program: Program, tmpfs: Path) -> None:
    fill(tmpfs)
    assert program.perms(tmpfs).summary["changed"] == 10
    assert not drift(tmpfs)


# -- read-only


@pytest.fixture(params=["filesystem", "bind"])
def read_only(request: pytest.FixtureRequest, tmpfs: Path, tmp_path: Path, mount: Mount) -> Path:
    """A share that cannot be changed; `remount(share, ...)` ends that."""
    fill(tmpfs, 40)
    if request.param == "filesystem":
        remount(tmpfs, "ro")
        return tmpfs
    bound = mount(tmp_path / "bound", "--bind", tmpfs)
    remount(bound, "bind", "ro")
    return bound


def test_read_only_share_stops_the_run_and_it_resumes_when_that_is_over(
    program: Program, read_only: Path
) -> None:
    before = attrs(read_only)
    ended = program.perms(read_only)
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)
    assert ended.summary["failed"] < 10 < len(before)  # the first refusal tells it all
    assert attrs(read_only) == before
    in_words = program("resume")
    assert in_words.status == 1
    assert "read-only here: mount it rw" in in_words.out
    assert f"archipmigrate resume --state {program.state} {ended.summary['run']}" in in_words.out
    remount(read_only, *(("bind", "rw") if read_only.name == "bound" else ("rw",)))
    resumed = program("resume", "--json")
    assert (resumed.status, resumed.summary["status"]) == (0, "done")
    assert resumed.summary["run"] == ended.summary["run"]
    assert resumed.summary["resumed"] is True
    assert resumed.summary["entries"] == resumed.summary["changed"] == len(before)
    assert resumed.summary["failed"] == 0
    assert not drift(read_only)
    assert program("undo").status == 0
    assert attrs(read_only) == before


def test_read_only_share_can_be_verified(program: Program, read_only: Path) -> None:
    ended = program.verify(read_only)
    assert (ended.status, ended.summary["drift"]) == (4, len(attrs(read_only)))


# -- directories that do not tell types


class _Entry(ctypes.Structure):
    """struct dirent of glibc and musl on 64 bits."""

    _fields_ = (
        ("inode", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


def types_of(directory: Path) -> set[int]:
    """Return what readdir(3) says of the types of a directory's entries."""
    libc = ctypes.CDLL(None)
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    opened = ctypes.c_void_p(libc.opendir(os.fsencode(directory)))
    types = set()
    while place := libc.readdir(opened):
        entry = ctypes.cast(place, ctypes.POINTER(_Entry)).contents
        if entry.name not in (b".", b".."):
            types.add(int(entry.type))
    libc.closedir(opened)
    return types


def test_directories_that_do_not_tell_types_are_walked_whole(
    program: Program, tmp_path: Path, mount: Mount
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    make = [need("mkfs.ext4", "e2fsprogs"), "-q", "-O", "^filetype", str(image)]
    subprocess.run(make, check=True, capture_output=True)
    share = mount(tmp_path / "untyped", "-o", "loop", image)
    fill(share)
    deep = share / "d1" / "deeper" / "still"
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
    (share / "link").symlink_to("d0")
    os.mkfifo(share / "fifo")
    if types_of(share) != {0}:
        missing("a kernel that makes ext4 without the filetype feature give DT_UNKNOWN")
    before = attrs(share)
    assert program.verify(share).summary["drift"] == len(before) - 2
    summary = program.perms(share).summary
    assert (summary["status"], summary["changed"]) == ("done", len(before) - 2)
    assert (summary["entries"], summary["others"]) == (len(before), 2)
    assert not drift(share)
    for path, (mode, uid, gid) in attrs(share).items():
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            assert (mode, uid, gid) == before[path]
    assert program("undo").status == 0
    assert attrs(share) == before
