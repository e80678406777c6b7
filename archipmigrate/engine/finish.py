"""The transaction that finishes a unit.

The unit leaves the frontier; new units, counts, failures and the outcome of its batch come in. So
a kill leaves either all of it or nothing: then the unit is scanned again. How it is counted is the
rule in `journal.counting`.

Nothing here waits: the transaction is committed soon, and may lag behind the share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from ..journal import counting
from ..journal.store import Journal
from ..model import Link, Scan, Tally, Unit
from .commit import Committer
from .frontier import Frontier, with_scope
from .job import Counters, Observer, UnitResult
from .scopes import Scopes
from .stop import EarlyStop
from .throttle import Throttle

# More wide directories than this are not read side by side: each holds a descriptor.
MOST_CURSORS = 16


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit that is done: its scan and, unless None, the result of apply.

    `links` are its claims; `batch` is 0 if nothing was applied.
    """

    number: int
    unit: Unit
    scan: Scan
    links: Sequence[Link]
    batch: int = 0
    result: UnitResult | None = None


class Finisher:
    """Finishes units; see the module. Decides about the early stop and the back-off, too."""

    def __init__(
        self,
        committer: Committer,
        frontier: Frontier,
        counters: Counters,
        observer: Observer,
        stop: Callable[[], None],
        throttle: Throttle,
        *,
        dry_run: bool,
    ) -> None:
        """Call *stop* when going on makes no sense."""
        self.scopes = Scopes(committer.soon, frontier.next_number)
        self.early = EarlyStop()
        self._soon = committer.soon
        self._frontier = frontier
        self._counters = counters
        self._observer = observer
        self._stop = stop
        self._throttle = throttle
        self._dry_run = dry_run

    @property
    def deny_limit(self) -> int:
        """How many more refusals end the run; 0: no number does."""
        return self.early.deny_limit

    def finish(self, done: Finished) -> None:
        """Put a unit's results into the next transaction, and tell the observer."""
        scan, result = done.scan, done.result
        self._soon(partial(Journal.remove_unit, number=done.number))
        scope = self.scopes.of(done.unit)
        self._add_units(done, scope)
        self.count(scope, scan.tally)
        for write in (*scan.writes, *(result.writes if result else ())):
            self._soon(write)
        if result is not None:
            self._soon(partial(Journal.set_outcome, number=done.batch, outcome=result.outcome))
            self._soon(partial(Journal.release_links, links=done.links, unchanged=result.unchanged))
            self.count(scope, result.tally)
        elif self._dry_run:
            self._soon(partial(Journal.remember_links, links=done.links))
            self.count(scope, counting.would_change(scan.count))
        failures = [*scan.failures, *(result.failures if result else ())]
        if failures:
            self._soon(partial(Journal.add_failures, scope=scope, failures=failures))
            self._observer.failed(failures)
        notices = [*scan.notices, *(result.notices if result else ())]
        if notices:
            self._soon(partial(Journal.add_notices, scope=scope, notices=notices))
            self._observer.noticed(notices)
        self.scopes.read_on(done.unit, scan)
        self._frontier.finished()
        self._tell(scan, result)
        self._decide(scan, result)

    def count(self, scope: int, tally: Tally) -> None:
        """Add *tally* to the counts of a scope (0: the run), and to those shown."""
        self._counters.tally.add(tally)
        self._soon(partial(Journal.add_tally, scope=scope, tally=tally))

    def _add_units(self, done: Finished, scope: int) -> None:
        """Put new units on the frontier: what can wait below, names of wide directories on top.

        A wide directory is read on if fewer names wait than the lanes will take next, and read to
        the end if more than MOST_CURSORS are open. Otherwise its names come first.
        """
        scan = done.scan
        below = [*scan.again, *(done.result.again if done.result else ())]
        if scan.rest:
            below.append(scan.rest)
        wide_scope = self.scopes.of_wide(done.unit, scan)
        top = with_scope(scan.chunks, wide_scope)
        if scan.wide:
            few = self._frontier.entries < self._throttle.wanted_entries
            at = len(top) if few or self.scopes.cursors > MOST_CURSORS else 0
            top[at:at] = with_scope([scan.wide], wide_scope)
        self._frontier.add([*with_scope(below, scope), *top])

    def _tell(self, scan: Scan, result: UnitResult | None) -> None:
        self._counters.done_units += 1
        if scan.count:
            self._observer.changed(scan.preimage, result.outcome if result else None)

    def _decide(self, scan: Scan, result: UnitResult | None) -> None:
        """See whether the run has to stop, or to pause."""
        if not self._dry_run:
            self.early.scanned(scan.failures, scan.attempted)
        if result:
            self.early.applied(result.attempted, result.succeeded, result.failures)
        if self.early.reason:
            self._stop()
        now = trio.current_time()
        if scan.again or (result and result.pause):
            self._throttle.back_off.failed(now)
        elif result.succeeded if result else self._dry_run:
            self._throttle.back_off.succeeded(now)
