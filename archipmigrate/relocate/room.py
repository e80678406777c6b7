"""Whether a filesystem has room for the directories that the objects need at their new places."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping

from ..packed.moves import Root
from ..ui.text import count
from .roots import Roots

# On ext4 a directory takes an inode and a block; others need less.
DIRECTORY_BYTES = 4096
FIRST_LEVEL, SECOND_LEVEL = 256, 65536  # directories, at most


def lacking_room(roots: Roots, leaves: Mapping[Root, int]) -> str:
    """Return why there is no room for new leaf directories, by root; "" if there is.

    Roots on one filesystem share its room. Raises OSError.
    """
    needed: dict[int, int] = defaultdict(int)
    of_device: dict[int, Root] = {}
    for root, number in leaves.items():
        device = os.fstat(roots[root].fd).st_dev
        needed[device] += directories_for(number)
        of_device[device] = root
    for device, number in needed.items():
        why = lacking(roots[of_device[device]].fd, number)
        if why:
            return why
    return ""


def directories_for(leaves: int) -> int:
    """Return how many directories are made for so many new leaves, at most."""
    return leaves + min(leaves, SECOND_LEVEL) + min(leaves, FIRST_LEVEL)


def lacking(fd: int, directories: int) -> str:
    """Return why there is no room for new directories, or "". Raises OSError."""
    room = os.fstatvfs(fd)
    privileged = os.geteuid() == 0
    inodes = room.f_ffree if privileged else room.f_favail
    spare = (room.f_bfree if privileged else room.f_bavail) * room.f_frsize
    wanted = directories * DIRECTORY_BYTES
    words = f"the new places need up to {count(directories, 'directory')}"
    if room.f_files and inodes < directories:  # some filesystems do not count inodes
        return f"{words}, and the filesystem has {count(inodes, 'inode')} left: make room there"
    if spare < wanted:
        return (
            f"{words}, which take up to {wanted >> 20:,} MiB, and the filesystem has "
            f"{spare >> 20:,} MiB left: make room there"
        )
    return ""
