"""Scopes: wide directories that are being read, and are counted apart until they are read.

The names of a wide directory go to all lanes while it is still being read. If a session is cut off
then, nothing tells which names had been handed out, so the next session reads the directory again.
Until its end is read, whatever is found in it is therefore counted under the number of its scope;
if it has to be read again the journal forgets those counts (see `journal.counting`).

    lane 1    finds the directory: opens scope 7
    lane 2                  reads on, finds changes    applies them . . . . .  finished: 7 is closed
    lane 3                         scans some names: counted under 7
    lane 4                                             reads on to the end, finished

While one unit applies what it has read, the next one reads on: each is a reader of the scope, and
the last one that is finished closes it. A wide directory inside another belongs to the scope of the
outer one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..journal.store import Journal, Write
from ..model import Scan, Unit


class Scopes:
    """The open scopes, each with the number of units that read it or apply what they have read."""

    def __init__(self, soon: Callable[[Write], None], next_number: Callable[[], int]) -> None:
        """Write to the journal by *soon*; take the numbers of new scopes from *next_number*."""
        self._soon = soon
        self._next_number = next_number
        self._reading: dict[int, int] = {}

    @property
    def cursors(self) -> int:
        """The number of readers in all scopes."""
        return sum(self._reading.values())

    def of(self, unit: Unit) -> int:
        """Return the scope that a unit is counted under; 0, the run's, once its own is closed."""
        return unit.scope if unit.scope in self._reading else 0

    def of_wide(self, unit: Unit, scan: Scan) -> int:
        """Return the scope of the names that *scan* read; opens one for a new wide directory."""
        scope = self.of(unit)
        if scan.wide is None or unit.cursor is not None:
            return scope
        if not scope:
            scope = self._next_number()
            self._reading[scope] = 0
            self._soon(partial(Journal.open_scope, scope=scope, body=scan.wide.body))
        self._reading[scope] += 1
        return scope

    def share(self, unit: Unit) -> None:
        """Note that another unit reads on while *unit* is not finished."""
        self._reading[unit.scope] += 1

    def read_on(self, unit: Unit, scan: Scan) -> None:
        """Note that *unit* is finished; close its scope if it was the last reader."""
        if unit.cursor is None or scan.wide is not None:
            return
        self._reading[unit.scope] -= 1
        if not self._reading[unit.scope]:
            del self._reading[unit.scope]
            self._soon(partial(Journal.close_scope, scope=unit.scope))
