"""The crew: the tasks that take units from the frontier, as many as serve best.

A lane is a worker thread that has something to do. There are twice as many tasks as lanes: while
half of them wait for the journal, the other half keeps the threads busy.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from time import monotonic, process_time

import trio

from ..model import Unit
from .controllers import LaneController, Sample
from .frontier import Frontier
from .job import Counters

TASKS_PER_LANE = 2
SAMPLE = 1.0  # seconds between two looks at the number of lanes


class Crew:
    """Runs *work* on units until none is left."""

    def __init__(
        self,
        frontier: Frontier,
        limiter: trio.CapacityLimiter,
        counters: Counters,
        work: Callable[[int, Unit], Awaitable[None]],
    ) -> None:
        """Bound worker threads by *limiter*; show the number of lanes in *counters*."""
        self._frontier = frontier
        self._limiter = limiter
        self._counters = counters
        self._work = work
        self._nursery: trio.Nursery | None = None
        self._alive: set[int] = set()

    async def run(self, lanes: int) -> None:
        """Work with *lanes* lanes (see `resize`) until the frontier is empty or closed."""
        async with trio.open_nursery() as self._nursery:
            self.resize(lanes)

    def resize(self, lanes: int) -> None:
        """Set the number of lanes; those in excess end after the unit in their hands."""
        self._counters.lanes = lanes
        self._limiter.total_tokens = lanes
        self._frontier.tasks = TASKS_PER_LANE * lanes
        for index in set(range(self._frontier.tasks)) - self._alive:
            self._alive.add(index)
            assert self._nursery is not None  # noqa: S101 -- for the type checker
            self._nursery.start_soon(self._task, index)

    async def steer(self, first: int, most: int, operations: Callable[[], int]) -> None:
        """Find the number of lanes that serves best, until cancelled.

        Begins with *first* lanes, never has more than *most*; *operations* returns how many were
        done so far.
        """
        controller = LaneController(first, most)
        cores = os.cpu_count() or 1
        while True:
            began, cpu, before = monotonic(), process_time(), operations()
            await trio.sleep(SAMPLE)
            seconds = monotonic() - began
            sample = Sample(
                (operations() - before) / seconds,
                (process_time() - cpu) / seconds / cores,
                fed=not self._frontier.is_hungry,
            )
            if (lanes := controller.observe(sample)) != self._counters.lanes and self._alive:
                self.resize(lanes)

    async def _task(self, index: int) -> None:
        frontier = self._frontier
        try:
            while index < frontier.tasks and (taken := await frontier.take()) is not None:
                await self._work(*taken)
        finally:
            self._alive.discard(index)
