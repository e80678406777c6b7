"""Entries that a run retried, and the units of its undo.

A change that failed is retried in another batch, sometimes in several. Retried entries are undone
attempt by attempt, newest first. All attempts at one entry are in one unit, which counts it once.
Entries that were tried once are undone batch by batch.

The body of a unit is a sequence of parts, to its end:

    part    u64 batch, u32 changes, for each u32 index; changes = EVERY, without indices: all
            changes of the batch but those of retried entries
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from ..packed.changes import Change
from .chosen import pack_inodes

HEAD = struct.Struct("<QI")
EVERY = 0xFFFFFFFF
# Retried entries in one unit.
AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Part:
    """Changes of one batch by their index; None: all but those of retried entries."""

    batch: int
    indices: frozenset[int] | None = None

    def pack(self) -> bytes:
        """Return the part in its packed form."""
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


def parts_of(changes: Iterable[tuple[int, int]]) -> list[Part]:
    """Return the parts for changes that are given, in order, by their batches and indices."""
    return [
        Part(batch, frozenset(index for _, index in same))
        for batch, same in groupby(changes, key=itemgetter(0))
    ]


def _packed(indices: Iterable[int]) -> bytes:
    ordered = sorted(indices)
    return struct.pack(f"<{len(ordered)}I", *ordered)


def entry_of(change: Change) -> int:
    """Return a key of the entry. It is the same in one process only."""
    return hash((change.path, change.inode))


class RetriedEntries:
    """The entries of a run of which an attempt failed: those were, or might be, retried."""

    def __init__(
        self,
        batches: Iterable[int],
        failed: Callable[[int], Iterable[Change]],
        touched: Callable[[int, bytes], Iterable[Change]],
    ) -> None:
        """Find them in *batches*, oldest first.

        *failed* returns the changes of a batch that failed, *touched* those that may have been
        made, of entries of some `inodes`. Takes some 100 bytes of memory for an entry that failed.
        """
        self._units: dict[int, int] = {}  # the unit of each entry
        self._batches = array("q", batches)
        self._touched = touched
        inodes = array("Q")
        for batch in self._batches:
            for change in failed(batch):
                self._units.setdefault(entry_of(change), len(self._units) // AT_ONCE)
                inodes.append(change.inode)
        self.inodes = pack_inodes(inodes)

    def __bool__(self) -> bool:
        return bool(self._units)

    def __contains__(self, change: Change) -> bool:
        return entry_of(change) in self._units

    def bodies(self) -> list[bytes]:
        """Return the bodies of the units that undo these entries, newest attempts first."""
        if not self._units:
            return []
        bodies: list[list[bytes]] = [[] for _ in range(max(self._units.values()) + 1)]
        for batch in self._batches:
            found: dict[int, set[int]] = {}
            for change in self._touched(batch, self.inodes):
                unit = self._units.get(entry_of(change))
                if unit is not None:
                    found.setdefault(unit, set()).add(change.index)
            for unit, indices in found.items():
                bodies[unit].append(Part(batch, frozenset(indices)).pack())
        return [b"".join(reversed(parts)) for parts in bodies]
