"""A state directory in the share, by whatever way, is refused or never changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.program import GID, attrs, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]


@pytest.fixture
def bound(share: Path, tmp_path: Path, mount: Mount) -> Path:
    """A state directory that is in the share, and is named by another mount of a part of it."""
    (share / "sub").mkdir(mode=0o700)
    (share / "file").touch(mode=0o600)
    place = mount(tmp_path / "elsewhere", "--bind", share / "sub") / "state"
    place.mkdir(mode=0o700)
    made((share / "sub" / "state").samefile(place), "a state directory in the share")
    return place


def opened(share: Path, state: bytes) -> list[bytes]:
    """Return which entries of a state directory, at a path in the share, others may access."""
    found = attrs(share)
    made(state in found, "a state directory in the share")
    return [
        path
        for path, (mode, _, gid) in found.items()
        if path.startswith(state) and (gid or mode & 0o077)
    ]


def test_state_in_the_share_by_a_bind_mount_is_refused(
    program: Program, share: Path, bound: Path
) -> None:
    before = attrs(share)
    program.state = bound
    ended = program("perms", "--group", GID, share)
    assert ended.status == 1
    assert "inside the share" in ended.out + ended.err
    assert attrs(share) == before


def test_state_that_is_not_there_yet_is_refused_too(
    program: Program, share: Path, bound: Path
) -> None:
    program.state = bound / "not" / "there"
    ended = program("perms", "--group", GID, share)
    assert (ended.status, "inside the share" in ended.err) == (1, True)
    assert list(bound.iterdir()) == []


def test_state_that_is_the_share_by_a_bind_mount_is_refused(
    program: Program, share: Path, tmp_path: Path, mount: Mount
) -> None:
    share.chmod(0o700)
    program.state = mount(tmp_path / "elsewhere", "--bind", share)
    ended = program("perms", "--group", GID, share)
    assert (ended.status, "inside the share" in ended.err) == (1, True)


@pytest.mark.parametrize("name", ["sub", "subs"])
def test_state_beside_the_share_in_the_same_filesystem_is_taken(
    program: Program, share: Path, tmp_path: Path, mount: Mount, name: str
) -> None:
    """The control: a bind mount of a directory whose path begins as the share's does."""
    (share / "sub").mkdir()
    (share / "subs").mkdir()
    other = {"sub": "subs", "subs": "sub"}[name]
    program.state = mount(tmp_path / "elsewhere", "--bind", share / other) / "state"
    program.state.mkdir(mode=0o700)
    assert program("perms", "--group", GID, share / name).status == 0


def test_state_that_lies_in_the_share_by_its_own_path_is_refused_if_the_share_is_named_by_a_mount(
    program: Program, share: Path, tmp_path: Path, mount: Mount
) -> None:
    program.state = share / "deep" / "state"
    program.state.mkdir(parents=True, mode=0o700)
    ended = program("perms", "--group", GID, mount(tmp_path / "view", "--bind", share))
    assert ended.status == 1
    assert "inside the share" in ended.err


# -- mapfiles, which changes two directories


@pytest.fixture
def locks(share: Path, tmp_path: Path) -> Path:
    """A lock directory, which lies outside the maps."""
    made(not (tmp_path / "locks").is_relative_to(share), "a directory of its own")
    (tmp_path / "locks" / "sub").mkdir(parents=True)
    return tmp_path / "locks"


@pytest.mark.parametrize("where", ["itself", "inside", "linked", "bound"])
def test_state_in_the_lock_directory_is_refused(
    program: Program, share: Path, locks: Path, tmp_path: Path, mount: Mount, where: str
) -> None:
    match where:
        case "itself":
            program.state = locks
        case "inside":
            program.state = locks / "sub" / "state"
        case "linked":
            (tmp_path / "link").symlink_to(locks / "sub")
            program.state = tmp_path / "link" / "state"
        case "bound":
            program.state = mount(tmp_path / "bound", "--bind", locks / "sub") / "state"
    ended = program("mapfiles", "--maps", share, "--locks", locks)
    assert (ended.status, "inside the lock directory" in ended.err) == (1, True)
    assert [path.name for path in locks.rglob("*")] == ["sub"]


def test_undo_refuses_a_lock_directory_that_has_the_state(
    program: Program, share: Path, locks: Path
) -> None:
    assert program("mapfiles", "--maps", share, "--locks", locks).status == 0
    other = program.state.parent / f"above {program.state.name}"
    other.mkdir(mode=0o700)
    program.state = program.state.rename(other / "state")
    ended = program("undo", "--locks", other)
    assert (ended.status, "inside the lock directory" in ended.err) == (1, True)


# -- what is met by the walk only


@pytest.fixture
def crossed(program: Program, share: Path, mount: Mount) -> bytes:
    """The path, in the share, at which another filesystem's state directory is mounted."""
    made(program("perms", "-n", "--group", GID, share).status == 0, "a dry run")
    mount(share / "deep" / "below", "--bind", program.state)
    return b"deep/below"


@pytest.fixture(autouse=True)
def _filled(share: Path) -> None:
    (share / "deep").mkdir(mode=0o700)
    (share / "deep" / "below").mkdir(mode=0o700)
    (share / "deep" / "file").touch(mode=0o600)


def test_state_that_a_walk_enters_stops_the_run_unchanged(
    program: Program, share: Path, crossed: bytes
) -> None:
    ended = program("perms", "--cross-filesystems", "--group", GID, share)
    assert (ended.status, opened(share, crossed)) == (1, [])
    assert "the state directory" in ended.out
    resumed = program("resume")
    assert (resumed.status, opened(share, crossed)) == (1, [])


def test_dry_run_says_so_and_verify_does_not_mind(
    program: Program, share: Path, crossed: bytes
) -> None:
    ended = program("perms", "-n", "--cross-filesystems", "--group", GID, share)
    assert (ended.status, "the state directory" in ended.out) == (1, True)
    assert program("verify", "--cross-filesystems", "--group", GID, share).status == 4
    assert opened(share, crossed) == []


def test_run_that_stopped_goes_on_when_the_state_is_no_longer_there(
    program: Program, share: Path, crossed: bytes
) -> None:
    made(crossed, "a mount")
    assert program("perms", "--cross-filesystems", "--group", GID, share).status == 1
    subprocess.run([need("umount"), share / "deep" / "below"], check=True)
    assert program("resume").status == 0
    assert program("verify", "--group", GID, share).status == 0


def test_state_below_an_overlay_stops_the_run_unchanged(
    program: Program, share: Path, tmp_path: Path, mount: Mount
) -> None:
    """The overlay shows it with a device and an inode of its own: its names tell."""
    lower = tmp_path / "lower"
    program.state = lower / "deep" / "state"
    program.state.mkdir(parents=True, mode=0o700)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={lower},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    top = mount(tmp_path / "overlay", "-t", "overlay", "-o", options, "overlay")
    ended = program("perms", "--group", GID, top)
    assert (ended.status, opened(top, b"deep/state")) == (1, [])
