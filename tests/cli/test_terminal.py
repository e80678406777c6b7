"""The progress line on a real terminal, recorded by tmux: it fits, and leaves nothing behind."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.program import GID, need

SECONDS = 60  # until a test gives up
LINE = re.compile(r"^(perms|verify|undo|mapfiles) .*\d/s .*failed \d")
HEIGHT = 24


@dataclass
class Terminal:
    """A terminal of tmux's; each has a server of its own."""

    socket: Path
    width: int

    def tmux(self, *words: str) -> str:
        command = [need("tmux"), "-S", str(self.socket), "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def start(self, *words: object) -> None:
        """Run the program; the screen stays when it has ended."""
        program = shlex.join([sys.executable, "-m", "archipmigrate", *map(str, words)])
        shell = f"trap : INT; {program}; echo END $?; exec sleep 1000"
        size = ("-x", str(self.width), "-y", str(HEIGHT))
        self.tmux("new-session", "-d", *size, "sh", "-c", shell)

    def screen(self) -> list[str]:
        """Return the lines that are on the screen; none is a continuation of another."""
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def wait(self, is_there: Callable[[list[str]], object]) -> list[str]:
        """Return the first screen of which that is true."""
        until = time.monotonic() + SECONDS
        while not is_there(screen := self.screen()):
            assert time.monotonic() < until, screen
            time.sleep(0.05)
        return screen


@pytest.fixture
def backend() -> str:
    """One is enough."""
    return "python"


@pytest.fixture(params=[80, 120])
def terminal(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    need("tmux")
    monkeypatch.setenv("ARCHIPMIGRATE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Terminal(tmp_path / "t", request.param)
    yield made
    made.tmux("kill-server")


def progress(screen: list[str]) -> list[str]:
    return [line for line in screen if LINE.match(line)]


def ended(screen: list[str]) -> bool:
    return any(line.startswith("END ") for line in screen)


@pytest.fixture
def entries(share: Path) -> Path:
    """Return a share that --max-ops makes last for as long as a test likes."""
    for number in range(400):
        (share / f"{number:03}").touch(mode=0o600)
    return share


def test_line_is_one_line_and_interrupt_leaves_no_rubbish(
    terminal: Terminal, entries: Path
) -> None:
    terminal.start("perms", "-n", "--group", GID, "--max-ops", 20, entries)
    screen = terminal.wait(progress)
    assert len(screen) == 1
    assert "would change" in screen[0]
    terminal.tmux("send-keys", "C-c")
    screen = terminal.wait(ended)
    assert not progress(screen)
    assert "^C" not in "".join(screen)
    assert screen[0].startswith(f"perms {entries}: interrupted after"[: terminal.width])
    assert screen[-1] == "END 130"


def test_line_of_a_verify_is_wiped_at_the_end(terminal: Terminal, entries: Path) -> None:
    terminal.start("verify", "--group", GID, "--max-ops", 300, entries)
    assert len(terminal.wait(progress)) == 1
    screen = terminal.wait(ended)
    assert not progress(screen)
    assert screen[-1] == "END 4"
