"""What a file is, and what the files of one volume are. Looks only.

A look at a volume asks for its files by name, wherever v0.4, v0.3 or Pithos would have put them: a
few calls, and no listing of directories. The survey has seen what lies elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ...tree.files import Place, Tree, open_file, read_pieces, status
from ..format import placement, v2
from ..format.head import HEAD_BYTES, Head, invalid, read_head
from ..format.names import is_digest
from ..format.placement import sha256_place
from ..format.v0 import FitV0
from ..format.v2 import block_name
from ..format.verdict import Candidate, Side, Verdict, Volume

NO_FILE = "not a regular file"


class KnownSizes(Protocol):
    """What Pithos knows of v0 maps."""

    def of(self, name: bytes) -> tuple[int, ...]:
        """Return the sizes given for a name: none, one, or two that differ."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A file of a volume, as a look found it: where, called what, with which status."""

    place: Place
    name: bytes
    status: os.stat_result


def head_of(directory: int, name: bytes, sizes: KnownSizes) -> Head:
    """Read what a file is as a map. Raises OSError, FileNotFoundError among them."""
    try:
        fd = open_file(directory, name)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
            return invalid(NO_FILE)
        raise
    try:
        length = os.fstat(fd).st_size
        digest = is_digest(name)
        return read_head(
            os.pread(fd, HEAD_BYTES, 0),
            length,
            digest=digest,
            sizes=sizes.of(name) if digest else (),
            fit=lambda size: _misfit(fd, size),
        )
    finally:
        os.close(fd)


def _misfit(fd: int, size: int) -> str:
    """Return why a v0 map does not fit a size, or ""."""
    fit = FitV0()
    for piece in read_pieces(fd):
        fit.feed(piece)
    return fit.misfit(size) or ""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one volume found: the volume for its verdict, and its files.

    `maps` are all files of its two names, the plain one's first; `blocks` are those of the prefixed
    map, in order.
    """

    volume: Volume
    maps: list[Spot]
    blocks: list[Spot]

    @property
    def verdict(self) -> Verdict:
        """What the volume is."""
        return self.volume.verdict()

    def sources(self, *, prefixed: bool) -> list[Spot]:
        """Return the files of one of the two names."""
        name = self.volume.side(prefixed=prefixed).name
        return [spot for spot in self.maps if spot.name == name]


def look_at_volume(tree: Tree, name: bytes, sizes: KnownSizes) -> Look:
    """Look at all files of a volume. Raises OSError."""
    look = Look(Volume(name), [], [])
    for side in (look.volume.plain, look.volume.prefixed):
        for place, where in placement.places(side.name):
            _look_at_map(tree, look, side, place, where, sizes)
    for side in (look.volume.plain, look.volume.prefixed):
        head = side.head
        if head is not None and head.version == v2.VERSION:
            for spot in _blocks(tree, side.name, head.header.blocks):
                side.add_block(side.complete, placement.Place.V04, spot.status.st_size)
                if side.prefixed:
                    look.blocks.append(spot)
    return look


def _look_at_map(
    tree: Tree, look: Look, side: Side, place: placement.Place, where: Place, sizes: KnownSizes
) -> None:
    with suppress(FileNotFoundError), tree.directory(where) as directory:
        found = status(directory, side.name)
        if found is None:
            return
        regular = stat.S_ISREG(found.st_mode)
        head = head_of(directory, side.name, sizes) if regular else invalid(NO_FILE)
        side.add_map(Candidate(place, found.st_ino, head))
        look.maps.append(Spot(where, side.name, found))


def _blocks(tree: Tree, name: bytes, count: int) -> Iterator[Spot]:
    """Yield the blocks of a map, up to the first one that is missing or no regular file."""
    for number in range(count):
        spot = find_block(tree, name, number)
        if spot is None or not stat.S_ISREG(spot.status.st_mode):
            return
        yield spot


def find_block(tree: Tree, name: bytes, number: int) -> Spot | None:
    """Return a block where v0.4 looks for it, None if there is none. Raises OSError."""
    block = block_name(name, number)
    place = sha256_place(block)
    try:
        with tree.directory(place) as directory:
            found = status(directory, block)
    except FileNotFoundError:
        return None
    return Spot(place, block, found) if found is not None else None


def v03_lock(tree: Tree, name: bytes) -> bool:
    """Whether v0.3 holds the lock of a map: its empty file lies beside the map at v0.3's place."""
    place = placement.v03_place(name)
    if place is None:
        return False
    try:
        with tree.directory(place) as directory:
            return status(directory, name + b"_lock") is not None
    except FileNotFoundError:
        return False
