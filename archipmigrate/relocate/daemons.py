"""Nothing is moved while v0.3 runs on this host. Others may run it: nothing here can tell."""

from __future__ import annotations

from pathlib import Path

from ..errors import FatalError
from ..jobs.daemons import PROC, running_daemons, shown_daemons


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
