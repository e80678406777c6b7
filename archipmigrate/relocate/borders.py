"""Which places lie on one filesystem, so that a rename reaches from one to the other.

A rename fails (EXDEV) between filesystems, and between two mounts of one. Mounts are known by
/proc/self/mountinfo, and what has a device number of its own without a mount (a subvolume of btrfs)
by that of the first directory of a path. What neither tells is seen when a rename fails.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from ..share.mountinfo import is_below, mount_id, mount_points
from .roots import OpenRoot


@dataclass(slots=True)
class Borders:
    """The filesystems below a root. What is made meanwhile lies where its parent does."""

    root: OpenRoot
    _path: bytes = b""
    _points: list[bytes] = field(default_factory=list)  # mount points, from the root
    _mount: int = -1
    _devices: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the mounts. Raises OSError."""
        fd = self.root.fd
        self._path = os.readlink(f"/proc/self/fd/{fd}".encode())
        below = (point for point in mount_points() if is_below(point, self._path))
        self._points = [point[len(self._path.rstrip(b"/")) + 1 :] for point in below]
        self._mount = mount_id(fd)
        self._devices[b""] = os.fstat(fd).st_dev

    def is_one(self) -> bool:
        """Whether all below the root is on its filesystem and mount, as far as is known.

        Raises OSError.
        """
        return not self._points and all(
            self._device(os.fsencode(name)) == self._devices[b""]
            for name in os.listdir(self.root.fd)
        )

    def filesystem(self, path: bytes) -> tuple[int, int | bytes]:
        """Return what names the filesystem, and mount, that a place lies on. Raises OSError."""
        point = self._point(path)
        return self._device(path), b"/".join((self._path, point)) if point else self._mount

    def top(self, path: bytes) -> bytes:
        """Return a directory on the filesystem that a place lies on, as high as is known."""
        first = path.partition(b"/")[0]
        point = self._point(path)
        return point or (first if self._device(path) != self._devices[b""] else b"")

    def _point(self, path: bytes) -> bytes:
        if not self._points:
            return b""
        above = (p for p in self._points if (path + b"/").startswith(p + b"/"))
        return max(above, key=len, default=b"")

    def _device(self, path: bytes) -> int:
        """Return the device of the first directory of a path; the root's if it is not there."""
        first = path.partition(b"/")[0]
        if first not in self._devices:
            device = self._devices[b""]
            with contextlib.suppress(FileNotFoundError):
                device = os.stat(first, dir_fd=self.root.fd, follow_symlinks=False).st_dev
            self._devices[first] = device
        return self._devices[first]
