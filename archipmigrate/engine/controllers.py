"""How many lanes serve best, and how fast they may go. Pure: samples and times in, decisions out.

A local disk with a warm cache wants as many lanes as there are cores, a cold one some more, a share
with latency as many as it takes to keep the server busy. None of that can be known before: the
controller doubles the lanes while that pays, and goes back a step when it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A step up that pays this much is kept by its first sample.
CLEAR = 1.4
# A step up must pay this much in two samples, before two speak against it, or it is undone.
WORTH = 1.05
# A step down is kept if it costs less than this.
HARMLESS = 0.97
# Above this share of all cores more lanes only wait for the CPU.
CPU_BOUND = 0.9
# A step up that did not pay is tried once more after so many samples, if it was bad luck ...
SOON = 5
# ... and one the other way after so many, twice as many each time that nothing was gained.
PATIENCE, MOST_PATIENCE = 10, 40
# Seconds for which a run waits for errors to pass.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A second or so: work done a second, the share of all cores used, had all lanes work."""

    rate: float
    cpu: float
    fed: bool = True


class _Step(Enum):
    NONE = 0
    UP = 1
    DOWN = -1


class LaneController:
    """Hill climbing in doublings; `lanes` is the decision."""

    def __init__(self, first: int, most: int) -> None:
        """Begin with *first* lanes, never more than *most*."""
        self.lanes = first
        self._most = most
        self._step = _Step.NONE
        self._before = (first, 0.0)  # lanes and rate before the step
        self._rates: list[float] = []  # at this number of lanes
        self._changed = True
        self._votes = {True: 0, False: 0}  # for and against the step
        self._next = _Step.UP
        self._again = True  # whether a step up may be tried again soon
        self._rest = 0
        self._patience = PATIENCE

    def observe(self, sample: Sample) -> int:
        """Take in a sample at the present number of lanes; return how many there are to be."""
        if self._step is _Step.UP and sample.rate >= CLEAR * self._before[1]:
            self._keep(sample)
        elif self._changed:
            self._changed = False  # the first sample is of the change itself, or of the start
        elif self._step is not _Step.NONE:
            self._judge(sample)
        elif sample.fed:  # else the frontier was the limit, not the lanes
            self._rates.append(sample.rate)
            if self._rest:
                self._rest -= 1
            else:
                self._try(sample)
        return self.lanes

    def _judge(self, sample: Sample) -> None:
        """Let samples vote on a step; two of a kind decide.

        Somebody else may have had the machine, or the server, for one of them.
        """
        lanes, rate = self._before
        pays = sample.rate >= rate * (WORTH if self._step is _Step.UP else HARMLESS)
        if not pays and not sample.fed:
            return
        self._rates.append(sample.rate)
        self._votes[pays] += 1
        if self._votes[True] == 2:
            self._keep(sample)
        elif self._votes[False] == 2:
            self._go(_Step.NONE, lanes)
            self._settle(self._next)

    def _keep(self, sample: Sample) -> None:
        self._again, self._patience = True, PATIENCE
        self._rates = self._rates or [sample.rate]
        self._try(sample)

    def _try(self, sample: Sample) -> None:
        """Take a step, if there is one to take."""
        self._before = (self.lanes, _median(self._rates[-3:]))
        if self._next is _Step.UP and sample.cpu < CPU_BOUND and self.lanes < self._most:
            self._go(_Step.UP, min(2 * self.lanes, self._most))
        elif self._next is _Step.DOWN and self.lanes > 1:
            self._go(_Step.DOWN, self.lanes // 2)
        else:
            self._settle(_Step.NONE)

    def _go(self, step: _Step, lanes: int) -> None:
        self._step, self.lanes, self._changed = step, lanes, True
        self._rates = []
        self._votes = {True: 0, False: 0}

    def _settle(self, failed: _Step) -> None:
        """Rest for a while; try a failed step up again after that, or else the other way."""
        self._step = _Step.NONE
        if failed is _Step.UP and self._again:
            self._again, self._rest = False, SOON
            return
        self._next = _Step.DOWN if self._next is _Step.UP else _Step.UP
        self._rest, self._patience = self._patience, min(2 * self._patience, MOST_PATIENCE)


def _median(rates: list[float]) -> float:
    """Return the (upper) median; `statistics` takes 20 ms to import."""
    return sorted(rates)[len(rates) // 2]


class Bucket:
    """Operations a second for all lanes: what was spent is waited for before the next unit.

    Nothing is saved up while lanes are idle, so a server never sees a burst above the units that
    are under way: as many entries in all as a tenth of a second may look at.
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

    def unit_entries(self, units: int) -> int:
        """Return how many entries each of so many *units* may have, to wait a tenth of a second."""
        return max(int(self._rate / (10 * units)), 1)


class BackOff:
    """Pauses of the whole run after errors that may pass, each twice as long as the one before."""

    def __init__(self) -> None:
        """Begin without a pause."""
        self._pause = 0.0
        self._until = 0.0

    def failed(self, now: float) -> None:
        """Take note of such an error at *now* (monotonic seconds).

        One of a unit that was under way when the pause began says nothing new.
        """
        if now >= self._until:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._until = now + self._pause

    def succeeded(self, now: float) -> None:
        """Take note that what was tried after the pause went well."""
        if now > self._until:
            self._pause = 0.0

    def wait(self, now: float) -> float:
        """Return how many seconds to wait from *now* before the next unit."""
        return max(self._until - now, 0.0)
