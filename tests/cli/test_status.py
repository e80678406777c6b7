"""`status`, and `resume --failed`."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from archipmigrate.testshare import make_share
from tests.support.inprocess import Program
from tests.support.program import GID, Cli, drift, need


def fill(share: Path, files: int = 30) -> None:
    for number in range(files):
        (share / f"{number:02}").touch(mode=0o600)


def test_status_shows_nothing_where_there_is_no_run(cli: Cli) -> None:
    ended = cli("status")
    assert (ended.status, ended.out) == (0, f"no run in {cli.state}\n")


@pytest.mark.privileged
def test_status_shows_a_finished_run_and_its_undo(cli: Cli, share: Path) -> None:
    fill(share)
    run = cli.perms(share).summary["run"]
    undo = cli("undo", "--json").summary["run"]
    shown = {thing["run"]: thing for thing in cli("status", "--json").objects}
    assert shown[run]["status"] == shown[undo]["status"] == "done"
    assert (shown[run]["changed"], shown[run]["undone"]) == (31, undo)
    assert shown[run]["resume"] is None
    files = cli.state.glob(f"{run}.journal*")
    assert shown[run]["bytes"] == sum(path.stat().st_size for path in files)
    assert f"{run}: done, put back by {undo}" in cli("status").out


@pytest.mark.privileged
def test_nothing_of_a_run_that_is_over_is_said_to_wait(program: Program, tmp_path: Path) -> None:
    """Files that a survey saw do not wait for anything: volumes are what is done."""
    share = tmp_path / "share"
    make_share(str(share), objects=10, volumes=2)
    assert program("mapfiles", "--maps", share / "maps").status == 0
    said = program("status").out
    assert "2 upgraded" in said
    assert "not yet done" not in said


@pytest.mark.privileged
def test_status_shows_causes_and_resume_failed_tries_them_again(cli: Cli, share: Path) -> None:
    chattr = need("chattr", "e2fsprogs")
    fill(share)
    subprocess.run([chattr, "+i", share / "07", share / "08"], check=True)
    try:
        failed = cli.perms(share).summary
        assert (failed["status"], failed["failed"], failed["changed"]) == ("failures", 2, 29)
        (shown,) = cli("status", "--json").objects
        assert shown["causes"] == [{"cause": "chown: EPERM (immutable)", "count": 2}]
        again = cli("resume", "--failed", "--json")
        assert (again.status, again.summary["failed"]) == (3, 2)
    finally:
        subprocess.run([chattr, "-i", share / "07", share / "08"], check=True)
    ended = cli("resume", "--failed", "--json")
    assert (ended.status, ended.summary["status"]) == (0, "done")
    assert (ended.summary["failed"], ended.summary["changed"]) == (0, 31)
    assert not drift(share)


@pytest.mark.privileged
def test_status_tells_running_from_killed(cli: Cli, share: Path) -> None:
    fill(share, 2000)
    started = cli.start(
        "perms", "--group", GID, "--max-ops", 500, "--no-progress", share, stdout=subprocess.DEVNULL
    )
    try:
        while not cli("status", "--json").out:
            assert started.poll() is None
        (shown,) = cli("status", "--json").objects
        assert shown["status"] == "running"
        assert f"process {started.pid}" in cli("status").out
    finally:
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    (shown,) = cli("status", "--json").objects
    assert shown["status"] == "killed"
    assert shown["resume"] == f"archipmigrate resume --state {cli.state} {shown['run']}"
    assert cli("resume", "--json").summary["changed"] == 2001
    assert not drift(share)


def test_status_makes_no_directory(program: Program, tmp_path: Path) -> None:
    program.state = tmp_path / "not" / "there"
    assert program("status").out == f"no run in {program.state}\n"
    assert not (tmp_path / "not").exists()


def test_run_that_is_not_there_is_a_usage_error(program: Program) -> None:
    ended = program("status", "perms-20261122T184054-b931")
    assert (ended.status, ended.out) == (2, "")
    assert "no run perms-20261122T184054-b931 in" in ended.err
