"""The daemons of Archipelago that run on this host. Others run elsewhere: nothing here can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FatalError

# The peers of v0.3.5 as the kernel shows the names of processes, and how those of v0.4 begin.
V03 = ("pfiled", "mt-pfiled", "mt-mapperd", "st-vlmcd", "mt-sosd")
V04 = "archip-"
PROC = Path("/proc")
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process: its number and its name."""

    pid: int
    name: str

    @property
    def is_v03(self) -> bool:
        """Whether it is of v0.3, not of v0.4."""
        return self.name in V03


def check_stopped(proc: Path = PROC) -> None:
    """Check that no daemon of v0.3 runs here. Raises FatalError."""
    running = [daemon for daemon in running_daemons(proc) if daemon.is_v03]
    if running:
        raise FatalError(
            f"v0.3 still runs here: {shown_daemons(running)}. It would serve zeros for every "
            "object that was moved, and make a second one: stop Archipelago on all nodes "
            "(archipelago stop)"
        )


def check_all_stopped(proc: Path = PROC) -> None:
    """Check that no daemon of v0.3 or v0.4 runs here. Raises FatalError."""
    check_stopped(proc)
    if running := running_daemons(proc):
        raise FatalError(
            f"v0.4 still runs here: {shown_daemons(running)}: stop Archipelago on all nodes"
        )


def running_daemons(proc: Path = PROC) -> list[Daemon]:
    """Return the daemons of v0.3 and v0.4 that run here, v0.3's first."""
    found = [Daemon(pid, name) for pid, name in _processes(proc)]
    ours = [daemon for daemon in found if daemon.is_v03 or daemon.name.startswith(V04)]
    return sorted(ours, key=lambda daemon: (not daemon.is_v03, daemon.pid))


def shown_daemons(daemons: Sequence[Daemon]) -> str:
    """Return the first few daemons, for messages."""
    return ", ".join(f"{daemon.name} (process {daemon.pid})" for daemon in daemons[:SHOWN])


def _processes(proc: Path) -> Iterator[tuple[int, str]]:
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            try:
                name = (proc / entry.name / "comm").read_text(errors="replace").strip()
            except OSError:  # it has ended
                continue
            yield int(entry.name), name
