"""The contract between the engine and a job: all that either knows of the other.

A job says what a unit is, how it is scanned and how what was found is applied. The engine decides
which unit is next and on which thread, makes pre-images durable, counts, stops and resumes. How
entries are counted is a rule of its own: see `journal.counting`.

One unit, step by step, and what follows a kill during that step (unit 7, its batch gets number 8):

    step          the journal has                    the next session
    scan          unit 7                             scans unit 7
    claim, drop   unit 7                             scans unit 7
    durable       unit 7, batch 8 or not yet         settles batch 8: unchanged; scans unit 7
    apply         unit 7, batch 8                    settles batch 8: partly changed; scans unit 7
    finish        unit 7, batch 8                    settles batch 8: all changed; scans unit 7
    (finished)    batch 8 with its outcome, counts,  takes the next unit
                  failures and new units
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..journal.store import Journal, Write
from ..model import Failure, Limits, Notice, Scan, StopFlag, Tally, Unit

S = TypeVar("S", bound=Scan)  # what a job's scan returns, perhaps with fields of its own


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What applying, or settling, the changes of one unit did.

    `outcome` goes into the journal as it is: whoever undoes the job reads it. `again` is scanned
    once more, after a pause of the whole run if `pause`. `unchanged` are the offsets
    (`Link.offset`) of linked changes that were not made, so that another batch may claim their
    inodes; settling gives the inodes themselves, in `unchanged_inodes`. `attempted` and `succeeded`
    count changes. `writes` go into the transaction that finishes the unit or settles the batch.
    `deferred` is as in `Scan`.
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
    writes: Sequence[Write] = ()
    notices: Sequence[Notice] = ()
    deferred: Unit | None = None


class Job(ABC, Generic[S]):
    """What the engine runs. A new job defines `first_units`, `scan`, `apply` and `settle`.

    method                      called on                         may
    scan, apply, settle         worker threads, several at once   block, touch the share
    next_units, retry, left     the journal's writer, inside      use the journal
                                a transaction
    first_units, split, join,   the event loop                    not block
    drop, contested

    `scan`, `apply` and `settle` run concurrently, each for a different unit; the job must lock what
    they share. Signals are blocked in worker threads.

    Once the stop flag is set, `scan`, `apply` and `settle` return within 2 s, and give back what
    they did not begin: a scan in `rest`, an apply in `again`. They raise Unsettled if they cannot
    tell whether a change was made, and `settle` also if it did not begin all: the engine then
    leaves unit and batch as a kill would.

    One entry that fails is a `Failure` in the result, never an exception. OSError from `scan` or
    `apply` means that the unit could not even begin, and stops the run because the share does not
    answer; so does ShareError. BackendLost and JournalError stop it as a kill would. Anything else
    ends the process, which for the journal is a kill, too. The unit always stays in the frontier.
    """

    dry_run: bool = False  # True: scan only, apply nothing, journal nothing but counts
    knows_total: bool = False  # True: the first units are all that there will be
    total: int | None = None  # how many things there are to do, once that is known

    @abstractmethod
    def first_units(self) -> Iterable[Unit]:
        """Yield the units to begin with. Called once in a run: in its first session."""

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Return more units, now that all are done; none ends the run.

        Called again after a kill, so what a unit has done must be in the job's tables
        (`Scan.writes`, `UnitResult.writes`). Raises FatalError with why the run must stop here.
        """
        del journal
        return ()

    def left(self, journal: Journal) -> int | None:
        """Return how many things a later session has still to do; None if that is not known.

        Called before batches are settled: these count as still to do.
        """
        del journal
        return None

    @abstractmethod
    def scan(self, unit: Unit, limits: Limits) -> S:
        """Find what must change in a unit.

        May be repeated for the same unit, in this session or a later one, and must change nothing
        that an undo would have to put back. What it keeps open or locked is in `retained`: the
        engine closes that exactly once, after apply or instead of it. A scan that raises closes it
        itself.
        """

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Return *unit* cut into at most *parts* units of about the same work, or just itself.

        Called for units with several `entries`, when lanes wait for work or a body is very large.
        """
        del parts
        return [unit]

    def join(self, units: Sequence[Unit]) -> Unit:
        """Return one unit of all of these, which were deferred (`Scan.deferred`).

        What one of them holds may come after what a later one of them does, not before.
        """
        raise NotImplementedError

    def drop(self, preimage: bytes, offsets: Iterable[int]) -> bytes:
        """Return *preimage* with the changes at *offsets* marked as dropped.

        Other batches cover them. Called only with offsets of `Scan.links`.
        """
        del offsets
        return preimage

    def contested(self, unit: Unit, preimage: bytes, offsets: Sequence[int]) -> Sequence[Unit]:
        """Return `counted` units that scan the entries of changes at *offsets* again.

        Called after a scan of *unit*, only with offsets of `Scan.links`.
        """
        del unit, preimage, offsets
        return ()

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield units that retry failures of earlier sessions (those with a hint)."""
        del journal, failures
        return ()

    @abstractmethod
    def apply(self, scan: S, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Make the changes of *scan*, whose pre-image is durable.

        Called at most once for a scan, within about a second of it, and never in a dry run. Takes
        over from `scan.retained` what it releases itself. *retries* is that of the unit: from
        `model.RETRIES` on, what is still transient is a failure. After *deny_limit* refusals
        (EPERM, EACCES) without a success it gives up the rest (0: no limit).
        """

    @abstractmethod
    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Find out how far a killed session came with these changes; finish what is half done.

        Called before any unit is scanned, for batches that have no outcome. Must be idempotent: it
        may be killed, too, and is then repeated.
        """


class Observer(Protocol):
    """Whoever watches a session. Called on the event loop; must not block long.

    BrokenPipeError ends the session: nobody reads what it prints.
    """

    interval: float  # seconds between two calls of `tick`

    def tick(self, counters: Counters) -> None:
        """Show the progress."""

    def show(self, counters: Counters) -> None:
        """Show the progress because somebody asked (SIGUSR1)."""

    def changed(self, preimage: bytes, outcome: bytes | None) -> None:
        """Note the changes of a unit; *outcome* is None in a dry run."""

    def noticed(self, notices: Sequence[Notice]) -> None:
        """Note something the administrator should know."""

    def failed(self, failures: Sequence[Failure]) -> None:
        """Note failures."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many lanes a session has, how long their units take, and how fast all may go.

    It begins with `jobs` lanes; if `most` is above that, it finds the best number while it runs.
    `unit_seconds` is what a unit should take. `max_ops` limits operations a second (0: no limit): a
    scanned entry is one, a change two more. `survey` is the number of lanes until the job is first
    asked for more units (0: `jobs`).
    """

    jobs: int
    unit_seconds: float
    most: int = 0
    max_ops: int = 0
    survey: int = 0


@dataclass(slots=True)
class Counters:
    """What the progress line shows. Lanes update it; only a task of its own paints it."""

    tally: Tally = field(default_factory=Tally)
    lanes: int = 0
    busy: int = 0
    unsettled: int = 0  # units whose batches the next session settles
    done_units: int = 0
    total_units: int | None = None  # None: not known (a walk does not know)
    total: int | None = None  # what `tally.finished` will be at the end; None: not known
    expected: int | None = None  # entries that an earlier walk of this share found
    at_most: int | None = None  # entries that the share's filesystem has
    earlier: int = 0  # entries that earlier sessions of the run have seen
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended: the status (see `RunHeader`), the reason, and the signal (0: none).

    An interrupted session has a reason only if the next one has something to settle.
    """

    status: str
    reason: str = ""
    signal: int = 0
