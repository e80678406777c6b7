"""How many volumes are upgraded together: as many as keep no lock for long.

v0.4 cannot open a volume whose lock we hold, and a batch holds those of all its volumes until the
last one is done. Twice as many volumes take twice as long at most, so a batch is doubled only after
one that took half of what it may.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

LONGEST = 2.0  # seconds that a batch may hold its locks
FIRST = 16
MOST = 128


@dataclass(slots=True)
class Pace:
    """Finds how many volumes the next batch may have. Lanes share one."""

    clock: Callable[[], float] = monotonic
    most: int = FIRST

    def observe(self, volumes: int, since: float) -> None:
        """Note that the locks of a batch, acquired at *since* by the clock, are released now."""
        seconds = self.clock() - since
        if seconds > 0.75 * LONGEST:
            self.most = max(1, int(volumes * LONGEST / 2 / seconds))
        elif volumes >= self.most and seconds <= LONGEST / 2:
            self.most = min(MOST, 2 * self.most)
