"""Which directory of a blocker a file is in. Pure: names in, names out.

`filed` keeps the file of an object three directories deep, `aa/bb/cc/<name>`. Where `aabbcc` comes
from depends on who wrote the file: Archipelago v0.4 hashes the name, v0.3 and Pithos cut it up.

    object            v0.4                     v0.3                  Pithos
    archip_foobar     70/36/e2                 fo/ob/ar              -
    e3b0c44298fc1...  by sha256 of the name    29/8f/c1              e3/b0/c4

About one name in 16.7 million has the same place in the layouts of v0.3 and v0.4.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from ..tree.files import DirPath
from .names import PREFIX, is_digest

LEVELS = 3


class Placement(IntEnum):
    """Whose rule a file's directory follows. The numbers are in journals."""

    V04 = 0
    V03 = 1
    PITHOS = 2
    ELSEWHERE = 3  # nobody's
    LOCKS = 4  # it is in the lock directory


def sha256_dir(name: bytes, levels: int = LEVELS) -> DirPath:
    """Return the directory in which v0.4 keeps the object called *name*.

    Each of its names is two lowercase hex digits of sha256(full object name). `filed` has three
    *levels*.
    """
    digits = hashlib.sha256(name).hexdigest()
    return tuple(digits[i : i + 2].encode() for i in range(0, 2 * levels, 2))


def v03_dir(name: bytes) -> DirPath | None:
    """Return the directory in which v0.3 kept an object: its bytes 7 to 12, cut in three.

    v0.3 skips as many bytes as `archip_` has, whatever they are. None if fewer than 6 follow (v0.3
    then took what was in memory after the name), and if one of the three would be `..`, which leads
    elsewhere. Find such files by walking.
    """
    return _cut(name[len(PREFIX) :])


def pithos_dir(name: bytes) -> DirPath | None:
    """Return the directory in which Pithos keeps a map or a block: 6 digits of it, cut in three.

    None unless the name is 64 lowercase hex digits. v0.4 looks there, below the blocker's
    directory, before it looks at its own place.
    """
    return (name[:2], name[2:4], name[4:6]) if is_digest(name) else None


def pithos_dir_of_v03(name: bytes) -> DirPath | None:
    """Return the directory of Pithos' own tree in which v0.3 looks first, for objects of any name.

    None if the name has fewer than 6 bytes, or one of the three would be `..`.
    """
    return _cut(name)


def _cut(rest: bytes) -> DirPath | None:
    path = (rest[:2], rest[2:4], rest[4:6])
    is_level = len(rest) >= 6 and b".." not in path and not set(b"/\0").intersection(rest[:6])
    return path if is_level else None


def placements(name: bytes) -> list[tuple[Placement, DirPath]]:
    """Return where a blocker may keep an object of this name.

    In the order in which v0.4 looks for it; v0.3's place, where v0.4 does not look, is the last.
    """
    found = [(Placement.V04, sha256_dir(name))]
    if (pithos := pithos_dir(name)) is not None:
        found.insert(0, (Placement.PITHOS, pithos))
    if (v03 := v03_dir(name)) is not None:
        found.append((Placement.V03, v03))
    return found


def placement_of(name: bytes, directory: DirPath) -> Placement:
    """Return the placement of an object that lies in *directory*."""
    return next((rule for rule, path in placements(name) if path == directory), Placement.ELSEWHERE)
