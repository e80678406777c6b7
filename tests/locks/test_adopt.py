"""`locks --adopt`: the lock directory becomes as v0.4 needs it, and nothing else is touched."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from tests.support.inprocess import Program

pytestmark = pytest.mark.privileged
USER, GROUP = pwd.getpwuid(1).pw_name, grp.getgrgid(2).gr_name


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A configuration whose lock directory is `locks` in the test's directory."""
    path = tmp_path / "conf"
    text = f"[ARCHIPELAGO]\nUSER = {USER}\nGROUP = {GROUP}\n[blockerm]\narchip_dir = /none\n"
    path.write_text(f"{text}lock_dir = {tmp_path / 'locks'}\n")
    return path


def attrs(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def test_missing_directory_is_made_once(program: Program, conf: Path, tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    words = ("locks", "--adopt", "--config", conf)
    dry = program(*words, "-n")
    assert (dry.status, dry.out) == (0, f"{locks} would be made {USER}:{GROUP} 2770\n")
    assert not locks.exists()
    made = program(*words)
    assert (made.status, made.out) == (0, f"{locks} was missing: made, {USER}:{GROUP} 2770\n")
    assert attrs(locks) == (0o2770, 1, 2)
    again = program(*words)
    assert again.out == f"{locks} is {USER}:{GROUP} 2770 already: nothing to do\n"
    assert program(*words, "--json").objects == [
        {
            "type": "lock-directory",
            "path": str(locks),
            "before": f"{USER}:{GROUP} 2770",
            "after": f"{USER}:{GROUP} 2770",
            "changed": False,
        }
    ]


@pytest.mark.parametrize(
    ("mode", "uid", "gid"), [(0o755, 0, 0), (0o2770, 0, 2), (0o770, 1, 2), (0o3777, 1, 3)]
)
def test_directory_that_is_there_is_changed_and_what_it_was_is_said(
    program: Program, conf: Path, tmp_path: Path, mode: int, uid: int, gid: int
) -> None:
    locks = tmp_path / "locks"
    locks.mkdir()
    held = locks / "foobar_lock"
    held.write_text("node1_1002")
    os.chown(locks, uid, gid)
    locks.chmod(mode)
    before = attrs(held)
    ended = program("locks", "--adopt", "--config", conf)
    assert ended.status == 0
    was = f"{pwd.getpwuid(uid).pw_name}:{grp.getgrgid(gid).gr_name} {mode:04o}"
    assert ended.out == f"{locks} was {was}, was changed to {USER}:{GROUP} 2770\n"
    assert (attrs(locks), attrs(held)) == ((0o2770, 1, 2), before)


def test_what_is_no_directory_is_refused_and_left(
    program: Program, conf: Path, tmp_path: Path
) -> None:
    locks, victim = tmp_path / "locks", tmp_path / "victim"
    victim.mkdir(mode=0o700)
    locks.symlink_to(victim)
    ended = program("locks", "--adopt", "--config", conf)
    assert (ended.status, "is a symbolic link" in ended.err) == (1, True)
    assert attrs(victim) == (0o700, 0, 0)
    locks.unlink()
    locks.write_text("a file")
    ended = program("locks", "--adopt", "--config", conf)
    assert (ended.status, "is no directory" in ended.err) == (1, True)
    assert (locks.read_text(), attrs(locks)[1:]) == ("a file", (0, 0))


def test_directory_without_a_share_above_it_is_not_made(program: Program, tmp_path: Path) -> None:
    words = ("--adopt", "--locks", tmp_path / "none" / "locks", "--owner", 1, "--group", 2)
    ended = program("locks", *words)
    assert (ended.status, "mount the share first" in ended.err) == (1, True)
    assert not (tmp_path / "none").exists()


def test_directory_half_made_by_a_kill_is_completed(program: Program, tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    locks.mkdir(mode=0o700)
    assert program("locks", "--adopt", "--locks", locks, "--owner", USER, "--group", 2).status == 0
    assert attrs(locks) == (0o2770, 1, 2)


def test_owner_and_group_must_be_known(program: Program, conf: Path, tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    ended = program("locks", "--adopt", "--locks", locks)
    assert (ended.status, "add --owner NAME --group NAME" in ended.err) == (2, True)
    conf.write_text("[blockerm]\narchip_dir = /none\n")
    ended = program("locks", "--adopt", "--config", conf)
    assert (ended.status, "has no lock directory: add lock_dir=" in ended.err) == (1, True)
    assert program("locks", "--owner", 1, "--maps", tmp_path).status == 2
    assert program("locks", "--adopt", "--clean").status == 2
    assert not locks.exists()
