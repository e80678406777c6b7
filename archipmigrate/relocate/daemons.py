"""The daemons of v0.3 and v0.4 that run on this host.

Others may run elsewhere: nothing here can tell.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import FatalError

# The peers of v0.3.5, as the kernel shows the names of processes; v0.4's are archip-....
NAMES = ("pfiled", "mt-pfiled", "mt-mapperd", "st-vlmcd", "mt-sosd")
V04 = "archip-"  # how those of v0.4 begin
PROC = Path("/proc")


def check_stopped(proc: Path = PROC) -> None:
    """Check that no daemon of v0.3 runs here. Raises FatalError."""
    running = [(pid, name) for pid, name in _processes(proc) if name in NAMES]
    if running:
        shown = ", ".join(f"{name} (process {pid})" for pid, name in running[:4])
        raise FatalError(
            f"v0.3 still runs here: {shown}. It would serve zeros for every object that was moved, "
            "and make a second one: stop Archipelago on all nodes (archipelago stop)"
        )


def check_all_stopped(proc: Path = PROC) -> None:
    """Check that no daemon of v0.3 or v0.4 runs here. Raises FatalError."""
    check_stopped(proc)
    for pid, name in _processes(proc):
        if name.startswith(V04):
            raise FatalError(
                f"v0.4 still runs here: {name} (process {pid}): stop Archipelago on all nodes"
            )


def _processes(proc: Path) -> Iterator[tuple[int, str]]:
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):  # it has ended
            name = (proc / pid / "comm").read_text(errors="replace").strip()
            yield int(pid), name
