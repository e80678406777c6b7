"""Worker threads: blocking work off the event loop, with all signals left to the main thread."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")
EVERY_SIGNAL = signal.valid_signals()


async def in_thread(work: Callable[..., T], *values: object, limiter: trio.CapacityLimiter) -> T:
    """Run *work* in a thread. Not cancellable: work is short, or looks at the stop flag."""
    return await trio.to_thread.run_sync(_masked, work, *values, limiter=limiter)


def call_on_loop(call: Callable[..., T], *values: object) -> T:
    """Call something on the event loop's thread and wait for it; only from a thread of `in_thread`.

    Observers are not thread-safe: the loop's thread may be painting.
    """
    return trio.from_thread.run_sync(call, *values)


def _masked(work: Callable[..., T], *values: object) -> T:
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)
    return work(*values)
