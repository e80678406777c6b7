"""Making a share: its trees, the objects, the volumes that v0.3 left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..maps.format import v1
from .others import MapPlace, OtherVolumes, add_others, dir_of_v1
from .tree import LEVELS, Layout, Tree, make_directory, open_empty

NO_OTHERS = OtherVolumes()


@dataclass(frozen=True, slots=True)
class ShareSize:
    """What a share is made of: `directories` with its root, `files` with maps, blocks and locks."""

    files: int
    directories: int
    volumes: int


def make_share(
    directory: str,
    *,
    objects: int,
    volumes: int,
    layout: Layout = Layout.FILED,
    seed: int = 0,
    object_bytes: int = 64,
    others: OtherVolumes = NO_OTHERS,
) -> ShareSize:
    """Make a share in *directory*, which is made too unless it is there and empty.

    Each object holds 0 to *object_bytes* bytes. The objects are dealt out to the volumes in equal
    shares; about one map entry in four is the zero block. The *others* are added to these volumes.

    Raises ValueError if a number is out of range, and OSError: ENOTEMPTY if *directory* holds
    something, ENOTDIR if it is none; nothing was touched then. What was made before any other error
    stays.
    """
    if min(objects, volumes) < 0:
        raise ValueError("there is no negative number of objects or volumes")
    others.check()
    if others.place is not MapPlace.V04 and layout is not Layout.FILED:
        raise ValueError(f"maps at {others.place} places have the layout {Layout.FILED}")
    if not 0 <= object_bytes <= v1.OBJECT_SIZE:
        raise ValueError(f"an object has 0 to {v1.OBJECT_SIZE} bytes")
    rng = random.Random(seed)  # noqa: S311 (not for secrets: the same seed gives the same share)
    top = open_empty(directory)
    opened = [top]
    try:
        trees = {}
        for name in ("maps", "blocks", "locks"):
            opened.append(make_directory(top, name))
            trees[name] = Tree(opened[-1], LEVELS[layout])
        parts = max(volumes, 1)  # without volumes, objects that no map refers to
        for number in range(parts):
            count = _part_of(objects, number, parts)
            digests = [_add_object(trees["blocks"], rng, object_bytes) for _ in range(count)]
            if number < volumes:
                volume = b"archip_vol%06d" % number
                place = dir_of_v1(volume, others.place)
                trees["maps"].add(volume, _map_of(digests, rng), place)
        above = Tree(top, 0)
        add_others(above, trees["maps"], trees["locks"], others, seed)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return ShareSize(
        files=above.files + sum(tree.files for tree in trees.values()),
        directories=1 + sum(1 + tree.directories for tree in trees.values()),
        volumes=volumes + others.count,
    )


def _part_of(total: int, number: int, parts: int) -> int:
    """Return the size of part *number* of *total* things dealt out to *parts*."""
    return total * (number + 1) // parts - total * number // parts


def _add_object(blocks: Tree, rng: random.Random, object_bytes: int) -> bytes:
    """Add an object of random name and content; return the digest that a map calls it by."""
    digest = rng.randbytes(32)
    blocks.add(b"archip_" + digest.hex().encode(), rng.randbytes(rng.randint(0, object_bytes)))
    return digest


def _map_of(digests: Sequence[bytes], rng: random.Random) -> bytes:
    """Return the map of a volume of these objects and some zero blocks, in random order."""
    entries = [v1.EntryV1(1, digest) for digest in digests]
    entries += [v1.EntryV1(0, v1.ZERO_DIGEST)] * (len(digests) // 3 + 1)
    rng.shuffle(entries)
    return v1.encode_v1(len(entries) * v1.OBJECT_SIZE, entries)
