"""Where the share's filesystem ends, and which directories hold snapshots.

A border is another mount, judged on directories. The device would not do: files of an overlay have
those of its layers, and subvolumes of btrfs, which are no mounts, have their own. It decides only
where the system does not tell mounts. A bind mount of the same filesystem is another mount; it may
come while a run is at work, and be of a single file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...share import mountinfo
from . import statx


@dataclass(frozen=True, slots=True)
class Border:
    """The root's device and its mount id, -1 where the system does not tell."""

    device: int
    mount: int

    @classmethod
    def of(cls, root: int) -> Border:
        """Read the border of the filesystem that directory *root* is on."""
        return cls(os.fstat(root).st_dev, _mount_id(root))

    def is_outside(self, directory: int, device: int) -> bool:
        """Say whether an open directory, with the device that fstat gave, is on another mount."""
        return device != self.device if self.mount < 0 else _mount_id(directory) != self.mount

    def is_mount(self, directory: int, name: bytes) -> bool:
        """Say whether a file in a directory within is itself a mount, if the system tells."""
        return statx.mount_id(directory, name) not in (-1, self.mount)


def is_apart(directory: int, device: int) -> bool:
    """Say whether an open directory, with the device that fstat gave, is one of its own kind.

    It is if it is in the root of a mount, on another device or mount than the directory that it is
    in, or read-only. False if it cannot be looked at.
    """
    try:
        return (
            statx.is_mount_root(directory, b"..")
            or os.stat("..", dir_fd=directory).st_dev != device
            or statx.mount_id(directory, b"..") != statx.mount_id(directory)
            or bool(os.fstatvfs(directory).f_flag & os.ST_RDONLY)
        )
    except OSError:
        return False


def _mount_id(fd: int) -> int:
    """Return the mount id of a descriptor; before Linux 5.8 from /proc, which takes 10 us."""
    found = statx.mount_id(fd)
    return found if found >= 0 else mountinfo.mount_id(fd)
