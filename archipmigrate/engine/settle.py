"""Settling: compare each batch that a killed session left with the share, and finish it.

    killed             in the journal         on the share     settling
    before commit      nothing                unchanged        has nothing to do
    before apply       pre-image              unchanged        records `unchanged`
    during apply       pre-image              partly changed   finishes what is half done
    before finish      pre-image              changed          records `changed`
    after finish       pre-image, outcome     changed          has nothing to do

In all rows but the last the unit is still in the frontier, and is scanned again after settling. So
what settling counts is corrected for that: see `journal.counting`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import trio

from ..errors import Interrupted
from ..journal.store import Journal
from ..model import StopFlag, Unsettled
from .commit import Committer
from .halt import Halt
from .job import Counters, Job, S, UnitResult
from .signals import watch_signals
from .threads import in_thread


async def settle_batches(
    job: Job[S],
    committer: Committer,
    limiter: trio.CapacityLimiter,
    counters: Counters,
    stop: StopFlag,
) -> None:
    """Settle all batches of a journal that have no outcome, oldest first.

    Several are settled at a time, as *limiter* allows; an inode belongs to one of them only. Once
    *stop* is set no other is begun. Those that are left stay without an outcome, for the next
    session. Each outcome is durable before the lane goes on.
    """
    numbers = await committer.call(Journal.unsettled)
    counters.total_units = len(numbers)
    queue = iter(numbers)

    async def lane(numbers: Iterator[int]) -> None:
        for number in numbers:
            if stop[0]:
                return
            preimage = await committer.call(partial(_preimage, number))
            try:
                result = await in_thread(job.settle, preimage, stop, limiter=limiter)
            except Unsettled:
                return
            await committer.durable(partial(_settled, number, result))
            counters.done_units += 1

    async with trio.open_nursery() as lanes:
        for _ in range(min(int(limiter.total_tokens), len(numbers))):
            lanes.start_soon(lane, queue)
    counters.total_units, counters.done_units = None, 0


async def settle_run(job: Job[S], journal: Journal, jobs: int) -> None:
    """Settle a run that is not going to be resumed, such as one that is about to be undone.

    On return every batch has an outcome, unless settling it failed (`journal.unsettled` tells).
    Raises Interrupted after SIGINT or SIGTERM, even if that came with the last batch: some batches
    may have no outcome then, and the caller must not go on. What was settled is durable; settling
    again continues with the rest. Raises JournalError.
    """
    committer = Committer(journal)
    halt = Halt()
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        received.append(number)
        halt.set()

    async with trio.open_nursery() as helpers:
        await helpers.start(watch_signals, interrupt, lambda: None)
        helpers.start_soon(committer.run)
        await settle_batches(job, committer, trio.CapacityLimiter(jobs), Counters(), halt.flag)
        if not received:
            await committer.call(Journal.reopen_scopes)
        helpers.cancel_scope.cancel()
    if received:
        run = journal.read_header().run
        raise Interrupted(
            received[0], f"interrupted while {run} was being settled; the same command continues"
        )


def _preimage(number: int, journal: Journal) -> bytes:
    return journal.preimage(number)


def _settled(number: int, result: UnitResult, journal: Journal) -> None:
    journal.set_outcome(number, result.outcome)
    journal.release_inodes(number, result.unchanged_inodes)
    journal.add_tally(0, result.tally)
    journal.add_failures(0, result.failures)
    for write in result.writes:
        write(journal)
