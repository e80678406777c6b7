"""Whether second names may be made still: v0.3 needs room for what its guests write."""

from __future__ import annotations

import os

from ..relocate.room import DIRECTORY_BYTES, directories_for
from ..ui.text import count

# What is left to v0.3: a part of so many of the filesystem, but no more than these.
PART = 100
MOST_INODES, MOST_BYTES = 1_000_000, 10 << 30


def lacking_room(fd: int, names: int) -> str:
    """Return why so many more second names are not made on the filesystem of *fd*; "" if they are.

    Each may need directories of its own. Raises OSError.
    """
    found = os.fstatvfs(fd)
    directories = directories_for(names)
    spare_inodes = min(found.f_files // PART, MOST_INODES)
    spare_bytes = min(found.f_blocks * found.f_frsize // PART, MOST_BYTES)
    if found.f_files and found.f_ffree - directories < spare_inodes:
        left = count(found.f_ffree, "inode")
    elif found.f_bfree * found.f_frsize - directories * DIRECTORY_BYTES < spare_bytes:
        left = f"{found.f_bfree * found.f_frsize >> 20:,} MiB"
    else:
        return ""
    return f"the filesystem has {left} left, which v0.3 needs: make room there"
