"""Runs a job over a journal: lanes that look, wait for the journal, act; an orderly end.

    lane     take a unit -> scan (thread) -> pre-image durable -> apply (thread) -> finish
    finish   one transaction: the unit leaves the frontier, what came of it comes in

Invariant: `apply` is called only with changes that are durable in the journal. A run killed at any
instant is picked up from there: batches without an outcome are settled, then the frontier goes on.
The counts of an unfinished unit are not in the journal; it is looked at again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic, process_time
from typing import Generic

import trio

from ..errors import BackendLost, FatalError, JournalError, ShareError
from ..journal.checksummed import seal
from ..journal.store import Journal, RunHeader, Write
from ..model import Limits, Link, Scan, Tally, Unit, Unsettled
from .commit import Committer
from .frontier import Frontier, with_scope
from .job import Counters, Job, Observer, S, UnitResult
from .lanes import BackOff, Bucket, LaneController, Sample
from .limits import MOST_ENTRIES, UnitSize
from .loop import first_error
from .scopes import Scopes
from .settle import settle_batches
from .signals import watch_signals
from .stop import EarlyStop
from .threads import in_thread

# While lanes wait for work, units are this much shorter.
HUNGRY = 0.1
# More wide directories than this are not read side by side: each holds a descriptor.
MOST_CURSORS = 16
SAMPLE = 1.0  # seconds between two looks at the number of lanes
UNFINISHED = (
    "not all that was under way came to its end: resume sees how far it came, and counts it"
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended: status as in `RunHeader`, why, the signal (0: none).

    An interrupted one has a reason only if something is left for the next one to settle.
    """

    status: str
    reason: str = ""
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many units are worked on at once, how long each is to take, and how fast all may go.

    Begins with `jobs`; with `most` above that the number is found while running. `max_ops` are
    operations a second (0: as fast as it goes): one for a look at an entry, two more for a change.
    `survey` is how many there are until the job is first asked for more units (0: `jobs`).
    """

    jobs: int
    unit_seconds: float
    most: int = 0
    max_ops: int = 0
    survey: int = 0


class Run(Generic[S]):
    """One session of a run. A job that only looks has a temporary journal."""

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
        self._limiter = trio.CapacityLimiter(lanes.jobs)
        self._lane_nursery: trio.Nursery | None = None
        self._alive: set[int] = set()
        self._tasks = 0
        self._work_done = 0
        self._bucket = Bucket(lanes.max_ops) if lanes.max_ops else None
        self._committer = Committer(journal)
        self._sizes = UnitSize(lanes.unit_seconds)
        self._early = EarlyStop()
        self._stop_flag = bytearray(1)
        self._stopped = trio.Event()
        self._signal = 0
        self._back_off = BackOff()
        self._frontier = Frontier(
            load=lambda number: self._committer.call(lambda j: j.load_unit(number)),
            store=lambda number, unit: self._committer.soon(_put(number, unit)),
            last_number=journal.last_number(),
        )
        self._scopes = Scopes(self._committer.soon, self._frontier.next_number)

    async def execute(self) -> Result:
        """Run the session to its end: done, stopped, or interrupted by a signal.

        It also stops when nobody is left to tell (BrokenPipeError of the observer). On return the
        journal is durable and says how the session ended, but for a JournalError or BackendLost,
        after which it is as a kill would have left it (`stopped`).
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
            reason = "nobody reads the output any more"
        except* ShareError as errors:
            reason = str(first_error(errors))
        self._frontier.close_cursors()
        if broken:
            return Result("stopped", broken)
        return self._end(monotonic() - began, reason)

    async def _work_off(self, helpers: trio.Nursery) -> None:
        """Have lanes work until nothing is left, and the job has nothing more."""
        if self._lanes.survey:
            await self._have_lanes(self._lanes.survey)
            self.counters.lanes = self._lanes.jobs
        if self._lanes.most > self._lanes.jobs:
            helpers.start_soon(self._steer)
        if not self._lanes.survey:
            await self._have_lanes(self._lanes.jobs)
        while not self._stopped.is_set() and await self._go_on():
            await self._have_lanes(self.counters.lanes)

    async def _have_lanes(self, lanes: int) -> None:
        async with trio.open_nursery() as self._lane_nursery:
            self._set_lanes(lanes)

    async def _begin(self) -> None:
        header, journal = self._header, self._journal
        header.sessions += 1
        # A run that was stopped because everything failed has those failures to try again.
        retried = header.status == "stopped" or self._retry
        header.status = "running"
        header.began = datetime.now(UTC).isoformat(timespec="seconds")
        if header.sessions == 1:
            # In one transaction with the header: a session that says it was the first has units.
            self._frontier.add(self._job.first_units())
        await self._committer.durable(lambda j: j.write_header(header))
        if header.sessions > 1:
            self.counters.phase = "settling"
            await settle_batches(
                self._job, self._committer, self._limiter, self.counters, self._stop_flag
            )
            await self._committer.call(Journal.reopen_scopes)
            self.counters.tally = journal.tally()
            if retried:
                await self._retry_failures()
            self._frontier.restore(await self._committer.call(lambda j: list(j.units())))
        if self._job.knows_total:
            self.counters.total_units = len(self._frontier)
        self.counters.phase = ""

    async def _go_on(self) -> bool:
        """Ask the job for what comes after all that is done; False if nothing does."""

        def ask(journal: Journal) -> Sequence[Unit] | FatalError:
            try:
                return self._job.next_units(journal)
            except JournalError:
                raise
            except FatalError as error:
                return error

        units = await self._committer.call(ask)
        if isinstance(units, FatalError):
            self._early.reason = str(units)
            return False
        if self.counters.total is None and self._job.total is not None:
            self.counters.total = self.counters.tally.ended + self._job.total
        self._frontier.add(units)
        return bool(units)

    async def _retry_failures(self) -> None:
        def take(journal: Journal) -> tuple[int, list[Unit]]:
            failures = journal.take_failures()
            return len(failures), list(self._job.retry(journal, failures))

        failed, again = await self._committer.call(take)
        self._count(0, Tally(failed=-failed))
        for unit in again:
            number = self._frontier.next_number()
            await self._committer.durable(_put(number, unit))

    def _end(self, seconds: float, reason: str) -> Result:
        if not self._job.dry_run:
            reason = reason or self._early.at_end(self.counters.tally.entries)
        if self._signal:
            left = UNFINISHED if self.counters.unsettled else ""
            result = Result("interrupted", left, self._signal)
        elif reason:
            result = Result("stopped", reason)
        else:
            bad = self.counters.tally.failed or next(self._journal.failures(), None)
            result = Result("failures" if bad else "done")
        self._header.status = result.status
        self._header.seconds += seconds
        try:
            self._committer.flush_now(lambda j: j.write_header(self._header))
        except JournalError as error:
            return Result("stopped", str(error))
        return result

    # -- lanes

    def _set_lanes(self, lanes: int) -> None:
        """Have so many threads at work, and twice as many units: some wait for the journal."""
        self.counters.lanes = lanes
        self._limiter.total_tokens = lanes
        self._tasks = self._frontier.lanes = 2 * lanes
        for index in set(range(self._tasks)) - self._alive:
            self._alive.add(index)
            assert self._lane_nursery is not None  # noqa: S101 -- for the type checker
            self._lane_nursery.start_soon(self._lane, index)

    async def _steer(self) -> None:
        """Find the number of lanes that serves best."""
        controller = LaneController(self._lanes.jobs, self._lanes.most)
        cores = os.cpu_count() or 1
        while True:
            began, cpu, work = monotonic(), process_time(), self._work_done
            await trio.sleep(SAMPLE)
            seconds = monotonic() - began
            sample = Sample(
                (self._work_done - work) / seconds,
                (process_time() - cpu) / seconds / cores,
                fed=not self._frontier.is_hungry,
            )
            if (lanes := controller.observe(sample)) != self.counters.lanes and self._alive:
                self._set_lanes(lanes)

    async def _lane(self, index: int) -> None:
        try:
            while index < self._tasks and (taken := await self._frontier.take()) is not None:
                await self._calm()
                self.counters.busy += 1
                try:
                    await self._work(*taken)
                except Unsettled:
                    self.counters.unsettled += 1  # as a kill would leave it
                finally:
                    self.counters.busy -= 1
        finally:
            self._alive.discard(index)

    def _limits(self) -> Limits:
        """Return how large the next unit may be."""
        seconds, entries, changes = self._lanes.unit_seconds, MOST_ENTRIES, self._sizes.changes
        if self._frontier.is_hungry:
            seconds *= HUNGRY
        if self._bucket is not None:
            entries = min(entries, self._bucket.unit_entries(self._tasks))
        return Limits(seconds, entries, min(changes, entries), self._stop_flag)

    async def _work(self, number: int, unit: Unit) -> None:
        scan, sealed, seconds = await in_thread(
            self._look, unit, self._limits(), limiter=self._limiter
        )
        try:
            await self._act_on(number, unit, scan, sealed, seconds)
        finally:
            if scan.retained:
                scan.retained.close()

    async def _act_on(
        self, number: int, unit: Unit, scan: S, sealed: bytes, scan_seconds: float
    ) -> None:
        links: Sequence[Link] = scan.links
        if links:
            scan, sealed, links = await self._without_taken(scan, sealed)
        acted, batch, act_seconds = None, 0, 0.0
        if scan.count and not self._job.dry_run:
            scan = self._let_read_on(unit, scan)
            batch = self._frontier.next_number()
            await self._committer.durable(
                partial(Journal.add_batch, number=batch, preimage=sealed, links=links)
            )
            acted, act_seconds = await in_thread(
                self._apply, scan, unit.retries, limiter=self._limiter
            )
        if acted:
            self._sizes.observe(scan.count, scan_seconds + act_seconds)
        operations = scan.tally.entries + (2 * acted.attempted if acted else 0)
        self._work_done += operations
        if self._bucket is not None:
            self._bucket.spend(operations, trio.current_time())
        self._finish(number, unit, scan, links, batch, acted)

    def _let_read_on(self, unit: Unit, scan: S) -> S:
        """Have the next lane read a wide directory on while this one acts on what it has read.

        Not of a unit that found the directory, and that would find it again after a kill.
        """
        if unit.cursor is None or scan.wide is None:
            return scan
        self._scopes.share(unit)
        self._frontier.add(with_scope([scan.wide], unit.scope))
        return replace(scan, wide=None)

    def _look(self, unit: Unit, limits: Limits) -> tuple[S, bytes, float]:
        began = monotonic()
        try:
            scan = self._job.scan(unit, limits)
        except OSError as error:
            raise _unanswered(error) from None
        sealed = seal(scan.preimage) if scan.count and not self._job.dry_run else b""
        return scan, sealed, monotonic() - began

    def _apply(self, scan: S, retries: int) -> tuple[UnitResult, float]:
        began = monotonic()
        try:
            acted = self._job.apply(
                scan, retries=retries, deny_limit=self._deny_limit(), stop=self._stop_flag
            )
        except OSError as error:
            raise _unanswered(error) from None
        return acted, monotonic() - began

    def _deny_limit(self) -> int:
        """Return how many refusals end an act: this lane's part of those that end the run."""
        limit = self._early.deny_limit
        return max(limit // self.counters.lanes, 1) if limit else 0

    async def _without_taken(self, scan: S, sealed: bytes) -> tuple[S, bytes, list[Link]]:
        """Leave out the records whose inode another batch covers: each is changed once."""
        taken = await self._committer.call(partial(Journal.claim, links=scan.links))
        if not taken:
            return scan, sealed, list(scan.links)
        changes = self._job.drop(scan.preimage, [link.offset for link in taken])
        tally = replace(scan.tally, compliant=scan.tally.compliant + len(taken))
        scan = replace(scan, preimage=changes, count=scan.count - len(taken), tally=tally)
        mine = [link for link in scan.links if link not in taken]
        return scan, seal(changes), mine

    # -- what comes of a unit

    def _finish(
        self,
        number: int,
        unit: Unit,
        scan: Scan,
        links: Sequence[Link],
        batch: int,
        acted: UnitResult | None,
    ) -> None:
        """Put all that came of a unit into the next transaction; nothing here waits."""
        soon = self._committer.soon
        soon(partial(Journal.remove_unit, number=number))
        scope = self._scopes.of(unit)
        self._add(unit, scan, acted, scope)
        self._count(scope, scan.tally)
        failures = list(scan.failures)
        for write in (*scan.writes, *(acted.writes if acted else ())):
            soon(write)
        if acted is not None:
            soon(partial(Journal.set_outcome, number=batch, outcome=acted.outcome))
            soon(partial(Journal.release_links, links=links, unchanged=acted.unchanged))
            self._count(scope, acted.tally)
            failures += acted.failures
        elif self._job.dry_run:
            soon(partial(Journal.remember_links, links=links))
            self._count(scope, Tally(changed=scan.count))
        if failures:
            soon(partial(Journal.add_failures, scope=scope, failures=failures))
            self._observer.failed(failures)
        self._scopes.read_on(unit, scan)
        self._frontier.finished()
        self._watch(scan, acted)

    def _add(self, unit: Unit, scan: Scan, acted: UnitResult | None, scope: int) -> None:
        """Put new units on the frontier: what can wait below, names of wide directories on top.

        A wide directory goes on being read while less waits than the lanes' next units hold, and to
        its end at once if too many are open; otherwise its names come first.
        """
        below = [*scan.again, *(acted.again if acted else ())]
        if scan.rest:
            below.append(scan.rest)
        wide_scope = self._scopes.of_wide(unit, scan)
        top = with_scope(scan.chunks, wide_scope)
        if scan.wide:
            few = self._frontier.entries < self._tasks * self._sizes.changes
            at = len(top) if few or self._scopes.cursors > MOST_CURSORS else 0
            top[at:at] = with_scope([scan.wide], wide_scope)
        self._frontier.add([*with_scope(below, scope), *top])

    def _count(self, scope: int, tally: Tally) -> None:
        self.counters.tally.add(tally)
        self._committer.soon(partial(Journal.add_tally, scope=scope, tally=tally))

    def _watch(self, scan: Scan, acted: UnitResult | None) -> None:
        """Tell the observer, and see whether to pause or to stop."""
        self.counters.done_units += 1
        self._observer.noticed([*scan.notices, *(acted.notices if acted else ())])
        if scan.count:
            self._observer.changed(scan.preimage, acted.outcome if acted else None)
        if not self._job.dry_run:
            self._early.looked(scan.failures, scan.attempted)
        if acted:
            self._early.acted(acted.attempted, acted.succeeded, acted.failures)
        if self._early.reason:
            self._stop()
        now = trio.current_time()
        if scan.again or (acted and acted.pause):
            self._back_off.failed(now)
        elif acted.succeeded if acted else self._job.dry_run:
            self._back_off.succeeded(now)

    async def _calm(self) -> None:
        """Wait until errors that may pass have had time to, and until --max-ops lets us go on."""
        while (left := self._waiting()) > 0 and not self._stopped.is_set():
            with trio.move_on_after(left):
                await self._stopped.wait()

    def _waiting(self) -> float:
        now = trio.current_time()
        return max(self._back_off.wait(now), self._bucket.wait(now) if self._bucket else 0.0)

    # -- signals, progress

    def _stop(self) -> None:
        self._stop_flag[0] = 1
        self._stopped.set()
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


def _unanswered(error: OSError) -> ShareError:
    """Word what a job raises: it is not of one entry, the unit could not even begin."""
    return ShareError(f"the share does not answer ({error.strerror})")


def _put(number: int, unit: Unit) -> Write:
    return partial(Journal.put_unit, number=number, unit=unit)
