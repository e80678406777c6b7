"""The undo of phase 1: second names go, while v0.3 runs.

What v0.3 has deleted since, and the old inodes of what it made again, are kept aside: left at its
new place, v0.4 would serve an object of a deleted volume one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..engine.job import Job, UnitResult
from ..jobs.outcome import pack_outcome
from ..journal import counting
from ..model import (
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    Limits,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
)
from ..packed.moves import Root
from ..relocate.batch import Done
from ..relocate.roots import Roots
from ..relocate.undo import LEFT
from .actions import Action, pack_actions, unpack_actions
from .judges import UnnameJudge
from .keep import Keep
from .known import Known
from .maps import AllSteps
from .tables import TOPS
from .walk import Walk, walk_unit

NEVER = 1 << 63  # ns: what is known is looked at by its name
AGAIN = b"A"


@dataclass(slots=True)
class UndoPrelinkJob(Job[Scan]):
    """See the module. A unit is a directory of the first level, or actions to be tried again."""

    roots: Roots
    keep: Keep
    known: Known
    knows_total: bool = True
    steps: AllSteps = field(init=False)

    def __post_init__(self) -> None:
        """Do actions in these roots."""
        self.steps = AllSteps(self.roots, self.keep)

    def first_units(self) -> Iterable[Unit]:
        """Yield all directories of the first level."""
        return (walk_unit(Root.BLOCKS, top) for top in TOPS)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find blocks that still have both names."""
        if unit.body[:1] == AGAIN:
            return Scan(Tally(), unit.body, unit.entries, operations=unit.entries)
        scan = Walk(self.roots, self.known, UnnameJudge(), unit, limits, NEVER).scan()
        failures = [replace(failure, hint=0) for failure in scan.failures]
        return replace(scan, writes=(), failures=failures)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Remove second names. Raises OSError if what was done may not be durable."""
        actions = list(unpack_actions(scan.preimage[1:]))
        return _result(actions, self.steps.apply(actions, stop, deny_limit), retries)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed undo left half done; its unit is worked off again."""
        del stop  # a batch has few that are half done
        done = self.steps.settle(list(unpack_actions(preimage[1:])))
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        return UnitResult(_packed(done), counting.settled(changed))


def _result(actions: Sequence[Action], done: Sequence[Done], retries: int) -> UnitResult:
    tally, failures = Tally(), []
    again: list[Action] = []
    untried: list[Action] = []
    for action, ended in zip(actions, done, strict=True):
        if ended.outcome in (Outcome.CHANGED, Outcome.UNCHANGED):
            tally.changed += ended.outcome == Outcome.CHANGED
            tally.compliant += ended.outcome == Outcome.UNCHANGED
        elif ended.outcome == Outcome.GONE:
            tally.vanished += 1
        elif ended.outcome == Outcome.UNTRIED:
            untried.append(action)
        elif ended.outcome in LEFT:
            tally.skipped += 1
            failures.append(Failure(action.path, "undo", 0, LEFT[ended.outcome]))
        elif ended.errno in TRANSIENT and retries < RETRIES:
            again.append(action)
        else:
            tally.failed += 1
            failures.append(Failure(action.path, ended.operation, ended.errno, ended.note))
    units = [
        Unit(AGAIN + pack_actions(left), len(left), tried, counted=True)
        for left, tried in ((again, retries + 1), (untried, retries))
        if left
    ]
    return UnitResult(
        _packed(done),
        tally,
        failures,
        units,
        bool(again),
        attempted=len(done) - len(untried),
        succeeded=tally.changed + tally.compliant,
    )


def _packed(done: Sequence[Done]) -> bytes:
    return pack_outcome(Applied(bytes(ended.outcome for ended in done)))
