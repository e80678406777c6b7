"""Signals at the worst moments, and readers that go away. What is held is held at a known call."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import compiled
from tests.support.kill import migrated
from tests.support.program import GID, Cli, attrs, need

pytestmark = pytest.mark.privileged

FILES = 2000
Held = subprocess.Popen[str]


@pytest.fixture
def filled(share: Path) -> Path:
    for number in range(FILES):
        (share / f"{number:040}").touch(mode=0o600)
    return share


@pytest.fixture
def held(cli: Cli, tmp_path: Path) -> Callable[..., Held]:
    """Start a command and return when it has stopped itself at a call: STOP_AT=3, for example."""
    library = compiled.library("kill_at")

    def start(at: str, *args: object) -> Held:
        name, _, number = at.partition("=")
        env = {"LD_PRELOAD": str(library), name: number, "UNTIL": str(tmp_path / "go on")}
        process = replace(cli, env=env).start(
            *args, "--no-progress", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), (process.stdout, process.stderr)
        return process

    return start


def go_on(process: Held, *signals: signal.Signals) -> tuple[str, str]:
    """Send signals to a process that is stopped, let it go on, and wait for its end."""
    for number in (*signals, signal.SIGCONT):
        process.send_signal(number)
    return process.communicate(timeout=60)


def interrupt(process: Held) -> None:
    """Send SIGINT to a process of which one thread hangs; return when it has seen that."""
    assert process.stderr
    for number in (signal.SIGINT, signal.SIGCONT, signal.SIGUSR1):
        process.send_signal(number)
    line = process.stderr.readline()
    while "stopping" not in line:  # it may tell its status before it sees the first signal
        assert line
        process.send_signal(signal.SIGUSR1)
        line = process.stderr.readline()


# -- stopping


@pytest.mark.parametrize("module", ["argparse", "trio"])
def test_ctrl_c_during_an_import_ends_without_a_word(cli: Cli, filled: Path, module: str) -> None:
    program = f"""
import sys
from archipmigrate.__main__ import main
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "{module}":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "perms", "-q", "--group", str(GID)]
    command += ["--state", str(cli.state), str(filled)]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
    assert cli.perms(filled).summary["changed"] == FILES + 1


def test_second_signal_leaves_at_once_where_a_lane_hangs_for_good(
    cli: Cli, held: Callable[..., Held], filled: Path
) -> None:
    process = held("HANG_AT=1000", "perms", "--group", GID, "--jobs", 1, filled)
    interrupt(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    ended = cli.perms(filled)
    assert (ended.status, ended.summary["changed"]) == (0, FILES + 1)
    assert cli("undo").status == 0


@pytest.mark.parametrize("command", ["perms", "undo"])
def test_first_signal_ends_a_unit_in_its_middle(
    cli: Cli, held: Callable[..., Held], filled: Path, tmp_path: Path, command: str
) -> None:
    before = attrs(filled)
    words: list[object] = ["undo", "--json"]
    if command == "perms":
        words = ["perms", "--json", "--group", GID, filled]
    else:
        assert cli.perms(filled).status == 0
    # The first unit has 256 changes, of two calls each.
    process = held("HANG_AT=1000" if command == "perms" else "HANG_AT=200", *words, "--jobs", 1)
    whole = attrs(filled)
    interrupt(process)
    (tmp_path / "go on").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # The entry that it hung at is finished, and no other is begun.
    stopped = attrs(filled)
    assert sum(stopped[path] != state for path, state in whole.items()) <= 1
    summary = json.loads(out.splitlines()[-1])
    if command == "perms":
        assert summary["changed"] == sum(stopped[path] != before[path] for path in before)
        assert 256 < summary["changed"] < 600
    ended = cli("resume", "--json")
    assert (ended.status, ended.summary["run"]) == (0, summary["run"])
    counts = [ended.summary[name] for name in ("entries", "changed", "compliant", "failed")]
    assert counts == [FILES + 1, FILES + 1, 0, 0]
    assert attrs(filled) == (migrated(before) if command == "perms" else before)


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_interrupted_undo_is_continued_and_no_other_run_may_begin_before(
    cli: Cli, held: Callable[..., Held], filled: Path, command: str
) -> None:
    before = attrs(filled)
    assert cli.perms(filled).status == 0
    process = held("STOP_AT=1000", "undo", "--json", "--jobs", 1)
    assert cli.perms(filled).status == cli("undo").status == 11
    out, err = go_on(process, signal.SIGINT)
    assert process.returncode == 130, err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["status"], summary["entries"] <= FILES) == ("interrupted", True)

    refused = cli.perms(filled)
    assert refused.status == 1
    assert f"resume {summary['run']}" in refused.err
    assert f"forget {summary['run']}" in refused.err

    ended = cli(command, "--json")
    assert (ended.status, ended.summary["run"], ended.summary["resumed"]) == (
        0,
        summary["run"],
        True,
    )
    assert ended.summary["changed"] == ended.summary["entries"] == FILES + 1
    assert attrs(filled) == before
    assert cli.perms(filled).summary["resumed"] is False


def test_commands_that_need_the_share_are_refused_beside_a_run(
    cli: Cli, held: Callable[..., Held], filled: Path
) -> None:
    process = held("STOP_AT=1000", "perms", "--json", "--group", GID, "--jobs", 1, filled)
    (run,) = [path.stem for path in cli.state.glob("*.journal")]
    for command in (["undo", run], ["resume", run], ["forget", run]):
        ended = cli(*command)
        assert ended.status == 11
        assert f"run {run}, process {process.pid}" in ended.err
    out, _ = go_on(process)
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["changed"] == FILES + 1


# -- the status line


def test_status_is_shown_by_a_run_that_is_asked_and_that_goes_on(
    held: Callable[..., Held], filled: Path
) -> None:
    process = held("STOP_AT=3001", "perms", "--group", GID, "--jobs", 1, filled)
    _, err = go_on(process, signal.SIGUSR1)
    assert process.returncode == 0
    (line,) = [line for line in err.splitlines() if line.startswith("perms: ")]
    assert re.search(r"lanes [01]/1, ", line)  # it may have gone on before it was asked


def test_status_signal_is_ignored_before_all_that_takes_time(cli: Cli, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    watched = replace(
        cli, prefix=(need("strace"), "-o", str(trace), "-e", "trace=rt_sigaction,openat")
    )
    assert watched("--version").status == 0
    calls = trace.read_text().splitlines()
    ignored = next(n for n, call in enumerate(calls) if "SIGUSR1, {sa_handler=SIG_IGN" in call)
    slow = ("/trio/__init__", "/archipmigrate/cli/", "/asyncio/", "/sqlite3/")
    assert not [call for call in calls[:ignored] if any(name in call for name in slow)]
    assert [call for call in calls[ignored:] if "/archipmigrate/cli/" in call]


# -- readers that go away


def without_reader(cli: Cli, *words: object) -> str:
    """Run the program, whose stdout is closed after a line; return what it wrote to stderr."""
    process = cli.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("form", [["--list"], ["--list", "--json"]])
def test_run_whose_reader_has_gone_stops_at_a_checkpoint(
    cli: Cli, filled: Path, form: list[str]
) -> None:
    before = attrs(filled)
    err = without_reader(
        cli, "perms", "--no-progress", "--group", GID, "--max-ops", 5000, *form, filled
    )
    assert "stopped" in err
    (stopped,) = cli("status", "--json").objects
    assert stopped["status"] == "stopped"
    changed = sum(now != before[path] for path, now in attrs(filled).items())
    assert 0 < changed <= FILES
    ended = cli.perms(filled)
    assert (ended.status, ended.summary["resumed"]) == (0, True)
    assert ended.summary["changed"] == ended.summary["entries"] == FILES + 1
    assert attrs(filled) == migrated(before)


def test_dry_run_whose_reader_has_gone_ends(cli: Cli, filled: Path) -> None:
    err = without_reader(cli, "perms", "-n", "--list", "--group", GID, filled)
    assert "Exception ignored" not in err


def test_summary_that_nobody_reads_is_no_failure_of_the_run(cli: Cli, filled: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = cli.start("perms", "--group", GID, filled, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    (done,) = cli("status", "--json").objects
    assert (done["status"], done["changed"]) == ("done", FILES + 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_sigterm_beside_a_session_ends_with_the_status_of_an_interrupted_one(when: str) -> None:
    """Before and after a session nobody receives signals: they must not kill without a status."""
    program = (
        "import os, signal, sys\n"
        "import archipmigrate.cli.main as command\n"
        "from archipmigrate.__main__ import main\n"
        "def run():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return 0\n"
        "if sys.argv[1] == 'after':\n"
        "    import trio\n"
        "    from archipmigrate.engine.signals import watch_signals\n"
        "    async def session():\n"
        "        async with trio.open_nursery() as helpers:\n"
        "            await helpers.start(watch_signals, print, print)\n"
        "            helpers.cancel_scope.cancel()\n"
        "    def run(run=run):\n"
        "        trio.run(session)\n"
        "        return run()\n"
        "command.main = run\n"
        "sys.exit(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program, when], check=False).returncode == 143
