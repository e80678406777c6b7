"""One session of a run: how it begins, has its lanes work, and ends.

A run is a journal; a session is a process that works on it until all is done, a signal comes, or
going on makes no sense. Whatever ends a session, the next one continues from the journal:

    this session ends        the journal says    the next session
    all is done              done, failures      has nothing to do (`retry`: tries the failures)
    early stop               stopped             tries the failures, then goes on
    first SIGINT, SIGTERM    interrupted         goes on; settles what was in flight, if anything
    SIGKILL, second signal,  running             settles batches that have no outcome, reads wide
    power cut                                    directories again, then goes on

The parts: `frontier` holds the units that wait, `crew` runs lanes, `lane` does one unit, `finish`
writes its results, `commit` makes them durable.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Generic

import trio

from ..errors import BackendLost, FatalError, JournalError, NoThreads, ShareError
from ..journal import counting
from ..journal.store import Journal, RunHeader, Write
from ..model import Tally, Unit
from .commit import Committer
from .crew import Crew
from .finish import Finisher
from .frontier import Frontier
from .halt import Halt
from .job import Counters, Job, Lanes, Observer, Result, S
from .lane import LaneWork
from .loop import first_error
from .settle import settle_batches
from .signals import watch_signals
from .throttle import Throttle

IN_FLIGHT = "some changes were still in flight; `resume` will check them"
NO_READER = "nobody reads the output any more"


class Session(Generic[S]):
    """One session of a run. For a dry run the journal is a temporary one."""

    def __init__(
        self,
        job: Job[S],
        journal: Journal,
        header: RunHeader,
        lanes: Lanes,
        observer: Observer,
        *,
        retry: bool = False,
    ) -> None:
        """Prepare a session over an open journal; *retry* tries its failures again."""
        self.counters = Counters(lanes=lanes.survey or lanes.jobs)
        self._job = job
        self._journal = journal
        self._header = header
        self._lanes = lanes
        self._observer = observer
        self._retry = retry
        self._signal = 0
        self._refusal = ""  # why the job must stop here
        self._halt = Halt()
        self._committer = Committer(journal)
        self._limiter = trio.CapacityLimiter(lanes.jobs)
        self._frontier = Frontier(
            load=lambda number: self._committer.call(lambda j: j.load_unit(number)),
            store=lambda number, unit: self._committer.soon(_put(number, unit)),
            remove=lambda number: self._committer.soon(partial(Journal.remove_unit, number=number)),
            split=job.split,
            join=job.join,
            last_number=journal.last_number(),
        )
        self._throttle = Throttle(self._frontier, self._halt, lanes.unit_seconds, lanes.max_ops)
        self._finisher = Finisher(
            self._committer,
            self._frontier,
            self.counters,
            observer,
            self._stop,
            self._throttle,
            dry_run=job.dry_run,
        )
        lane = LaneWork(
            job,
            self._committer,
            self._frontier,
            self._finisher,
            self._limiter,
            self.counters,
            self._throttle,
        )
        self._crew = Crew(self._frontier, self._limiter, self.counters, lane.work)

    async def execute(self) -> Result:
        """Run the session to its end: all is done, it stops early, or a signal comes.

        It also stops when the observer raises BrokenPipeError. On return the journal is durable and
        says how the session ended. After JournalError or BackendLost the result is `stopped` and
        the journal is as a kill would leave it.
        """
        began = monotonic()
        broken = reason = ""
        try:
            async with trio.open_nursery() as helpers:
                await helpers.start(watch_signals, self._interrupt, self._show)
                helpers.start_soon(self._committer.run)
                helpers.start_soon(self._paint)
                await self._begin()
                await self._work_off(helpers)
                helpers.cancel_scope.cancel()
        except* (BackendLost, JournalError) as errors:
            broken = str(first_error(errors))
        except* BrokenPipeError:
            reason = NO_READER
        except* (ShareError, NoThreads) as errors:
            reason = str(first_error(errors))
        self._frontier.close_cursors()
        if broken:
            return Result("stopped", broken)
        return self._end(monotonic() - began, reason)

    # -- the beginning

    async def _begin(self) -> None:
        header = self._header
        header.sessions += 1
        # A run that was stopped because everything failed has those failures to try again.
        retries = header.status == "stopped" or self._retry
        header.status = "running"
        header.began = datetime.now(UTC).isoformat(timespec="seconds")
        if header.sessions == 1:
            # In one transaction with the header: if that counts a session, the units are there.
            self._frontier.add(self._job.first_units())
        await self._committer.durable(lambda j: j.write_header(header))
        if header.sessions > 1:
            await self._resume(retries=retries)
        if self._job.knows_total:
            self.counters.total_units = len(self._frontier)
        self.counters.phase = ""

    async def _resume(self, *, retries: bool) -> None:
        """Settle what the last session left in flight, and load the frontier."""
        self.counters.phase = "settling"
        left = await self._committer.call(self._job.left)
        if left is not None:
            self.counters.total = self._journal.tally().finished + left
        await settle_batches(
            self._job, self._committer, self._limiter, self.counters, self._halt.flag
        )
        await self._committer.call(Journal.reopen_scopes)
        self.counters.tally = self._journal.tally()
        self.counters.earlier = self.counters.tally.entries
        if retries:
            await self._retry_failures()
        self._frontier.restore(await self._committer.call(lambda j: list(j.units())))

    async def _retry_failures(self) -> None:
        """Turn failures into units, in one transaction: a kill leaves either of them."""

        def take(journal: Journal) -> Tally:
            failures = journal.take_failures()
            for unit in self._job.retry(journal, failures):
                journal.put_unit(self._frontier.next_number(), unit)
            retried = counting.retried(len(failures))
            journal.add_tally(0, retried)
            return retried

        self.counters.tally.add(await self._committer.call(take))

    # -- the work

    async def _work_off(self, helpers: trio.Nursery) -> None:
        """Have lanes work until nothing is left, and the job has nothing more."""
        lanes = self._lanes
        if lanes.survey:
            await self._crew.run(lanes.survey)
            self.counters.lanes = lanes.jobs
        if lanes.most > lanes.jobs:
            helpers.start_soon(
                self._crew.steer, lanes.jobs, lanes.most, lambda: self._throttle.operations
            )
        if not lanes.survey:
            await self._crew.run(lanes.jobs)
        while not self._halt and await self._add_next_units():
            await self._crew.run(self.counters.lanes)

    async def _add_next_units(self) -> bool:
        """Ask the job for more units, now that all are done; return whether there are any."""

        def ask(journal: Journal) -> Sequence[Unit] | FatalError:
            try:
                return self._job.next_units(journal)
            except JournalError:
                raise
            except FatalError as error:
                return error  # the transaction is committed all the same

        units = await self._committer.call(ask)
        if isinstance(units, FatalError):
            self._refusal = str(units)
            return False
        if self.counters.total is None and self._job.total is not None:
            self.counters.total = self.counters.tally.finished + self._job.total
        self._frontier.add(units)
        return bool(units)

    # -- the end

    def _end(self, seconds: float, reason: str) -> Result:
        """Record the session's status in the header."""
        reason = reason or self._refusal
        if not self._job.dry_run:
            reason = reason or self._finisher.early.at_end(self.counters.tally.entries)
        if self._signal:
            left = IN_FLIGHT if self.counters.unsettled else ""
            result = Result("interrupted", left, self._signal)
        elif reason:
            result = Result("stopped", reason)
        else:
            failed = self.counters.tally.failed or next(self._journal.failures(), None)
            result = Result("failures" if failed else "done")
        self._header.status = result.status
        self._header.seconds += seconds
        try:
            self._committer.flush_now(lambda j: j.write_header(self._header))
        except JournalError as error:
            return Result("stopped", str(error))
        return result

    # -- signals, progress

    def _stop(self) -> None:
        """Have lanes end after the units in their hands."""
        self._halt.set()
        self._frontier.close()

    def _interrupt(self, received: signal.Signals) -> None:
        self._signal = received
        self.counters.phase = "stopping"
        self._stop()

    def _show(self) -> None:
        self._observer.show(self.counters)

    async def _paint(self) -> None:
        while True:
            self._observer.tick(self.counters)
            await trio.sleep(self._observer.interval)


def _put(number: int, unit: Unit) -> Write:
    return partial(Journal.put_unit, number=number, unit=unit)
