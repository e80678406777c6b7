"""The frontier: units that wait for a lane, last in, first out.

Invariant: every unit that waits, or that a lane works on, is in the journal's frontier too, or in a
write that waits for the next commit. So the bodies at the bottom of the stack may be dropped from
memory; they are read back when their turn comes.

Deferred units wait below all others, only in the journal. They are taken once no other unit waits
and no task is working, last in, first out, and many small ones joined.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

import trio

from ..model import DEFERRED, Unit

# Larger bodies are split, so that no lane copies a large one about (1 MiB: 20,000 names).
LARGE_BODY = 1 << 20
# Bodies beyond this are dropped from memory: some 300,000 names.
MEMORY = 16 << 20
# Deferred units are joined up to a body of this size: 1,000 directories, or so.
JOINED_BODY = 64 << 10

Split = Callable[[Unit, int], Sequence[Unit]]
Join = Callable[[Sequence[Unit]], Unit]


class Frontier:
    """The units that wait, by number. `take` hands one out, and splits it while tasks are idle."""

    def __init__(
        self,
        load: Callable[[int], Awaitable[Unit]],
        store: Callable[[int, Unit], None],
        remove: Callable[[int], None],
        split: Split,
        join: Join,
        last_number: int,
    ) -> None:
        """Read units back from the journal by *load*, write them by *store*, remove by *remove*.

        *split* and *join* are those of `Job`; *last_number* is the highest that the journal knows.
        """
        self.tasks = 1  # how many tasks take units
        self.entries = 0  # of units that wait; each may stand for many more below it
        self._load = load
        self._store = store
        self._remove = remove
        self._split = split
        self._join = join
        self._last = last_number
        self._stack: list[tuple[int, Unit | None]] = []  # None: only in the journal
        self._deferred: list[int] = []
        self._bytes = 0  # of bodies in memory
        self._bottom = 0  # below this index no body is left that could be dropped
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
        """Add units that are in the journal already."""
        for number, unit in units:
            if unit.scope == DEFERRED:
                self._deferred.append(number)
            else:
                self._push(number, unit)

    def defer(self, unit: Unit) -> None:
        """Put a unit below all others, but above those that were deferred before."""
        number = self.next_number()
        self._store(number, replace(unit, scope=DEFERRED))
        self._deferred.append(number)

    def add(self, units: Iterable[Unit]) -> None:
        """Put units on top, the last one topmost, and into the journal."""
        for unit in units:
            for piece in self._pieces(unit):
                number = self.next_number()
                self._store(number, piece)
                self._push(number, piece)
        self._parked.unpark_all()

    async def take(self) -> tuple[int, Unit] | None:
        """Wait for a unit and return it; None if nothing is left to do, or after `close`.

        Whoever takes a unit calls `finished` in the end. If cancelled while waiting, takes none.
        """
        while not self._closed:
            if self._stack:
                return await self._pop()
            if not self._working:
                if self._deferred:
                    return await self._take_deferred()
                self._parked.unpark_all()
                return None
            self._idle += 1
            try:
                await self._parked.park()
            finally:
                self._idle -= 1
        return None

    def finished(self) -> None:
        """Note that a unit is finished, and that the units that came of it were added."""
        self._working -= 1
        if not self._working and not self._stack:
            self._parked.unpark_all()

    def close(self) -> None:
        """Hand out no more units; those that wait stay in the journal."""
        self._closed = True
        self._parked.unpark_all()

    def close_cursors(self) -> None:
        """Close the wide directories that are still open."""
        for _, unit in self._stack:
            if unit is not None and unit.cursor is not None:
                unit.cursor.close()

    @property
    def is_hungry(self) -> bool:
        """Whether a task waits for a unit: then smaller units serve better."""
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
            unit, *others = self._split(unit, wanted + 1)
            self._store(number, unit)
            self.add(others)
        return number, unit

    async def _take_deferred(self) -> tuple[int, Unit]:
        self._working += 1
        number = self._deferred.pop()
        unit = await self._load(number)
        joined, size = {}, len(unit.body)
        while self._deferred and size < JOINED_BODY:
            lower = self._deferred.pop()
            joined[lower] = await self._load(lower)
            size += len(joined[lower].body)
        if joined:  # in one transaction: nothing here waits
            unit = replace(self._join([unit, *joined.values()]), scope=DEFERRED)
            self._store(number, unit)
            for lower in joined:
                self._remove(lower)
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

    def _pieces(self, unit: Unit) -> Sequence[Unit]:
        """Split a unit with a large body; a single name, however deep its path, stays whole."""
        if len(unit.body) <= LARGE_BODY or unit.entries == 1:
            return [unit]
        return self._split(unit, 1 + len(unit.body) // LARGE_BODY)


def with_scope(units: Iterable[Unit], scope: int) -> list[Unit]:
    """Return the units as part of *scope*."""
    return [replace(unit, scope=scope) for unit in units]
