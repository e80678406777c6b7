"""Settling: what a killed session left without an outcome is looked at, finished and written down.

    killed here      what the journal has        what settling finds
    before commit    nothing                     nothing was changed
    before act       pre-image                   unchanged
    between calls    pre-image                   half done: finished now
    before finish    pre-image                   done
    after finish     pre-image, outcome          not settled again

The unit of a settled batch is still in the frontier and will be looked at again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import trio

from ..journal.store import Journal
from ..model import NEVER, StopFlag, Unsettled
from .commit import Committer
from .job import Counters, Job, S, UnitResult
from .signals import watch_signals
from .threads import in_thread


async def settle_batches(
    job: Job[S],
    committer: Committer,
    limiter: trio.CapacityLimiter,
    counters: Counters,
    stop: StopFlag = NEVER,
) -> None:
    """Settle all batches of a journal that have no outcome, oldest first to be taken up.

    Batches may be settled side by side; an inode belongs to one of them only. Those that are left
    when the stop flag is set stay without an outcome.
    """
    numbers = await committer.call(Journal.unsettled)
    counters.total_units = len(numbers)
    queue = iter(numbers)

    async def lane(numbers: Iterator[int]) -> None:
        for number in numbers:
            if stop[0]:
                return
            changes = await committer.call(partial(_preimage, number))
            try:
                acted = await in_thread(job.settle, changes, stop, limiter=limiter)
            except Unsettled:
                return
            await committer.durable(partial(_settled, number, acted))
            counters.done_units += 1

    async with trio.open_nursery() as lanes:
        for _ in range(min(int(limiter.total_tokens), len(numbers))):
            lanes.start_soon(lane, queue)
    counters.total_units, counters.done_units = None, 0


async def settle_run(job: Job[S], journal: Journal, jobs: int) -> None:
    """Settle a run that is not going to be resumed (undo puts it back). Raises JournalError.

    A signal that ends it is sent once more, to the process as it was before.
    """
    committer = Committer(journal)
    stop = bytearray(1)
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        received.append(number)
        stop[0] = 1

    async with trio.open_nursery() as helpers:
        await helpers.start(watch_signals, interrupt, lambda: None)
        helpers.start_soon(committer.run)
        await settle_batches(job, committer, trio.CapacityLimiter(jobs), Counters(), stop)
        if not received:
            await committer.call(Journal.reopen_scopes)
        helpers.cancel_scope.cancel()
    if received:
        signal.raise_signal(received[0])


def _preimage(number: int, journal: Journal) -> bytes:
    return journal.preimage(number)


def _settled(number: int, acted: UnitResult, journal: Journal) -> None:
    journal.set_outcome(number, acted.outcome)
    journal.release_inodes(number, acted.unchanged_inodes)
    journal.add_tally(0, acted.tally)
    journal.add_failures(0, acted.failures)
    for write in acted.writes:
        write(journal)
