"""Which changes of a run a unit of its undo puts back, and which entries were tried several times.

A change that failed is tried again in another batch, sometimes in several. Such an entry goes back
by all its tries, the last one first, and is one entry; so its tries are in one unit. All others go
back batch by batch.

A unit's body is parts, of which none is cut off:

    part    u64 batch, u32 number of changes (EVERY: those that were tried once), u32 index of each
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..packed.changes import Change

HEAD = struct.Struct("<QI")
EVERY = 0xFFFFFFFF
# Entries that were tried several times, in one unit.
AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Part:
    """Changes of one batch by their index; None: all but those of entries tried several times."""

    batch: int
    indices: frozenset[int] | None = None

    def pack(self) -> bytes:
        """Return the part as a unit's body has it."""
        if self.indices is None:
            return HEAD.pack(self.batch, EVERY)
        return HEAD.pack(self.batch, len(self.indices)) + _packed(self.indices)


def read_parts(body: bytes) -> Iterator[Part]:
    """Yield the parts of a unit's body."""
    at = 0
    while at < len(body):
        batch, count = HEAD.unpack_from(body, at)
        at += HEAD.size
        if count == EVERY:
            yield Part(batch)
            continue
        yield Part(batch, frozenset(struct.unpack_from(f"<{count}I", body, at)))
        at += 4 * count


def _packed(indices: Iterable[int]) -> bytes:
    ordered = sorted(indices)
    return struct.pack(f"<{len(ordered)}I", *ordered)


def entry_of(change: Change) -> int:
    """Return what tells the entries of one process apart."""
    return hash((change.path, change.inode))


class RetriedEntries:
    """The entries of a run that were tried more than once, or once in vain."""

    def __init__(
        self,
        batches: Iterable[int],
        failed: Callable[[int], Iterable[Change]],
        touched: Callable[[int], Iterable[Change]],
    ) -> None:
        """Find them in *batches*, oldest first, each with changes that *failed*, or may be made.

        Takes some 100 bytes of memory for an entry that failed.
        """
        self._units: dict[int, int] = {}  # of entries
        self._batches = array("q", batches)
        self._touched = touched
        for batch in self._batches:
            for change in failed(batch):
                self._units.setdefault(entry_of(change), len(self._units) // AT_ONCE)

    def __contains__(self, change: Change) -> bool:
        return bool(self._units) and entry_of(change) in self._units

    def bodies(self) -> list[bytes]:
        """Return the bodies of the units that put these entries back, each newest try first."""
        if not self._units:
            return []
        bodies: list[list[bytes]] = [[] for _ in range(max(self._units.values()) + 1)]
        for batch in self._batches:
            found: dict[int, set[int]] = {}
            for change in self._touched(batch):
                unit = self._units.get(entry_of(change))
                if unit is not None:
                    found.setdefault(unit, set()).add(change.index)
            for unit, indices in found.items():
                bodies[unit].append(Part(batch, frozenset(indices)).pack())
        return [b"".join(reversed(parts)) for parts in bodies]
