"""Scopes: wide directories that are being read, whose counts are not final until they are read.

The names of a wide directory go to all lanes while it is still being read. A session that is cut
off then cannot tell which names it had handed out, so the next one reads the directory again. Until
it is read to its end, what is found in it is therefore counted apart, under its scope's number; the
journal forgets those counts (not the changes) when it has to be read again.

Where a unit acts on what it found in a wide directory, others read on meanwhile: each is a reader.

A wide directory inside another belongs to the outer one's scope.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..journal.store import Journal, Write
from ..model import Scan, Unit


class Scopes:
    """Which scopes are open, and how many units read wide directories, or act on them, in each."""

    def __init__(self, soon: Callable[[Write], None], next_number: Callable[[], int]) -> None:
        """Write to the journal by *soon*; take the numbers of new scopes from *next_number*."""
        self._soon = soon
        self._next_number = next_number
        self._reading: dict[int, int] = {}

    @property
    def cursors(self) -> int:
        """How many units read wide directories."""
        return sum(self._reading.values())

    def of(self, unit: Unit) -> int:
        """Return the scope that a unit counts under: 0, the run's, once its own is closed."""
        return unit.scope if unit.scope in self._reading else 0

    def of_wide(self, unit: Unit, scan: Scan) -> int:
        """Return the scope of what *scan* found in a wide directory; opens one for a new one."""
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
        """Take note that another unit reads on while *unit* is not finished."""
        self._reading[unit.scope] += 1

    def read_on(self, unit: Unit, scan: Scan) -> None:
        """Take note that a unit continued a wide directory, perhaps to its end."""
        if unit.cursor is None or scan.wide is not None:
            return
        self._reading[unit.scope] -= 1
        if not self._reading[unit.scope]:
            del self._reading[unit.scope]
            self._soon(partial(Journal.close_scope, scope=unit.scope))
