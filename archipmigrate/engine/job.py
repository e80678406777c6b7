"""What the engine asks of a job, and what a job tells it. The engine knows nothing else of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..journal.store import Journal, Write
from ..model import NEVER, Failure, Limits, Notice, Retained, Scan, StopFlag, Tally, Unit


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What became of the changes of one unit.

    `outcome` goes into the journal as it is. `again` is to be looked at once more, after a pause if
    `pause`. `unchanged` are the offsets, `unchanged_inodes` the inodes, of linked records that were
    not changed. `attempted`, `succeeded` and `denied` (EPERM, EACCES) count changes. `writes` and
    `notices` are as in `Scan`.
    """

    outcome: bytes
    tally: Tally
    failures: Sequence[Failure] = ()
    again: Sequence[Unit] = ()
    pause: bool = False
    unchanged: Sequence[int] = ()
    unchanged_inodes: Sequence[int] = ()
    attempted: int = 0
    succeeded: int = 0
    denied: int = 0
    writes: Sequence[Write] = ()
    notices: Sequence[Notice] = ()


class Job(Protocol):
    """A job: what a unit is, how it is looked at, and how what was found is acted upon.

    `scan`, `act` and `settle` block and run in worker threads, several at once. They end soon after
    their stop flag is set, and raise Unfinished where that leaves something that only settling can
    tell: the engine then leaves unit and batch to the next session, as a kill would.
    """

    name: str
    acts: bool  # False: only looks
    knows_total: bool  # whether the first units are all there will be
    total: int | None  # how many things are to be done, once that is known

    def first_units(self) -> Iterable[Unit]:
        """Yield the units to begin with."""

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return more units now that all are done; none ends the run. Called by the writer.

        Raises FatalError with why the run must stop here.
        """

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Look at a unit; `changes` in the result are what must be durable before `apply`."""

    def drop(self, changes: bytes, offsets: Iterable[int]) -> bytes:
        """Return *changes* without effect for the records at *offsets*: others cover them."""

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield units that try failures of an earlier session again. Called by the writer."""

    def apply(
        self,
        changes: bytes,
        retries: int,
        deny_limit: int,
        retained: Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> UnitResult:
        """Make the changes of a unit that was looked at again *retries* times.

        *retained* is what its scan kept open; it stays the engine's to close.
        """

    def settle(self, changes: bytes, stop: StopFlag = NEVER) -> UnitResult:
        """See how far a killed session came with these changes; finish what is half done."""


class Observer(Protocol):
    """Whoever watches. Called on the event loop's thread; must not block long."""

    interval: float  # seconds between two calls of `tick`

    def tick(self, counters: Counters) -> None:
        """Show how far the run is."""

    def show(self, counters: Counters) -> None:
        """Show how far the run is, because somebody asked (SIGUSR1)."""

    def looked(self, changes: bytes, outcome: bytes | None) -> None:
        """Take note of a unit's changes; *outcome* is None where the job only looks."""

    def noticed(self, notices: Sequence[Notice]) -> None:
        """Take note of something the administrator should know."""

    def failed(self, failures: Sequence[Failure]) -> None:
        """Take note of failures."""


@dataclass(slots=True)
class Counters:
    """What the progress line shows; painted from elsewhere, never by lanes."""

    tally: Tally = field(default_factory=Tally)
    lanes: int = 0
    busy: int = 0
    unfinished: int = 0  # units that the next session settles
    done_units: int = 0
    total_units: int | None = None  # known where units are (undo); a walk does not know
    total: int | None = None  # what `tally.ended` will be at the end, if that is known
    phase: str = ""
