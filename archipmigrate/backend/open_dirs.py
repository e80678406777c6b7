"""Directories that a scan keeps open until the apply that changes them.

Opening a directory once more costs a tenth of a change; and kept open, it is the very directory
that was looked at, even if it has been moved since. How many are open is bounded by a pool for the
whole process: what does not fit is opened again.
"""

from __future__ import annotations

import os
import threading
from array import array


class OpenDirsPool:
    """How many more directories may stay open; shared by all lanes."""

    def __init__(self, size: int) -> None:
        """Allow *size* descriptors altogether."""
        self._left = size
        self._lock = threading.Lock()

    def acquire(self) -> int:
        """Reserve descriptors for one scan: half of what is left, for others come."""
        with self._lock:
            part = self._left // 2
            self._left -= part
            return part

    def release(self, number: int) -> None:
        """Give back what is not used, or not used any more."""
        with self._lock:
            self._left += number


class OpenDirs:
    """What one scan kept open: of each directory frame, in their order, the descriptor or -1."""

    def __init__(self, pool: OpenDirsPool, fds: array[int]) -> None:
        """Own the descriptors in *fds*; they are reserved in *pool*."""
        self.fds = fds
        self._pool = pool
        self.reserved = sum(fd >= 0 for fd in fds)

    def close(self) -> None:
        """Close what apply did not take over, and give everything back to the pool."""
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fds = array("i")
        self._pool.release(self.reserved)
        self.reserved = 0
