"""How large the next unit may be, and how long it has to wait.

Feeds the pure controllers with what units cost, and asks them.
"""

from __future__ import annotations

import trio

from ..model import Limits, StopFlag
from .controllers import BackOff, Bucket
from .frontier import Frontier
from .halt import Halt
from .limits import MOST_ENTRIES, UnitSize

# The factor by which units are shortened while lanes are idle.
HUNGRY = 0.1


class Throttle:
    """One for all lanes."""

    def __init__(self, frontier: Frontier, halt: Halt, unit_seconds: float, max_ops: int) -> None:
        """Aim at units of *unit_seconds*, and at most *max_ops* operations a second (0: any)."""
        self.operations = 0  # so far: one a scanned entry, two more a change
        self.back_off = BackOff()
        self._frontier = frontier
        self._halt = halt
        self._sizes = UnitSize(unit_seconds)
        self._bucket = Bucket(max_ops) if max_ops else None

    @property
    def stop_flag(self) -> StopFlag:
        """What worker threads look at to end early."""
        return self._halt.flag

    @property
    def wanted_entries(self) -> int:
        """How many entries the next units of all tasks hold, if every entry must change."""
        return self._frontier.tasks * self._sizes.changes

    def limits(self) -> Limits:
        """Return how large the next unit may be."""
        seconds, entries = self._sizes.seconds, MOST_ENTRIES
        if self._frontier.is_hungry:
            seconds *= HUNGRY
        if self._bucket is not None:
            entries = min(entries, self._bucket.unit_entries(self._frontier.tasks))
        return Limits(seconds, entries, min(self._sizes.changes, entries), self._halt.flag)

    def spend(self, operations: int) -> None:
        """Note operations that were done."""
        self.operations += operations
        if self._bucket is not None:
            self._bucket.spend(operations, trio.current_time())

    def applied(self, changes: int, seconds: float) -> None:
        """Note what the scan and the apply of a unit with *changes* took."""
        self._sizes.observe(changes, seconds)

    async def calm(self) -> None:
        """Wait until transient errors have had time to pass, and for --max-ops; or for the halt."""
        while (left := self._pause()) > 0 and not self._halt:
            await self._halt.wait(left)

    def _pause(self) -> float:
        now = trio.current_time()
        bucket = self._bucket.wait(now) if self._bucket else 0.0
        return max(self.back_off.wait(now), bucket)
