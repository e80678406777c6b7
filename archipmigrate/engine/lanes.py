"""How many lanes serve best, and how fast they may go. Pure: samples and times in, decisions out.

A local disk with a warm cache wants as many lanes as there are cores, a cold one some more, a share
with latency as many as it takes to keep the server busy. None of that can be known before: the
controller doubles the lanes while that pays, and goes back a step when it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

# A step up must pay this much, or it is undone: less is within the noise of a second's sample.
WORTH = 1.10
# A step down is kept if it costs less than this.
HARMLESS = 0.97
# Above this share of all cores more lanes only wait for the CPU.
CPU_BOUND = 0.85
# After a step that did not pay, so many samples pass before the next is tried.
PATIENCE = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A second or so: work done a second, the share of all cores used, had all lanes work."""

    rate: float
    cpu: float
    fed: bool = True


class _Step(Enum):
    NONE = auto()
    UP = auto()
    DOWN = auto()


class LaneController:
    """Hill climbing in doublings; `lanes` is the decision."""

    def __init__(self, first: int, most: int) -> None:
        """Begin with *first* lanes, never more than *most*."""
        self.lanes = first
        self._most = most
        self._step = _Step.NONE
        self._before = (first, 0.0)  # lanes and rate before the step
        self._rest = 0
        self._next = _Step.UP
        self._doubted = False

    def observe(self, sample: Sample) -> int:
        """Take in a sample at the present number of lanes; return how many there are to be."""
        if not sample.fed:
            return self.lanes  # the frontier was the limit, not the lanes
        if self._step is _Step.NONE:
            if self._rest:
                self._rest -= 1
            else:
                self._try(sample)
        else:
            self._judge(sample)
        return self.lanes

    def _try(self, sample: Sample) -> None:
        """Take a step, if there is one to take."""
        self._doubted = False
        self._before = (self.lanes, sample.rate)
        if self._next is _Step.UP and sample.cpu < CPU_BOUND and self.lanes < self._most:
            self._step, self.lanes = _Step.UP, min(2 * self.lanes, self._most)
        elif self._next is _Step.DOWN and self.lanes > 1:
            self._step, self.lanes = _Step.DOWN, self.lanes // 2
        else:
            self._settle()

    def _judge(self, sample: Sample) -> None:
        """Keep the step, and take another, or undo it and rest.

        A second sample may speak for a step that the first one spoke against: somebody else may
        have had the machine, or the server, for that second.
        """
        lanes, rate = self._before
        if sample.rate >= rate * (WORTH if self._step is _Step.UP else HARMLESS):
            self._try(sample)
            return
        if not self._doubted:
            self._doubted = True
            return
        self.lanes = lanes
        self._settle()

    def _settle(self) -> None:
        """Rest for a while, and try the other way after that."""
        self._next = _Step.DOWN if self._next is _Step.UP else _Step.UP
        self._step = _Step.NONE
        self._rest = PATIENCE


class Bucket:
    """Operations a second for all lanes: what was spent is waited for before the next unit.

    Nothing is saved up while lanes are idle, so a server never sees a burst above one unit a lane.
    """

    def __init__(self, rate: float) -> None:
        """Allow *rate* operations a second."""
        self._rate = rate
        self._paid_until: float | None = None

    def spend(self, operations: int, now: float) -> None:
        """Take note of operations done by *now* (monotonic seconds)."""
        start = now if self._paid_until is None else max(self._paid_until, now - 1.0)
        self._paid_until = start + operations / self._rate

    def wait(self, now: float) -> float:
        """Return how many seconds to wait from *now* before the next unit."""
        return 0.0 if self._paid_until is None else max(self._paid_until - now, 0.0)

    def unit_entries(self, lanes: int) -> int:
        """Return how many entries a unit may have, for *lanes* to wait a tenth of a second."""
        return max(int(self._rate / (10 * lanes)), 1)
