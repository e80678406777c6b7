"""No threads, few descriptors: fewer lanes, or a message and a run that can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import restricted
from tests.support.program import GID, Cli, Ended, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged

LAUNCH = (sys.executable, str(Path(restricted.__file__)))
PATIENCE = 20.0  # seconds for what takes one: it is to be seen that a process never ends


@pytest.fixture
def filled(share: Path) -> Path:
    for number in range(10):
        (share / f"d{number}").mkdir(mode=0o700)
        (share / f"d{number}" / "file").touch(mode=0o600)
    return share


def ended(cli: Cli, *args: object) -> Ended:
    """Run a command that may never end, nor hear SIGINT."""
    process = cli.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return Ended(-1, "", "never ended")
    return Ended(process.returncode, out, err)


def test_run_without_threads_ends_with_a_message(cli: Cli, filled: Path) -> None:
    before = attrs(filled)
    told = ended(
        replace(cli, prefix=(*LAUNCH, "--deny", "clone3=EAGAIN", "--")),
        *("perms", "--jobs", 4, "--group", GID, filled),
    )
    assert "Traceback" not in told.err
    assert told.status in (0, 1)
    assert attrs(filled) == before or not drift(filled)
    resumed = cli("resume")
    assert (resumed.status, drift(filled)) == (0, [])


@pytest.mark.parametrize("threads", [0, 1, 8])
def test_run_whose_workers_have_few_threads_comes_to_an_end(
    state: Path, filled: Path, threads: int
) -> None:
    limits = ("--worker-threads", str(threads))
    few = Cli("python", state, prefix=(*LAUNCH, *limits, "--"))
    told = ended(few, "perms", "--jobs", 8, "--group", GID, filled)
    assert (told.status, drift(filled)) == (0, [])


@pytest.mark.parametrize("limit", [16, 24, 32, 48])
def test_run_with_few_descriptors_ends_well_or_with_a_message(
    cli: Cli, filled: Path, limit: int
) -> None:
    few = replace(cli, prefix=(*LAUNCH, "--nofile", str(limit), "--"))
    told = ended(few, "perms", "--group", GID, filled)
    assert "Traceback" not in told.err
    assert told.status == 0 or (told.status == 1 and "archipmigrate: " in told.err)


def test_launcher_really_denies_threads() -> None:
    """The control of the first test."""
    script = (
        "import errno, sys, threading; sys.path.insert(0, sys.argv[1]); import restricted\n"
        "restricted.deny([(restricted.CALLS['clone3'], errno.EAGAIN)])\n"
        "try:\n"
        "    threading.Thread(target=print).start()\n"
        "except RuntimeError:\n"
        "    print('denied')\n"
    )
    words = [sys.executable, "-c", script, str(Path(restricted.__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    made(done.returncode == 0, "a launcher that works")
    assert done.stdout.split() == ["denied"]
