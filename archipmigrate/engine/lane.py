"""What a lane does with one unit: scan, wait for the journal, apply, finish.

    task     calm -> scan ----> claim links -> durable(pre-image) ........ -> apply ----> finish
    thread           [......]                                                 [......]
    writer                                     [commit A, B, C ........]

Invariant: `Job.apply` is called only with a scan whose pre-image is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Generic

import trio

from ..errors import ShareError
from ..journal import checksummed, counting
from ..journal.store import Journal
from ..model import Limits, Link, Unit, Unsettled
from .commit import Committer
from .finish import Finished, Finisher
from .frontier import Frontier, with_scope
from .job import Counters, Job, S, UnitResult
from .stop import NO_FILES, too_few_files
from .threads import in_thread
from .throttle import Throttle


class LaneWork(Generic[S]):
    """Does units of a job; one object serves all lanes."""

    def __init__(
        self,
        job: Job[S],
        committer: Committer,
        frontier: Frontier,
        finisher: Finisher,
        limiter: trio.CapacityLimiter,
        counters: Counters,
        throttle: Throttle,
    ) -> None:
        """Work in threads that *limiter* bounds."""
        self._job = job
        self._committer = committer
        self._frontier = frontier
        self._finisher = finisher
        self._limiter = limiter
        self._counters = counters
        self._throttle = throttle

    async def work(self, number: int, unit: Unit) -> None:
        """Do a unit that was taken from the frontier; after the halt it ends as soon as it can."""
        await self._throttle.calm()
        self._counters.busy += 1
        try:
            limits = self._throttle.limits()
            scan, blob, seconds = await in_thread(self._scan, unit, limits, limiter=self._limiter)
            try:
                await self._go_on(number, unit, scan, blob, seconds)
            finally:
                if scan.retained:
                    scan.retained.close()
        except Unsettled:
            self._counters.unsettled += 1  # unit and batch stay as a kill would leave them
        finally:
            self._counters.busy -= 1

    async def _go_on(
        self, number: int, unit: Unit, scan: S, blob: bytes, scan_seconds: float
    ) -> None:
        links: Sequence[Link] = scan.links
        if links:
            scan, blob, links = await self._without_claimed(unit, scan, blob)
        result, batch = None, 0
        if scan.count and not self._job.dry_run:
            scan = self._let_read_on(unit, scan)
            batch = self._frontier.next_number()
            await self._committer.durable(
                partial(Journal.add_batch, number=batch, preimage=blob, links=links)
            )
            result, apply_seconds = await in_thread(
                self._apply, scan, unit.retries, limiter=self._limiter
            )
            self._throttle.applied(scan.count, scan_seconds + apply_seconds)
        scanned = scan.tally.entries + scan.operations
        self._throttle.spend(scanned + (2 * result.attempted if result else 0))
        self._finisher.finish(Finished(number, unit, scan, links, batch, result))

    def _let_read_on(self, unit: Unit, scan: S) -> S:
        """Have the next lane read a wide directory on while this one applies what it has read.

        Not for the unit that found the directory: after a kill it would find it again.
        """
        if unit.cursor is None or scan.wide is None:
            return scan
        self._finisher.scopes.share(unit)
        self._frontier.add(with_scope([scan.wide], unit.scope))
        return replace(scan, wide=None)

    async def _without_claimed(
        self, unit: Unit, scan: S, blob: bytes
    ) -> tuple[S, bytes, list[Link]]:
        """Claim the linked inodes; drop changes of those that another batch has claimed.

        While that batch is not finished nobody knows whether it makes the change: the name that it
        has for the file may go before. So this name is scanned once more.
        """
        covered, pending = await self._committer.call(partial(Journal.claim, links=scan.links))
        taken = [*covered, *pending]
        if not taken:
            return scan, blob, list(scan.links)
        if self._job.dry_run:
            covered, pending = taken, []
        preimage = self._job.drop(scan.preimage, [link.offset for link in taken])
        contested = self._job.contested(unit, scan.preimage, [link.offset for link in pending])
        tally = replace(scan.tally)
        tally.add(counting.dropped(len(covered)))
        scan = replace(
            scan,
            preimage=preimage,
            count=scan.count - len(taken),
            tally=tally,
            contested=contested,
        )
        mine = [link for link in scan.links if link not in taken]
        return scan, checksummed.pack(preimage), mine

    # -- in worker threads

    def _scan(self, unit: Unit, limits: Limits) -> tuple[S, bytes, float]:
        """Scan a unit; return the scan, its pre-image for the journal, and the seconds it took."""
        began = monotonic()
        try:
            scan = self._job.scan(unit, limits)
        except OSError as error:
            raise _unanswered(error) from None
        applies = scan.count and not self._job.dry_run
        blob = checksummed.pack(scan.preimage) if applies else b""
        return scan, blob, monotonic() - began

    def _apply(self, scan: S, retries: int) -> tuple[UnitResult, float]:
        """Apply a scan; return the result, and the seconds it took."""
        began = monotonic()
        limit = self._finisher.deny_limit
        # This lane's part of the refusals that end the run.
        deny_limit = max(limit // self._counters.lanes, 1) if limit else 0
        try:
            result = self._job.apply(
                scan, retries=retries, deny_limit=deny_limit, stop=self._throttle.stop_flag
            )
        except OSError as error:
            raise _unanswered(error) from None
        return result, monotonic() - began


def _unanswered(error: OSError) -> ShareError:
    """Turn an OSError into ShareError: the unit could not start."""
    if error.errno in NO_FILES:
        return ShareError(too_few_files(error.errno))
    return ShareError(f"the share does not answer ({error.strerror})")
