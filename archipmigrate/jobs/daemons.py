"""The daemons of Archipelago that run on this host. Others run elsewhere: nothing here can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
