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

from tests.support.program import GID, Cli, Ended, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged


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
