"""Volumes of kinds other than v0.3 left behind: their maps, their locks, their sizes.

Each volume depends on the seed, its name and the length of its map, and on nothing else. The
objects that a map refers to are not made: no upgrade reads them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from ..layout.names import PREFIX
from ..layout.placement import pithos_dir, v03_dir
from ..maps.format import v1, v2
from ..tree.files import DirPath
from .tree import BlockerTree

LOCK_SUFFIX = b"_lock"
LOCK_MODE = 0o660
HOLDER = b"otherhost_1002"  # as a v0.4 blocker of maps on another host writes it
SIZES = b"sizes.csv"
# By field of OtherVolumes, in their order; the name of a v0 map is random digits.
NAMES = {
    "v1": b"archip_%06d-v1",
    "v1_in_place": b"%06d-v1-in-place",
    "v0": b"",
    "v2": b"%06d-v2",
    "half_renamed": b"archip_%06d-half-renamed",
}


class MapPlacement(StrEnum):
    """Whose rule places the maps that v0.4 did not write."""

    V04 = "v04"  # v0.4's: all maps
    V03 = "v03"  # v0.3's: v1 maps with the prefix
    PITHOS = "pithos"  # Pithos': v0 maps


@dataclass(frozen=True, slots=True)
class OtherVolumes:
    """How many volumes of each kind to add, of `objects` each, and where their v1 and v0 maps lie.

    Another host holds the locks of the first `locks` of them, in the order of the fields: beside
    the maps, or in the lock directory.
    """

    v1: int = 0
    v1_in_place: int = 0  # without the prefix
    v0: int = 0
    v2: int = 0
    half_renamed: int = 0  # v2 with the prefix: an upgrade that was cut off
    objects: int = 100
    placement: MapPlacement = MapPlacement.V04
    locks: int = 0
    lock_dir: bool = False

    @property
    def count(self) -> int:
        """The number of volumes."""
        return sum(self._counts())

    def check(self) -> None:
        """Raise ValueError if a number is out of range."""
        if min(*self._counts(), self.objects, self.locks) < 0:
            raise ValueError("there is no negative number of volumes, objects or locks")
        if self.locks > self.count:
            raise ValueError(f"{self.locks} locks are more than the {self.count} volumes to lock")

    def _counts(self) -> list[int]:
        return [getattr(self, kind) for kind in NAMES]


def dir_of_v1(name: bytes, placement: MapPlacement) -> DirPath | None:
    """Return the directory of a v1 map; None: the layout's, as v0.4 has it.

    v0.3 had no maps without the prefix.
    """
    by_v03 = placement is MapPlacement.V03 and name.startswith(PREFIX)
    return v03_dir(name) if by_v03 else None


def add_others(
    top: BlockerTree, maps: BlockerTree, locks: BlockerTree, others: OtherVolumes, seed: int
) -> None:
    """Add the volumes and their locks; and `sizes.csv` in *top* if there are v0 maps."""
    sizes = [b"mapfile,size\n"]
    unlocked = others.locks
    for kind in NAMES:
        for number in range(getattr(others, kind)):
            name, size = _add_map(maps, kind, number, others, seed)
            if kind == "v0":
                sizes.append(b"%s,%d\n" % (name, size))
            if unlocked:
                unlocked -= 1
                lock = name.removeprefix(PREFIX) + LOCK_SUFFIX
                if others.lock_dir:
                    locks.add(lock, HOLDER, path=(), mode=LOCK_MODE)
                else:
                    maps.add(lock, HOLDER, mode=LOCK_MODE)
    if others.v0:
        top.add(SIZES, b"".join(sizes), path=())


def _add_map(
    maps: BlockerTree, kind: str, number: int, others: OtherVolumes, seed: int
) -> tuple[bytes, int]:
    """Add a volume's map, and its map blocks if it has any. Return its name and size in bytes."""
    rng = random.Random(f"{seed} {kind} {number}")  # noqa: S311 (as for the objects)
    entries = [_draw(rng) for _ in range(others.objects)]
    size = len(entries) * v1.OBJECT_SIZE
    size -= rng.randrange(v1.OBJECT_SIZE) if entries else 0  # the last object may be a short one
    if kind == "v0":
        name = rng.randbytes(32).hex().encode()
        path = pithos_dir(name) if others.placement is MapPlacement.PITHOS else None
        maps.add(name, b"".join(entry.digest for entry in entries), path)
        return name, size
    name = NAMES[kind] % number
    if kind in ("v1", "v1_in_place"):
        maps.add(name, v1.encode_v1(size, entries), dir_of_v1(name, others.placement))
        return name, size
    maps.add(name, v2.encode_header_v2(v2.HeaderV2(size, epoch=1)))
    for block, first in enumerate(range(0, len(entries), v2.BLOCK_ENTRIES)):
        part = entries[first : first + v2.BLOCK_ENTRIES]
        content = b"".join(v2.encode_entry_v2(_as_v2(entry)) for entry in part)
        maps.add(v2.block_name(name, block), content)
    return name, size


def _draw(rng: random.Random) -> v1.EntryV1:
    """Return an entry: of four, two are a volume's own objects, one is Pithos', one zeros."""
    drawn = rng.randrange(4)
    if drawn == 0:
        return v1.EntryV1(0, v1.ZERO_DIGEST)
    return v1.EntryV1(int(drawn > 1), rng.randbytes(32))


def _as_v2(entry: v1.EntryV1) -> v2.EntryV2:
    """Return the v2 entry that v0.4 makes of a v1 entry."""
    name = entry.digest.hex().encode()
    if entry.flag:
        return v2.EntryV2(v2.EntryFlag.WRITABLE | v2.EntryFlag.ARCHIP, PREFIX + name)
    return v2.EntryV2(v2.EntryFlag.ZERO if entry.digest == v1.ZERO_DIGEST else 0, name)
