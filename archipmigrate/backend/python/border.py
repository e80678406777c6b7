"""Where the share's filesystem ends: by device, and by mount id where something is mounted below.

A bind mount of the same filesystem has the same device and yet is another mount. The mount id of a
descriptor is in /proc/self/fdinfo, too slow to read for every directory: it is read only if
/proc/self/mountinfo names a mount below the root at the start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...share.mountinfo import is_below, mount_id, mount_points


@dataclass(frozen=True, slots=True)
class Border:
    """The root's device and, where mount ids must be compared, its mount id (else -1)."""

    device: int
    mount: int

    @classmethod
    def of(cls, root: int) -> Border:
        """Read the border of the filesystem that directory *root* is on."""
        return cls(os.fstat(root).st_dev, mount_id(root) if _has_mounts_below(root) else -1)

    def is_outside(self, directory: int, device: int) -> bool:
        """Say whether an open directory, with the device that fstat gave, is on another mount."""
        if device != self.device:
            return True
        return self.mount >= 0 and mount_id(directory) != self.mount


def _has_mounts_below(root: int) -> bool:
    path = os.readlink(f"/proc/self/fd/{root}".encode())
    return any(is_below(point, path) for point in mount_points())
