"""Undo tells an entry from another one with its inode number: by its birth, else by its handle."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.backend.python.identity import hashed
from archipmigrate.backend.python.statx import birth_time
from archipmigrate.jobs.outcome import pack_outcome, unpack_outcome
from archipmigrate.model import Applied, IdentityKind, Known
from archipmigrate.policy import NO_ID
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]


@pytest.fixture(params=[256, 128], ids=["births", "handles"])
def ext4(request: pytest.FixtureRequest, tmp_path: Path, mount: Mount) -> Path:
    """A filesystem that gives inode numbers out again at once; small inodes have no birth."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    size = str(request.param)
    words = [need("mkfs.ext4", "e2fsprogs"), "-q", "-I", size, str(image)]
    subprocess.run(words, check=True, capture_output=True)
    share = mount(tmp_path / "ext4", "-o", "loop", image)
    made(bool(birth_of(share)) == (request.param == 256), "a filesystem as wanted")
    (share / "d").mkdir(mode=0o700)
    for number in range(3):
        (share / "d" / f"f{number}").touch(mode=0o604)
    return share


def birth_of(path: Path) -> int:
    fd = os.open(path, os.O_PATH)
    try:
        return birth_time(fd)
    finally:
        os.close(fd)


def test_all_is_put_back_after_another_mount(
    program: Program, ext4: Path, tmp_path: Path, mount: Mount
) -> None:
    before = attrs(ext4)
    made(program.perms(ext4).status == 0, "a finished run")
    subprocess.run([need("umount"), ext4], check=True)
    mount(ext4, "-o", "loop", tmp_path / "image")
    assert program("undo").status == 0
    assert attrs(ext4) == before


def test_new_file_with_the_number_of_a_deleted_one_is_left_alone(
    program: Program, ext4: Path
) -> None:
    made(program.perms(ext4).status == 0, "a finished run")
    file = ext4 / "d" / "f1"
    inode = file.stat().st_ino
    file.unlink()
    file.touch()
    os.chown(file, 0, GID)
    file.chmod(0o664)
    made(file.stat().st_ino == inode, "a number that is used again")
    ended = program("undo", "--json")
    assert (file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (GID, 0o664)
    assert ended.status == 3
    assert [f["path"] for f in ended.objects if f["type"] == "failure"] == ["d/f1"]


def test_file_that_was_moved_is_found(program: Program, ext4: Path) -> None:
    made(program.perms(ext4).status == 0, "a finished run")
    (ext4 / "d" / "f1").rename(ext4 / "moved")
    assert program("undo").status == 0
    found = (ext4 / "moved").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0o604)


# -- what is noted


@pytest.mark.parametrize("uid", [NO_ID, 0, 2**32 - 2])
def test_outcome_holds_identities_and_what_came(uid: int) -> None:
    identities = bytes(range(24))
    applied = Applied(
        b"\0\5\0",
        (),
        [(2, -7)],
        5,
        ((1, 0o100664, uid, 2**32 - 2),),
        IdentityKind.V4_HANDLE,
        identities,
    )
    assert unpack_outcome(pack_outcome(applied)) == applied


def test_known_of_some_changes_is_known_as_if_they_were_all() -> None:
    known = Known(((0, 1, 5, 2), (2, 3, 6, 4)), IdentityKind.BIRTH, bytes(range(24)), 9)
    some = known.of([2, 1])
    assert (some.came, some.kind, some.born_before) == (((0, 3, 6, 4),), IdentityKind.BIRTH, 9)
    assert [some.identity(at) for at in (0, 1)] == [known.identity(at) for at in (2, 1)]


@pytest.mark.parametrize(
    ("handle", "identity"), [(b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)]
)
def test_handles_are_hashed_by_fnv_1a(handle: bytes, identity: int) -> None:
    """By the examples of its authors, http://www.isthe.com/chongo/tech/comp/fnv/."""
    assert hashed(handle) == identity
