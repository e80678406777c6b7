"""What takes minutes: a million objects, very wide directories. `make test-long`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import map_shares as mapshare
from tests.support.program import GID, Cli, attrs, drift

pytestmark = [pytest.mark.long, pytest.mark.privileged, pytest.mark.timeout(1800)]

MILLION = 1_000_000
MOST_MEMORY = 100 << 10  # KiB


@pytest.fixture
def big(tmp_path: Path) -> Iterator[Path]:
    """A place for a large tree, in memory where there is room."""
    room = os.statvfs("/dev/shm")
    top = Path("/dev/shm") if room.f_bavail * room.f_frsize > 8 << 30 else tmp_path
    place = top / f"archipmigrate-long-{os.getpid()}"
    place.mkdir(mode=0o700)
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


def peak_memory(cli: Cli, *args: object) -> int:
    """Run a command to its end and return its peak resident memory in KiB."""
    process = cli.start(*args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


def counts(cli: Cli) -> dict[str, int]:
    """Return what the journal of the only run has counted."""
    (shown,) = cli("status", "--json").objects
    return {name: shown[name] for name in ("entries", "changed")}


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_million_objects_resume_in_seconds_after_a_kill(cli: Cli, big: Path) -> None:
    share = big / "share"
    assert cli("testshare", share, "--objects", MILLION, "--volumes", 100, timeout=600).status == 0
    entries = len(attrs(share))

    def work(*, until: Callable[[int], bool]) -> tuple[float, int]:
        """Run until *until* accepts the journal's changes, then kill; seconds, changed."""
        began = time.monotonic()
        process = cli.start(
            "perms", "--group", GID, "--no-progress", share, stdout=subprocess.DEVNULL
        )
        while process.poll() is None:
            changed = counts(cli)["changed"] if list(cli.state.glob("*.journal")) else 0
            if until(changed):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return time.monotonic() - began, counts(cli)["changed"]
        pytest.fail("it ended before it was killed")

    seconds, known = work(until=lambda changed: changed > entries // 2)
    rate = known / seconds
    done = entries - len(drift(share))
    assert done >= known
    # What was done and is not in the journal's counts is looked at again: less than 2 s of work.
    assert (done - known) / rate < 2

    began = time.monotonic()
    process = cli.start("resume", "--no-progress", stdout=subprocess.DEVNULL)
    while process.poll() is None and counts(cli)["changed"] <= done:
        pass
    assert time.monotonic() - began < 10  # it goes on with new work by then
    assert process.wait() == 0
    assert counts(cli) == {"entries": entries, "changed": entries}
    assert not drift(share)
    assert (cli.state / next(cli.state.glob("*.journal"))).stat().st_size <= 40 * entries


def test_memory_stays_bounded_with_a_million_objects(cli: Cli, big: Path) -> None:
    share = big / "share"
    # By a process of its own: a child's peak begins with what its parent had.
    assert cli("testshare", share, "--objects", MILLION, "--volumes", 100, timeout=600).status == 0
    assert peak_memory(cli, "perms", "--group", GID, share) < MOST_MEMORY


@pytest.mark.parametrize(
    ("count", "make"), [(2 * MILLION, os.mknod), (MILLION, os.mkdir)], ids=["files", "directories"]
)
def test_memory_stays_bounded_in_one_wide_directory(
    cli: Cli, big: Path, count: int, make: Callable[..., None]
) -> None:
    share = big / "share"
    share.mkdir(mode=0o700)
    directory = os.open(share, os.O_RDONLY)
    for number in range(count):
        make(f"archip_{number:064x}", 0o600, dir_fd=directory)
    os.close(directory)
    assert peak_memory(cli, "perms", "--group", GID, share) < MOST_MEMORY
    ended = cli("verify", "--json", "--group", GID, share, timeout=600)
    assert (ended.status, ended.summary["entries"]) == (0, count + 1)


def test_memory_stays_bounded_in_a_survey_of_a_million_maps(cli: Cli, big: Path) -> None:
    header = mapshare.v2_header(0)
    for number in range(MILLION):
        mapshare.put(big / "maps", f"volume{number}", header)
    words = ("mapfiles", "-q", "--json", "--maps", big / "maps")
    assert peak_memory(cli, *words, "-n") < MOST_MEMORY
    assert peak_memory(cli, *words) < MOST_MEMORY
