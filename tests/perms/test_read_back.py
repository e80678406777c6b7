"""What came of a change is looked at for each kind of change, and undone as what it is.

Without CAP_FSETID chmod succeeds, and sets no set-gid on a directory of another group; servers
that drop it do the same.
"""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.backend.python import apply
from archipmigrate.backend.python import setattr as setattr_
from archipmigrate.perms.reasons import MAPPED, MODE_LOST, SET_GID_DROPPED, misread
from archipmigrate.policy import NO_ID
from tests.support.compiled import library
from tests.support.inprocess import Program
from tests.support.program import GID, Cli, Ended, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

OTHER = 54320  # a group that nobody is in


def without_capability() -> tuple[str, ...]:
    """Return what starts a program of root's that has no CAP_FSETID."""
    words = ("--bounding-set", "-fsetid", "--inh-caps", "-fsetid")
    return (need("setpriv", "util-linux"), *words)


@pytest.fixture
def incapable(cli: Cli) -> Cli:
    """The program where set-gid of directories is dropped silently."""
    return replace(cli, prefix=without_capability())


def directories_without_set_gid(share: Path) -> int:
    found = attrs(share).values()
    return sum(stat.S_ISDIR(mode) and not mode & stat.S_ISGID for mode, _, _ in found)


@pytest.fixture
def directories(share: Path) -> Path:
    """A share of directories only: the first change of all shows what is wrong."""
    (share / "a" / "b").mkdir(parents=True)
    return share


def stopped_run(incapable: Cli, share: Path) -> Ended:
    """Run to where it stops, with a change that was half kept."""
    ended = incapable("perms", "--group", GID, share)
    made(ended.status == 1, "a run that stopped")
    made(GID in {gid for _, _, gid in attrs(share).values()}, "a change that was half kept")
    return ended


def test_set_gid_is_dropped_silently_without_the_capability(share: Path) -> None:
    """The control of all tests here."""
    os.chown(share, 0, GID)
    words = [*without_capability(), need("chmod", "coreutils"), "2770", str(share)]
    assert subprocess.run(words, check=True).returncode == 0
    assert stat.S_IMODE(share.stat().st_mode) == 0o770


def test_directories_that_come_out_without_set_gid_do_not_count_as_changed(
    incapable: Cli, share: Path
) -> None:
    (share / "a" / "b").mkdir(parents=True)
    for number in range(3):
        (share / "a" / "b" / f"file-{number}").touch(mode=0o600)
    ended = incapable.perms(share)
    made(directories_without_set_gid(share) >= 1, "a directory that lacks set-gid")
    assert ended.status != 0
    assert ended.summary["changed"] <= len(attrs(share)) - len(drift(share))


def test_mode_that_reads_back_differently_is_not_blamed_on_ids(
    incapable: Cli, directories: Path
) -> None:
    ended = stopped_run(incapable, directories)
    assert "maps ids" not in ended.out
    assert "2775" in ended.out  # what was wanted
    assert "0775" in ended.out  # what came


def test_undo_puts_back_what_read_back_differently(
    incapable: Cli, cli: Cli, directories: Path
) -> None:
    before = attrs(directories)
    stopped_run(incapable, directories)
    ended = cli("undo", "--json")
    assert attrs(directories) == before
    assert (ended.status, ended.summary["skipped"]) == (0, 0)


def test_undo_of_a_resumed_run_puts_back_what_read_back_differently(
    incapable: Cli, cli: Cli, directories: Path
) -> None:
    before = attrs(directories)
    stopped_run(incapable, directories)
    made(cli.perms(directories).status == 0, "the run's end")
    assert cli("undo").status == 0
    assert attrs(directories) == before


def test_undo_reads_back_what_it_gives_back(incapable: Cli, cli: Cli, directories: Path) -> None:
    os.chown(directories / "a", 0, OTHER)
    (directories / "a").chmod(0o2755)
    before = attrs(directories)
    made(cli.perms(directories).status == 0, "a run")
    ended = incapable("undo")
    made(not (directories / "a").stat().st_mode & stat.S_ISGID, "set-gid that was dropped")
    assert ended.status != 0
    assert "wanted mode 2755" in ended.out
    assert cli("undo").status == 0
    assert attrs(directories) == before


def test_change_that_a_kill_hid_is_read_back_by_the_next_session(
    cli: Cli, directories: Path
) -> None:
    """Killed after chmod, which dropped set-gid, and before that was recorded."""
    before = attrs(directories)
    killer = replace(cli, env={"LD_PRELOAD": str(library("kill_at")), "KILL_AT": "3"})
    killer.perms(directories, "--jobs", 1)
    made(stat.S_IMODE((directories / "a" / "b").stat().st_mode) == 0o2775, "a first change")
    (directories / "a" / "b").chmod(0o775)
    assert cli("undo").status == 0
    assert attrs(directories) == before


# -- one entry among others


@pytest.fixture
def odd(directories: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that does not keep set-gid, and comes after others that do."""
    for number in range(4):
        (directories / "a" / "b" / f"d{number}").mkdir(mode=0o700)
    inode = directories.stat().st_ino

    def change_mode(fd: int, mode: int, *, is_pin: bool) -> None:
        if os.fstat(fd).st_ino == inode:
            mode &= ~stat.S_ISGID
        setattr_.change_mode(fd, mode, is_pin=is_pin)

    monkeypatch.setattr(apply, "change_mode", change_mode)
    return directories


def test_one_entry_that_reads_back_differently_fails_alone(program: Program, odd: Path) -> None:
    before = attrs(odd)
    ended = program("perms", "--json", "--group", GID, "--backend", "python", "--jobs", 1, odd)
    assert drift(odd) == [b""]
    assert (ended.status, ended.summary["changed"], ended.summary["failed"]) == (3, 6, 1)
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert failure["operation"] == "read back"
    assert "set-gid was dropped" in failure["reason"]
    assert program("undo").status == 0
    assert attrs(odd) == before


@pytest.mark.parametrize(
    ("came", "cause"),
    [
        ((0o42775, 7, 65534), MAPPED),
        ((0o42775, 65534, GID), MAPPED),
        ((0o40775, 7, GID), SET_GID_DROPPED),
        ((0o42750, 7, GID), MODE_LOST),
    ],
)
def test_cause_is_named_by_what_differs(came: tuple[int, int, int], cause: str) -> None:
    said = misread((0o42775, 7, GID), came)
    mode = f"{came[0] & 0o7777:04o}"
    assert said.startswith(f"wanted mode 2775, owner 7, group {GID}; came mode {mode}, owner ")
    assert said.endswith(cause)


def test_owner_is_not_named_where_owners_stay() -> None:
    said = misread((0o100660, NO_ID, GID), (0o100660, NO_ID, 65534))
    assert said.startswith(f"wanted mode 0660, group {GID}; came mode 0660, group 65534: ")
