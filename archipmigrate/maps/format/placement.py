"""Which directory of a blocker a file is in. Pure: names in, names out.

`filed` keeps the file of an object three directories deep, `aa/bb/cc/<name>`. Where `aabbcc` comes
from depends on who wrote the file: Archipelago v0.4 hashes the name, v0.3 and Pithos cut it up.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from ...tree.files import DirPath
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
    """Return the directory in which v0.3 kept an object: the 6 bytes after `archip_`, cut in three.

    None for names without that prefix, and for those that would lead out of the root (`..`).
    """
    rest = name.removeprefix(PREFIX)
    path = (rest[:2], rest[2:4], rest[4:6])
    if rest == name or len(rest) < 6 or b".." in path:
        return None
    return path


def pithos_dir(name: bytes) -> DirPath | None:
    """Return the directory in which Pithos kept a map: its first 6 hex digits, cut in three.

    None unless the name is 64 lowercase hex digits.
    """
    return (name[:2], name[2:4], name[4:6]) if is_digest(name) else None


def placements(name: bytes) -> list[tuple[Placement, DirPath]]:
    """Return where a map of this name may lie, in the order in which v0.4 looks for it."""
    found = [(Placement.V04, sha256_dir(name))]
    if (pithos := pithos_dir(name)) is not None:
        found.insert(0, (Placement.PITHOS, pithos))
    if (v03 := v03_dir(name)) is not None:
        found.append((Placement.V03, v03))
    return found


def placement_of(name: bytes, directory: DirPath) -> Placement:
    """Return the placement of a map that lies in *directory*."""
    return next((rule for rule, path in placements(name) if path == directory), Placement.ELSEWHERE)
