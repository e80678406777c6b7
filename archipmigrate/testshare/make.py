"""Make a share: its directories, its objects, and the volumes that v0.3 left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..maps.format import v1
from .contents import part_of
from .others import MapPlacement, OtherVolumes, add_others, dir_of_v1
from .tree import LEVELS, BlockerTree, Layout, make_directory, open_empty

NO_OTHERS = OtherVolumes()


@dataclass(frozen=True, slots=True)
class ShareSize:
    """How much a share has: `directories` with its root, `files` of all kinds, `volumes`."""

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
    """Make a share in *directory*, which must be empty or missing.

    Each object has 0 to *object_bytes* bytes. Every volume gets the same number of objects; about
    one map entry in four is the zero block. *others* come in addition to these volumes.

    Raises ValueError if a number is out of range, and OSError: ENOTEMPTY if *directory* is not
    empty, ENOTDIR if it is a symbolic link or no directory, RefusedDirectory if others own it or
    can write to it; then nothing was made. What was made before any other error stays.
    """
    if min(objects, volumes) < 0:
        raise ValueError("there is no negative number of objects or volumes")
    others.check()
    if others.placement is not MapPlacement.V04 and layout is not Layout.FILED:
        raise ValueError(f"maps placed by {others.placement}'s rule need the layout {Layout.FILED}")
    if not 0 <= object_bytes <= v1.OBJECT_SIZE:
        raise ValueError(f"an object has 0 to {v1.OBJECT_SIZE} bytes")
    rng = random.Random(seed)  # noqa: S311 (not for secrets: the same seed gives the same share)
    top = open_empty(directory)
    opened = [top]
    try:
        trees = {}
        for name in ("maps", "blocks", "locks"):
            opened.append(make_directory(top, name))
            trees[name] = BlockerTree(opened[-1], LEVELS[layout])
        parts = max(volumes, 1)  # without volumes, no map refers to the objects
        for number in range(parts):
            count = len(part_of(objects, number, parts))
            digests = [_add_object(trees["blocks"], rng, object_bytes) for _ in range(count)]
            if number < volumes:
                volume = b"archip_vol%06d" % number
                path = dir_of_v1(volume, others.placement)
                trees["maps"].add(volume, _map_of(digests, rng), path)
        above = BlockerTree(top, 0)
        add_others(above, trees["maps"], trees["locks"], others, seed)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return ShareSize(
        files=above.files + sum(tree.files for tree in trees.values()),
        directories=1 + sum(1 + tree.directories for tree in trees.values()),
        volumes=volumes + others.count,
    )


def _add_object(blocks: BlockerTree, rng: random.Random, object_bytes: int) -> bytes:
    """Add an object of random name and content; return the digest by which maps refer to it."""
    digest = rng.randbytes(32)
    blocks.add(b"archip_" + digest.hex().encode(), rng.randbytes(rng.randint(0, object_bytes)))
    return digest


def _map_of(digests: Sequence[bytes], rng: random.Random) -> bytes:
    """Return the map of a volume of these objects and some zero blocks, in random order."""
    entries = [v1.EntryV1(1, digest) for digest in digests]
    entries += [v1.EntryV1(0, v1.ZERO_DIGEST)] * (len(digests) // 3 + 1)
    rng.shuffle(entries)
    return v1.encode_v1(len(entries) * v1.OBJECT_SIZE, entries)
