"""Where the share's filesystem ends: by device and by mount id.

A bind mount of the same filesystem has the same device and yet is another mount; and it may come
while a run is at work, and be of a single file.
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
        return device != self.device or _mount_id(directory) != self.mount

    def is_mount(self, directory: int, name: bytes) -> bool:
        """Say whether a file in a directory within is itself a mount, if the system tells."""
        return statx.mount_id(directory, name) not in (-1, self.mount)


def _mount_id(fd: int) -> int:
    """Return the mount id of a descriptor; before Linux 5.8 from /proc, which takes 10 us."""
    found = statx.mount_id(fd)
    return found if found >= 0 else mountinfo.mount_id(fd)
