"""The frontier: units that wait for a lane, last in, first out.

Invariant: every unit that waits or is in a lane's hands is in the journal's frontier too, or on its
way there, so the bodies at the bottom can be let go when they take too much memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import trio

from ..model import Unit
from ..packed.groups import split_unit

# A body above this is cut, so that no lane copies a large one about (1 MiB: 20,000 names).
LARGE_BODY = 1 << 20
# Bodies beyond this leave memory for the journal: some 300,000 names.
MEMORY = 16 << 20


class Frontier:
    """Units waiting, by number. `take` hands one out and splits it while lanes are idle."""

    def __init__(
        self,
        load: Callable[[int], Awaitable[Unit]],
        store: Callable[[int, Unit], None],
        last_number: int,
    ) -> None:
        """Read units back from the journal by *load*, write them there by *store*."""
        self.tasks = 1  # how many tasks take units
        self._load = load
        self._store = store
        self._last = last_number
        self._stack: list[tuple[int, Unit | None]] = []
        self.entries = 0  # names in units that wait, each of which may stand for many entries
        self._bytes = 0
        self._bottom = 0  # how many at the bottom are known to have left memory
        self._working = 0
        self._idle = 0
        self._parked = trio.lowlevel.ParkingLot()
        self._closed = False

    def __len__(self) -> int:
        return len(self._stack)

    def next_number(self) -> int:
        """Return a number that no unit, batch or scope has had."""
        self._last += 1
        return self._last

    def restore(self, units: Iterable[tuple[int, Unit]]) -> None:
        """Take units that are in the journal already."""
        for number, unit in units:
            self._push(number, unit)

    def add(self, units: Iterable[Unit]) -> None:
        """Put units on top, the last one topmost, and into the journal."""
        for unit in units:
            for piece in _pieces(unit):
                number = self.next_number()
                self._store(number, piece)
                self._push(number, piece)
        self._parked.unpark_all()

    async def take(self) -> tuple[int, Unit] | None:
        """Wait for a unit; None when there is nothing left to do, or after `close`."""
        while not self._closed:
            if self._stack:
                return await self._pop()
            if not self._working:
                self._parked.unpark_all()
                return None
            self._idle += 1
            try:
                await self._parked.park()
            finally:
                self._idle -= 1
        return None

    def finished(self) -> None:
        """Say that a unit taken is done, after what came of it was added."""
        self._working -= 1
        if not self._working and not self._stack:
            self._parked.unpark_all()

    def close(self) -> None:
        """Hand out nothing more; what waits stays in the journal."""
        self._closed = True
        self._parked.unpark_all()

    def close_cursors(self) -> None:
        """Close the wide directories that are still open."""
        for _, unit in self._stack:
            if unit is not None and unit.cursor is not None:
                unit.cursor.close()

    @property
    def is_hungry(self) -> bool:
        """Whether a lane waits for a unit: small ones serve better then."""
        return self._idle > 0

    async def _pop(self) -> tuple[int, Unit]:
        number, unit = self._stack.pop()
        self._working += 1
        self._bottom = min(self._bottom, len(self._stack))
        if unit is None:
            unit = await self._load(number)
        else:
            self._bytes -= len(unit.body)
        self.entries -= unit.entries
        wanted = self._idle - len(self._stack)
        if wanted > 0 and unit.entries > 1:
            unit, *others = split_unit(unit, wanted + 1)
            self._store(number, unit)
            self.add(others)
        return number, unit

    def _push(self, number: int, unit: Unit) -> None:
        self._stack.append((number, unit))
        self._bytes += len(unit.body)
        self.entries += unit.entries
        while self._bytes > MEMORY and self._bottom < len(self._stack) - self.tasks:
            number, lowest = self._stack[self._bottom]
            if lowest is not None and lowest.cursor is None:
                self._stack[self._bottom] = (number, None)
                self._bytes -= len(lowest.body)
            self._bottom += 1


def _pieces(unit: Unit) -> list[Unit]:
    """Cut a unit with a large body; a single name, however deep its path, stays whole."""
    if len(unit.body) <= LARGE_BODY or unit.entries == 1:
        return [unit]
    return split_unit(unit, 1 + len(unit.body) // LARGE_BODY)


def with_scope(units: Iterable[Unit], scope: int) -> list[Unit]:
    """Return the units as part of *scope*."""
    return [replace(unit, scope=scope) for unit in units]
