"""Runs beside each other, resumed, interrupted; and what they show meanwhile."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archipmigrate.engine.job import Counters
from archipmigrate.model import Tally
from archipmigrate.ui import progress
from tests.support.program import GID, Cli, drift

pytestmark = pytest.mark.privileged

ENTRIES = 3001


@pytest.fixture
def filled(share: Path) -> Path:
    for directory in range(30):
        (share / str(directory)).mkdir(mode=0o700)
        for name in range(99):
            (share / str(directory) / str(name)).touch(mode=0o600)
    return share


@contextmanager
def at_work(cli: Cli, share: Path, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun to change entries, and is slow enough to be met at it."""
    process = cli.start(
        *("perms", "--group", GID, "--max-ops", 1000, *args, share),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while len(drift(share)) == ENTRIES:
            assert process.poll() is None
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_second_run_is_refused_while_the_first_is_at_work(
    cli: Cli, filled: Path, tmp_path: Path
) -> None:
    other_state = Cli(cli.backend, tmp_path / "other state")
    with at_work(cli, filled, "--max-ops", 3000) as first:
        first.send_signal(signal.SIGSTOP)
        for second in (cli, other_state):
            ended = second.perms(filled)
            assert ended.status == 11
            assert f"process {first.pid}" in ended.err
        assert cli("verify", "--group", GID, filled).status == 4  # looking is no harm
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    assert not drift(filled)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_run_at_a_checkpoint(
    cli: Cli, filled: Path, number: signal.Signals, status: int
) -> None:
    with at_work(cli, filled, "--json") as process:
        process.send_signal(number)
        out, _ = process.communicate()
        assert process.returncode == status
    summary = json.loads(out.splitlines()[-1])
    assert summary["status"] == "interrupted"
    # A checkpoint: what the summary has counted is what is on disk.
    assert summary["changed"] == ENTRIES - len(drift(filled))
    resumed = cli.perms(filled)
    assert f"resuming {summary['run']} (interrupted" in resumed.err
    assert (resumed.summary["resumed"], resumed.summary["run"]) == (True, summary["run"])
    assert (resumed.summary["entries"], resumed.summary["changed"]) == (ENTRIES, ENTRIES)
    assert not drift(filled)


def test_interrupted_run_names_the_command_that_resumes(cli: Cli, filled: Path) -> None:
    with at_work(cli, filled) as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    (line,) = [line for line in out.splitlines() if line.startswith("go on with: ")]
    words = line.removeprefix("go on with: archipmigrate ").split()
    assert cli(*words).status == 0
    assert not drift(filled)


def test_second_signal_leaves_at_once_and_loses_nothing(cli: Cli, filled: Path) -> None:
    with at_work(cli, filled, "--max-ops", 20) as process:  # a lane now waits for minutes
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait() in (130, 143)
    ended = cli.perms(filled)
    assert (ended.status, ended.summary["changed"]) == (0, ENTRIES)
    assert not drift(filled)


def test_status_signal_prints_a_line_and_ends_nothing(cli: Cli, filled: Path) -> None:
    with at_work(cli, filled, "--no-progress") as process:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("perms: ")
        assert "entries/s" in line
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_same_command_resumes_and_other_options_do_not(cli: Cli, filled: Path) -> None:
    with at_work(cli, filled) as process:
        process.kill()
        process.wait()
    (killed,) = [thing["run"] for thing in cli("status", "--json").objects]
    other = cli.perms(filled, "--exclude", "nothing", "-n")
    assert other.summary["resumed"] is False
    other = cli.perms(filled, "--exclude", "nothing")
    assert (other.status, other.summary["resumed"]) == (0, False)
    assert f"{killed} is unfinished, but has other options" in other.err
    resumed = cli("resume", killed, "--json").summary
    assert (resumed["run"], resumed["resumed"], resumed["entries"]) == (killed, True, ENTRIES)


def test_fresh_starts_over_and_supersedes(cli: Cli, filled: Path) -> None:
    with at_work(cli, filled) as process:
        process.kill()
        process.wait()
    fresh = cli.perms(filled, "--fresh")
    assert (fresh.status, fresh.summary["resumed"]) == (0, False)
    again = cli.perms(filled).summary
    assert (again["resumed"], again["changed"], again["compliant"]) == (False, 0, ENTRIES)


def test_finished_run_is_not_resumed(cli: Cli, share: Path) -> None:
    first = cli.perms(share).summary
    second = cli.perms(share).summary
    assert second["run"] != first["run"]
    assert second["resumed"] is False
    assert cli("resume").status == 2


def test_closed_pipe_ends_a_listing_and_no_run_is_lost(cli: Cli, filled: Path) -> None:
    command = cli.command("perms", "--group", GID, "--list", filled)
    shell = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1', "bash", *command],
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(shell.stdout.splitlines()) == 1
    assert "Traceback" not in shell.stderr
    assert cli.perms(filled).summary["changed"] <= ENTRIES
    assert not drift(filled)


def test_quiet_run_prints_nothing_and_verbose_prints_failures(cli: Cli, share: Path) -> None:
    ended = cli("perms", "-q", "--group", GID, share)
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_progress_on_a_terminal_shows_entries_rate_changes_and_lanes(
    cli: Cli, filled: Path
) -> None:
    leader, follower = pty.openpty()
    with at_work_on(cli, filled, follower):
        os.close(follower)
        painted, end = b"", time.monotonic() + 60
        wanted = [b"perms ", b"/s ", b" failed 0 ", b" changed ", b" lanes "]
        while not all(word in painted for word in wanted) and time.monotonic() < end:
            if select.select([leader], [], [], 1)[0]:
                painted += os.read(leader, 4096)
    os.close(leader)
    assert all(word in painted for word in wanted), painted
    assert b"\r" in painted


@contextmanager
def at_work_on(cli: Cli, share: Path, terminal: int) -> Iterator[None]:
    process = cli.start(
        *("perms", "--group", GID, "--max-ops", 2000, share),
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_progress_elsewhere_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    log = progress.LogProgress(progress.Subject("perms"))
    counters = Counters(Tally(entries=0), lanes=2, busy=1)
    assert log.interval == 10.0
    log.tick(counters)
    now[0], counters.tally.entries, counters.tally.changed = 110.0, 5000, 4000
    log.tick(counters)
    assert capsys.readouterr().err == (
        "perms: 5,000 entries, 500 entries/s, 4,000 changed, 0 failed, lanes 1/2, 10.0 s\n"
    )
