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

from collections.abc import Iterator
from functools import partial

import trio

from ..journal.store import Journal
from .commit import Committer
from .job import Acted, Counters, Job
from .threads import in_thread


async def settle_batches(
    job: Job, committer: Committer, limiter: trio.CapacityLimiter, counters: Counters
) -> None:
    """Settle all batches of a journal that have no outcome, oldest first to be taken up.

    Batches may be settled side by side; an inode belongs to one of them only.
    """
    numbers = await committer.call(Journal.unsettled)
    counters.total_units = len(numbers)
    queue = iter(numbers)

    async def lane(numbers: Iterator[int]) -> None:
        for number in numbers:
            changes = await committer.call(partial(_preimage, number))
            acted = await in_thread(job.settle, changes, limiter=limiter)
            await committer.durable(partial(_settled, number, acted))
            counters.done_units += 1

    async with trio.open_nursery() as lanes:
        for _ in range(min(int(limiter.total_tokens), len(numbers))):
            lanes.start_soon(lane, queue)
    counters.total_units, counters.done_units = None, 0


async def settle_run(job: Job, journal: Journal, jobs: int) -> None:
    """Settle a run that is not going to be resumed (undo puts it back). Raises JournalError."""
    committer = Committer(journal)
    async with trio.open_nursery() as helpers:
        helpers.start_soon(committer.run)
        await settle_batches(job, committer, trio.CapacityLimiter(jobs), Counters())
        await committer.call(Journal.reopen_scopes)
        helpers.cancel_scope.cancel()


def _preimage(number: int, journal: Journal) -> bytes:
    return journal.preimage(number)


def _settled(number: int, acted: Acted, journal: Journal) -> None:
    journal.set_outcome(number, acted.outcome)
    journal.release_inodes(number, acted.unchanged_inodes)
    journal.add_tally(0, acted.tally)
    journal.add_failures(0, acted.failures)
    for write in acted.writes:
        write(journal)
