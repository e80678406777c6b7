"""Calls in threads where only a few can be started, or none."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import trio
from trio._core import _thread_cache

from archipmigrate.engine.loop import run_loop
from archipmigrate.engine.threads import in_thread
from archipmigrate.errors import NoThreads


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what lets only so many threads be started from now on."""
    # Threads that other tests left idle would serve.
    monkeypatch.setattr(_thread_cache, "THREAD_CACHE", _thread_cache.ThreadCache())
    start = threading.Thread.start
    left: list[int] = []

    def start_some(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    return left.append


def work(done: list[int], number: int) -> None:
    time.sleep(0.001)
    done.append(number)


async def many(done: list[int]) -> None:
    """Call from many tasks, as lanes and the journal do: each has a limiter of its own kind."""
    lanes, journal = trio.CapacityLimiter(8), trio.CapacityLimiter(1)

    async def task(number: int) -> None:
        await in_thread(work, done, number, limiter=lanes)
        await in_thread(work, done, number + 100, limiter=journal)

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(task, number)


@pytest.mark.parametrize("threads", [1, 2, 5, 100])
def test_calls_are_made_by_the_threads_that_there_are(allow: Any, threads: int) -> None:
    allow(threads)
    done: list[int] = []
    with_timeout(done)
    assert sorted(done) == [*range(30), *range(100, 130)]


def test_no_thread_at_all_is_an_error(allow: Any) -> None:
    allow(0)
    done: list[int] = []
    with pytest.raises(NoThreads):
        with_timeout(done)
    assert done == []


def test_error_of_the_work_is_not_taken_for_a_thread_that_is_missing(allow: Any) -> None:
    allow(1)

    def broken() -> None:
        raise RuntimeError("can't start new thread")

    async def call() -> None:
        await in_thread(broken, limiter=trio.CapacityLimiter(1))

    with pytest.raises(RuntimeError):
        run_loop(call)


def with_timeout(done: list[int]) -> None:
    async def run() -> None:
        with trio.fail_after(20):
            await many(done)

    run_loop(run)
