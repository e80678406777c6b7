"""Volumes of every kind that can be upgraded: their files before, and after."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.map_shares import (
    ENTRIES_A_BLOCK,
    PREFIX,
    READONLY,
    Entry,
    block_name,
    digests,
    from_v0,
    from_v1,
    pithos_place,
    put,
    put_v2,
    sha256_place,
    v0,
    v03_place,
    v1,
    v1_entries,
    v2_block,
)

VOLUME = "foobar"
OLD = PREFIX + VOLUME
MAP = "2414e36d7bd6484b6f33c9ad9f553c5f99e3b478538c1baff9f544514c8a059c"
FEW = v1_entries(5)
MANY = v1_entries(ENTRIES_A_BLOCK + 1)
DIGESTS = digests(4)
PITHOS_SIZE = (4 << 22) - 100
OWN_MODE = 0o640  # of a map in place: not what a new file gets


@dataclass(frozen=True, slots=True)
class Scene:
    """A volume; `before` and `after` make its files. `size` is that of a v0 map, from Pithos."""

    name: str
    before: Callable[[Path], None]
    after: Callable[[Path], None]
    entries: list[Entry]
    volume: str = VOLUME
    size: int | None = None

    @property
    def sizes(self) -> dict[str, int] | None:
        """The sizes to give to the program."""
        return None if self.size is None else {self.volume: self.size}


def _becomes(entries: list[Entry]) -> Callable[[Path], None]:
    def after(maps: Path) -> None:
        put_v2(maps, VOLUME, from_v1(entries))

    return after


def _in_place(
    name: str, entries: list[Entry], old: bytes, place: Path, **header: int
) -> Callable[[Path], None]:
    """Return a maker of a map whose first 32 bytes were overwritten by a header."""

    def after(maps: Path) -> None:
        made = put_v2(maps, name, entries, place=place, epoch=0, **header)
        put(maps, name, made.read_bytes() + old[32:], place=place, mode=OWN_MODE)

    return after


def _prefixed(maps: Path) -> None:
    put(maps, OLD, v1(FEW))


def _at_v03_place(maps: Path) -> None:
    path = put(maps, OLD, v1(FEW), place=v03_place(OLD), mode=0o600)
    for directory in path.relative_to(maps).parents[:-1]:
        (maps / directory).chmod(0o700)


def _at_both_places(maps: Path) -> None:
    _prefixed(maps)
    other = put(maps, OLD, place=v03_place(OLD))
    other.unlink()
    os.link(maps / sha256_place(OLD) / OLD, other)


def _plain(maps: Path) -> None:
    put(maps, VOLUME, v1(FEW), mode=OWN_MODE)


def _pithos(maps: Path) -> None:
    put(maps, MAP, v0(DIGESTS), place=pithos_place(MAP), mode=OWN_MODE)


def _v0(maps: Path) -> None:
    put(maps, MAP, v0(DIGESTS), mode=OWN_MODE)


def _half_renamed(maps: Path) -> None:
    put_v2(maps, OLD, from_v1(FEW), flags=READONLY, epoch=7)
    put(maps, block_name(VOLUME, 0), v2_block(from_v1(FEW[:3])))


def _renamed(maps: Path) -> None:
    put_v2(maps, VOLUME, from_v1(FEW), flags=READONLY, epoch=1)


def _long(maps: Path) -> None:
    put(maps, OLD, v1(MANY))


def _with_old_blocks(maps: Path) -> None:
    _prefixed(maps)
    put(maps, block_name(VOLUME, 0), b"left by an upgrade that was cut off  " * 100, mode=0o600)
    _surplus(maps)


def _without_old_blocks(maps: Path) -> None:
    _becomes(FEW)(maps)
    _surplus(maps)


def _surplus(maps: Path) -> None:
    put(maps, block_name(VOLUME, 7), b"beyond the last")


_V0 = {"flags": READONLY, "size": PITHOS_SIZE}
SCENES = {
    scene.name: scene
    for scene in (
        Scene("prefixed", _prefixed, _becomes(FEW), from_v1(FEW)),
        Scene("at v0.3's place", _at_v03_place, _becomes(FEW), from_v1(FEW)),
        Scene("at both places", _at_both_places, _becomes(FEW), from_v1(FEW)),
        Scene("in place", _plain, _in_place(VOLUME, from_v1(FEW), v1(FEW), sha256_place(VOLUME)),
              from_v1(FEW)),
        Scene("v0", _v0, _in_place(MAP, from_v0(DIGESTS), v0(DIGESTS), sha256_place(MAP), **_V0),
              from_v0(DIGESTS), MAP, PITHOS_SIZE),
        Scene("v0 at Pithos' place", _pithos,
              _in_place(MAP, from_v0(DIGESTS), v0(DIGESTS), pithos_place(MAP), **_V0),
              from_v0(DIGESTS), MAP, PITHOS_SIZE),
        Scene("half renamed", _half_renamed, _renamed, from_v1(FEW)),
        Scene("several blocks", _long, _becomes(MANY), from_v1(MANY)),
        Scene("old blocks", _with_old_blocks, _without_old_blocks, from_v1(FEW)),
    )
}  # fmt: skip
