"""Which directory of a blocker a file is in. Pure: names in, names out.

`filed` keeps the file of an object three directories deep, `aa/bb/cc/<name>`. What `aabbcc` is
depends on who wrote the file: Archipelago v0.4 hashes the name, v0.3 and Pithos cut it up.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from .names import PREFIX, is_digest

LEVELS = 3


def sha256_place(name: bytes, levels: int = LEVELS) -> tuple[bytes, ...]:
    """Return the directories, outermost first, that v0.4 keeps the object called *name* in.

    Each is two lowercase hex digits of sha256(full object name). `filed` has three *levels*.
    """
    digits = hashlib.sha256(name).hexdigest()
    return tuple(digits[i : i + 2].encode() for i in range(0, 2 * levels, 2))


class Place(IntEnum):
    """Where a file lies: where v0.4 looks for it, where v0.3 or Pithos put it, or none of these."""

    V04 = 0
    V03 = 1
    PITHOS = 2
    ELSEWHERE = 3
    LOCKS = 4  # in the lock directory


def v03_place(name: bytes) -> tuple[bytes, ...] | None:
    """Return the directories that v0.3 kept an object in: the 6 bytes after `archip_`.

    None for other names, and for those whose directories would lead out (`..`).
    """
    rest = name.removeprefix(PREFIX)
    parts = (rest[:2], rest[2:4], rest[4:6])
    if rest == name or len(rest) < 6 or b".." in parts:
        return None
    return parts


def pithos_place(name: bytes) -> tuple[bytes, ...] | None:
    """Return the directories that Pithos kept a map in: its own first 6 hex digits.

    None unless the name is 64 lowercase hex digits.
    """
    return (name[:2], name[2:4], name[4:6]) if is_digest(name) else None


def places(name: bytes) -> list[tuple[Place, tuple[bytes, ...]]]:
    """Return the places where a map of this name may lie, in the order in which v0.4 looks."""
    found = [(Place.V04, sha256_place(name))]
    if (pithos := pithos_place(name)) is not None:
        found.insert(0, (Place.PITHOS, pithos))
    if (v03 := v03_place(name)) is not None:
        found.append((Place.V03, v03))
    return found


def place_of(name: bytes, directory: tuple[bytes, ...]) -> Place:
    """Return which of its places a map is at, if it lies in *directory*."""
    return next((place for place, where in places(name) if where == directory), Place.ELSEWHERE)
