"""Signals: the first SIGINT or SIGTERM ends a session at a checkpoint, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import trio

STOPPING = (signal.SIGINT, signal.SIGTERM)


async def watch_signals(
    stop: Callable[[signal.Signals], None],
    show: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call *stop* at the first SIGINT or SIGTERM, and *show* at SIGUSR1, until cancelled.

    The second SIGINT or SIGTERM ends the process by os._exit, because a thread that hangs in a dead
    hard mount cannot be cancelled. For the journal that is a SIGKILL.
    """
    stopping = False
    with trio.open_signal_receiver(*STOPPING, signal.SIGUSR1) as signals:
        task_status.started()
        async for number in signals:
            received = signal.Signals(number)
            if received == signal.SIGUSR1:
                show()
            elif stopping:
                os._exit(128 + received)
            else:
                stopping = True
                stop(received)
