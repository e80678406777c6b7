"""The root of a share, which somebody may remove while it is open."""

from __future__ import annotations

import os

# What the kernel puts behind the path of a descriptor whose directory was removed: d_path(9).
DELETED = b" (deleted)"


def was_removed(fd: int) -> bool:
    """Say whether a directory that is open was removed, as far as this host knows.

    -1 stands for a directory that this host has not open: False. The link count does not tell: some
    filesystems have 0 for all directories.
    """
    if fd < 0:
        return False
    path = os.readlink(b"/proc/self/fd/%d" % fd)
    if not path.endswith(DELETED):
        return False
    try:
        found = os.stat(path)
    except OSError:
        return True
    return not os.path.samestat(found, os.fstat(fd))
