"""How many lanes serve best, and how fast they may go. Pure: samples and times in, decisions out.

A local disk with a warm cache needs as many lanes as there are cores, one with a cold cache some
more, a share with latency as many as keep the server busy. None of that is known in advance. So the
controller doubles the lanes while that pays, and takes a step back when it does not.

The thresholds were tuned by the simulations in tests/engine/test_controllers.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A step up by which the rate grows by this factor is kept after one sample.
CLEAR = 1.4
# Otherwise it is kept once two samples are better by this factor; undone once two are not.
WORTH = 1.05
# A step down is kept if the rate stays above this factor.
HARMLESS = 0.97
# Above this fraction of all cores, more lanes would only wait for the CPU.
CPU_BOUND = 0.9
# Samples after which a step up that did not pay is tried once more: it may have been bad luck.
SOON = 5
# Samples before a step the other way; doubled each time that nothing is gained.
PATIENCE, MOST_PATIENCE = 10, 40
# Seconds for which a run pauses after transient errors.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """About a second: operations a second, CPU fraction of all cores, and if all lanes had work."""

    rate: float
    cpu: float
    fed: bool = True


class _Step(Enum):
    NONE = 0
    UP = 1
    DOWN = -1


class LaneController:
    """Climbs a hill in doublings; `lanes` is the decision."""

    def __init__(self, first: int, most: int) -> None:
        """Begin with *first* lanes, never more than *most*."""
        self.lanes = first
        self._most = most
        self._step = _Step.NONE
        self._before = (first, 0.0)  # lanes and rate before the step
        self._rates: list[float] = []  # at this number of lanes
        self._changed = True
        self._votes = {True: 0, False: 0}  # for (True) and against the step
        self._next = _Step.UP
        self._may_retry_up = True  # whether a step up may be tried again soon
        self._samples_to_rest = 0
        self._patience = PATIENCE

    def observe(self, sample: Sample) -> int:
        """Take a sample at the present number of lanes; return the number there should be."""
        if self._step is _Step.UP and sample.rate >= CLEAR * self._before[1]:
            self._keep(sample)
        elif self._changed:
            self._changed = False  # the first sample has the change itself in it, or the start
        elif self._step is not _Step.NONE:
            self._judge(sample)
        elif sample.fed:  # else there was too little work, not too few lanes
            self._rates.append(sample.rate)
            if self._samples_to_rest:
                self._samples_to_rest -= 1
            else:
                self._try(sample)
        return self.lanes

    def _judge(self, sample: Sample) -> None:
        """Let samples vote on the last step; two equal votes decide.

        One alone may be wrong: others use the machine and the server, too.
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
            self._rest(self._next)

    def _keep(self, sample: Sample) -> None:
        self._may_retry_up, self._patience = True, PATIENCE
        self._rates = self._rates or [sample.rate]
        self._try(sample)

    def _try(self, sample: Sample) -> None:
        """Take the next step, if it is possible."""
        self._before = (self.lanes, _median(self._rates[-3:]))
        if self._next is _Step.UP and sample.cpu < CPU_BOUND and self.lanes < self._most:
            self._go(_Step.UP, min(2 * self.lanes, self._most))
        elif self._next is _Step.DOWN and self.lanes > 1:
            self._go(_Step.DOWN, self.lanes // 2)
        else:
            self._rest(_Step.NONE)

    def _go(self, step: _Step, lanes: int) -> None:
        self._step, self.lanes, self._changed = step, lanes, True
        self._rates = []
        self._votes = {True: 0, False: 0}

    def _rest(self, failed: _Step) -> None:
        """Rest for some samples; then try a failed step up again, or else the other direction."""
        self._step = _Step.NONE
        if failed is _Step.UP and self._may_retry_up:
            self._may_retry_up, self._samples_to_rest = False, SOON
            return
        self._next = _Step.DOWN if self._next is _Step.UP else _Step.UP
        self._samples_to_rest, self._patience = (
            self._patience,
            min(2 * self._patience, MOST_PATIENCE),
        )


def _median(rates: list[float]) -> float:
    """Return the (upper) median; `statistics` takes 20 ms to import."""
    return sorted(rates)[len(rates) // 2]


class Bucket:
    """Limits operations a second of all lanes: the next unit waits until the last are paid for.

    Nothing is saved while lanes are idle. So the largest burst that a server sees is the units in
    flight, which are kept to a tenth of a second's entries in all.
    """

    def __init__(self, rate: float) -> None:
        """Allow *rate* operations a second."""
        self._rate = rate
        self._paid_until: float | None = None

    def spend(self, operations: int, now: float) -> None:
        """Note operations that were done until *now* (monotonic seconds)."""
        start = now if self._paid_until is None else max(self._paid_until, now - 1.0)
        self._paid_until = start + operations / self._rate

    def wait(self, now: float) -> float:
        """Return the seconds from *now* until the next unit may begin."""
        return 0.0 if self._paid_until is None else max(self._paid_until - now, 0.0)

    def unit_entries(self, units: int) -> int:
        """Return how many entries each of *units* may have, for a tenth of a second in all."""
        return max(int(self._rate / (10 * units)), 1)


class BackOff:
    """Pauses of the whole run after transient errors, each twice as long as the one before."""

    def __init__(self) -> None:
        """Begin without a pause."""
        self._pause = 0.0
        self._until = 0.0

    def failed(self, now: float) -> None:
        """Note such an error at *now* (monotonic seconds).

        Errors of units that were in flight when the pause began do not lengthen it.
        """
        if now >= self._until:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._until = now + self._pause

    def succeeded(self, now: float) -> None:
        """Note that something succeeded after the pause."""
        if now > self._until:
            self._pause = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds from *now* until the next unit may begin."""
        return max(self._until - now, 0.0)
