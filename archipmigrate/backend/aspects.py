"""What a filesystem or a server may accept and not keep, and what changes have shown to be kept."""

from __future__ import annotations

import stat
from enum import IntFlag


class Aspect(IntFlag):
    """The numbers are bits in C."""

    GROUP = 1  # ids may be mapped
    SETGID = 2  # of a directory: dropped for callers who are not in the group
    MODE = 4  # any other bit
    OWNER = 8  # as the group


def differences(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    """Return the aspects in which modes, owners and groups differ."""
    bits = one[0] ^ other[0]
    set_gid = stat.S_ISGID if stat.S_ISDIR(one[0]) else 0
    return (
        (Aspect.OWNER.value if one[1] != other[1] else 0)
        | (Aspect.GROUP.value if one[2] != other[2] else 0)
        | (Aspect.SETGID.value if bits & set_gid else 0)
        | (Aspect.MODE.value if bits & ~set_gid else 0)
    )


def sets_gid(mode: int) -> int:
    """Return SETGID for a directory that is to have it: chmod may drop it even if it is there."""
    return Aspect.SETGID.value if stat.S_ISDIR(mode) and mode & stat.S_ISGID else 0
