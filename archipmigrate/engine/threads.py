"""Worker threads: blocking work off the event loop, with all signals left to the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from ..errors import NoThreads

T = TypeVar("T")
EVERY_SIGNAL = signal.valid_signals()
_thread = threading.local()  # `masked`: its signals are blocked, which takes Python long to do


@dataclass
class _Calls:
    """The calls of one loop: how many are at work in threads, and an event for the next to end."""

    at_work: int = 0
    ended: trio.Event = field(default_factory=trio.Event)


_calls: trio.lowlevel.RunVar[_Calls] = trio.lowlevel.RunVar("calls")


async def in_thread(work: Callable[..., T], *values: object, limiter: trio.CapacityLimiter) -> T:
    """Run *work* in a thread. Not cancellable: work is short, or looks at the stop flag.

    Where no more threads can be started, it waits for one that is at work: the more calls there
    are, the fewer are made at once. Raises NoThreads if none is at work, and *work* was not begun.
    """
    try:
        calls = _calls.get()
    except LookupError:
        calls = _Calls()
        _calls.set(calls)
    while True:
        begun = bytearray()
        calls.at_work += 1
        try:
            return await trio.to_thread.run_sync(_masked, begun, work, *values, limiter=limiter)
        except RuntimeError:  # "can't start new thread", if it is not the work's
            if begun:
                raise
        finally:
            calls.at_work -= 1
            if begun:
                calls.ended.set()
                calls.ended = trio.Event()
        if not calls.at_work:
            raise NoThreads
        await calls.ended.wait()


def call_on_loop(call: Callable[..., T], *values: object) -> T:
    """Call something on the event loop's thread and wait for it; only from a thread of `in_thread`.

    Observers are not thread-safe: the loop's thread may be painting.
    """
    return trio.from_thread.run_sync(call, *values)


def _masked(begun: bytearray, work: Callable[..., T], *values: object) -> T:
    begun.append(1)
    if not hasattr(_thread, "masked"):
        signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)
        _thread.masked = True
    return work(*values)
