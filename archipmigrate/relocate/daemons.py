"""The daemons of v0.3 that run on this host. Others may run elsewhere: nothing here can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import FatalError

# The peers of v0.3.5, as the kernel shows the names of processes; v0.4's are archip-....
NAMES = ("pfiled", "mt-pfiled", "mt-mapperd", "st-vlmcd", "mt-sosd")
PROC = Path("/proc")


def check_stopped(proc: Path = PROC) -> None:
    """Check that no daemon of v0.3 runs here. Raises FatalError."""
    running = list(_running(proc))
    if running:
        shown = ", ".join(f"{name} (process {pid})" for pid, name in running[:4])
        raise FatalError(
            f"v0.3 still runs here: {shown}. It would serve zeros for every object that was moved, "
            "and make a second one: stop Archipelago on all nodes (archipelago stop)"
        )


def _running(proc: Path) -> Iterator[tuple[int, str]]:
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            try:
                name = (proc / entry.name / "comm").read_text(errors="replace").strip()
            except OSError:  # it has ended
                continue
            if name in NAMES:
                yield int(entry.name), name
