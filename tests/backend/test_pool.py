"""The Python backend in several processes: what it shares with the others is in their tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.pool.client import PoolBackend
from archipmigrate.errors import BackendLost
from archipmigrate.model import Limits, Outcome, Scan, Verb
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from tests.support import compiled
from tests.support.kill import migrated
from tests.support.program import GID, Cli, attrs

pytestmark = pytest.mark.privileged

POLICY, OPTIONS = GroupPolicy(GID), ScanOptions(retain=True)
PLENTY = Limits(60, 10**9, 10**9)
FILES = 1500
EVERYTHING = walk_unit([whole()])


@pytest.fixture
def filled(share: Path) -> Path:
    for number in range(FILES):
        directory = share / str(number % 40)
        directory.mkdir(exist_ok=True)
        (directory / f"{number:040}").touch(mode=0o600)
    return share


@pytest.fixture
def python(state: Path) -> Cli:
    return Cli("python", state)


@pytest.fixture
def opened(filled: Path) -> Iterator[PoolBackend]:
    """The backend with two processes."""
    root = os.open(filled, os.O_RDONLY | os.O_DIRECTORY)
    with closing(PoolBackend(root, processes=2, lanes=2, open_dirs=100)) as backend:
        os.close(root)
        yield backend


def children(pid: int) -> list[int]:
    """Return the processes that a process has started; none if it has ended."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in found.split()]


def has(pid: int, share: Path) -> bool:
    """Whether a process has a directory of the share open, or (then it is not) has ended."""
    try:
        places = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except FileNotFoundError:
        return False
    return any(place.startswith(f"{share}/") for place in places)


def state_of(pid: int) -> str:
    """Return the letter that proc(5) has for what a process does; "" if it is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    return state_of(pid) in ("", "Z")


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that no event tells of."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end


def started(
    cli: Cli, share: Path, tmp_path: Path, **more: int
) -> tuple[subprocess.Popen[str], int]:
    """Start a run; return it and a worker that has stopped itself at a changing call."""
    env = {"LD_PRELOAD": str(compiled.library("kill_at")), "STOP_AT": "100"}
    process = replace(cli, env=env).start(
        *("perms", "--group", GID, "--jobs", 2, "--no-progress", share),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )
    stopped: list[int] = []

    def look() -> bool:
        assert process.poll() is None
        for child in children(process.pid):
            stopped.extend([child] if state_of(child) == "T" else [])
        return bool(stopped)

    until(look)
    return process, stopped[0]


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Let workers that have stopped themselves go on, until the run ends; return what it said."""
    while process.poll() is None:
        for child in children(process.pid):
            os.kill(child, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return process.communicate()


def everything_is_changed(cli: Cli, share: Path, before: dict[bytes, tuple[int, int, int]]) -> None:
    """Resume a run to its end; see that it counts everything once, and that undo knows it all."""
    done = cli.perms(share)
    assert (done.status, done.summary["resumed"]) == (0, True), done.err
    assert done.summary["changed"] == done.summary["entries"] == len(before)
    assert attrs(share) == migrated(before)
    assert cli("undo").status == 0
    assert attrs(share) == before


# -- how processes end


def test_workers_end_with_a_run_that_is_killed_and_keep_its_lock_until_then(
    python: Cli, filled: Path, tmp_path: Path
) -> None:
    before = attrs(filled)
    process, worker = started(python, filled, tmp_path)
    others = children(process.pid)
    assert len(others) == 2
    locks = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{worker}/fd")]
    assert any(name.endswith(".lock") for name in locks)
    process.kill()
    process.communicate()
    until(lambda: all(is_gone(pid) for pid in others))
    everything_is_changed(python, filled, before)


def test_run_stops_and_can_be_resumed_when_a_worker_is_killed(
    python: Cli, filled: Path, tmp_path: Path
) -> None:
    before = attrs(filled)
    process, worker = started(python, filled, tmp_path)
    os.kill(worker, signal.SIGKILL)
    out, err = ended(process)
    assert process.returncode == 1
    assert f"worker process {worker} ended by signal 9" in out
    assert "Traceback" not in err
    assert sum(now != before[path] for path, now in attrs(filled).items()) > 0
    everything_is_changed(python, filled, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_all_processes_ends_a_run_at_a_checkpoint(
    python: Cli, filled: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = attrs(filled)
    process, _ = started(python, filled, tmp_path, process_group=0)
    for each in (signal.SIGUSR1, number):  # as a terminal or an init system does
        os.killpg(process.pid, each)
    _, err = ended(process)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    changed = sum(now != before[path] for path, now in attrs(filled).items())
    (shown,) = python("status", "--json").objects
    assert (shown["status"], shown["changed"]) == ("interrupted", changed)
    everything_is_changed(python, filled, before)


def test_second_signal_leaves_at_once_and_ends_the_workers(
    python: Cli, filled: Path, tmp_path: Path
) -> None:
    before = attrs(filled)
    process, _ = started(python, filled, tmp_path)
    others = children(process.pid)
    assert process.stderr
    process.send_signal(signal.SIGINT)
    line = ""
    while "stopping" not in line:
        process.send_signal(signal.SIGUSR1)
        line = process.stderr.readline()
        assert line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: all(is_gone(pid) for pid in others))
    everything_is_changed(python, filled, before)


def test_nothing_is_left_running_or_open_after_a_run(python: Cli, filled: Path) -> None:
    process = python.start("perms", "--group", GID, "--jobs", 3, filled)
    seen: set[int] = set()
    while process.poll() is None:
        seen.update(children(process.pid))
    assert process.wait() == 0
    assert seen
    assert all(is_gone(pid) for pid in seen)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_any_number_of_lanes_changes_everything(python: Cli, filled: Path, jobs: int) -> None:
    before = attrs(filled)
    done = python.perms(filled, "--jobs", jobs)
    assert (done.status, done.summary["changed"]) == (0, len(before))
    assert attrs(filled) == migrated(before)
    assert python("undo", "--jobs", jobs).status == 0
    assert attrs(filled) == before


def test_interpreter_that_cannot_be_started_again_does_the_work_itself(
    python: Cli, filled: Path
) -> None:
    before = attrs(filled)
    code = (
        "import sys; sys.executable = '/nowhere'; from archipmigrate.__main__ import main; main()"
    )
    command = python.command("perms", "--group", str(GID), str(filled))
    command[1:3] = ["-c", code]
    subprocess.run(command, env=python.environment(), check=True, capture_output=True)
    assert attrs(filled) == migrated(before)


# -- calls


def look(backend: PoolBackend, limits: Limits = PLENTY) -> Scan:
    return backend.scan(EVERYTHING, POLICY, OPTIONS, limits)


def test_stop_flag_set_during_a_scan_ends_it(opened: PoolBackend) -> None:
    stopped = Limits(60, 10**9, 10**9, bytearray(b"\1"))
    scan = look(opened, stopped)
    assert scan.rest is not None
    assert scan.tally.entries < FILES
    assert look(opened).rest is None  # the flag is that of a call


def test_changes_are_applied_by_whichever_process_is_free(opened: PoolBackend) -> None:
    scans = [look(opened) for _ in range(2)]
    assert all(scan.retained for scan in scans)
    applied = opened.apply(scans[0].preimage, Verb.FORWARD, retained=scans[1].retained)
    assert applied.outcomes == bytes([Outcome.CHANGED]) * scans[0].count
    for scan in scans:
        assert scan.retained
        scan.retained.close()


def test_what_is_kept_is_closed_with_the_next_call(opened: PoolBackend, filled: Path) -> None:
    scans = [look(opened) for _ in range(2)]
    workers = children(os.getpid())
    assert sum(has(pid, filled) for pid in workers) == 2
    for scan in scans:
        assert scan.retained
        scan.retained.close()
    nothing = Limits(0, 1, 1)
    for _ in range(2):
        rest = opened.scan(EVERYTHING, POLICY, replace(OPTIONS, retain=False), nothing).rest
        assert rest
    assert not any(has(pid, filled) for pid in workers)


def test_wide_directory_is_read_on_where_its_place_is(opened: PoolBackend, share: Path) -> None:
    wide = share / "wide"
    wide.mkdir()
    for number in range(5 * 4096):  # more than are read in one go
        (wide / str(number)).touch(mode=0o600)
    units, entries = [EVERYTHING], 0
    while units:
        scan = opened.scan(units.pop(), POLICY, replace(OPTIONS, retain=False), PLENTY)
        entries += scan.tally.entries
        units += [unit for unit in (scan.rest, *scan.chunks, scan.wide) if unit]
    assert entries == len(attrs(share))


def test_mistake_in_a_worker_is_raised_here_and_it_serves_on(opened: PoolBackend) -> None:
    with pytest.raises(ValueError, match="changes of version 9"):
        opened.apply(b"\x09" + bytes(7), Verb.FORWARD)
    assert look(opened).count == FILES + 41


def test_every_call_fails_once_all_workers_are_killed(opened: PoolBackend) -> None:
    for pid in children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        with pytest.raises(BackendLost, match="ended by signal 9"):
            look(opened)
