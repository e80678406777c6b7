"""Directories that a scan leaves open for the apply of its changes.

Opening a directory again costs a tenth of a change; and an open one is the very directory that was
looked at, even if it was moved since. A pool bounds how many are open in the process: a directory
beyond that is opened again.
"""

from __future__ import annotations

import os
import threading
from array import array


class OpenDirsPool:
    """How many more directories may stay open, over all lanes."""

    def __init__(self, size: int) -> None:
        """Allow *size* descriptors in all."""
        self._left = size
        self._lock = threading.Lock()

    def acquire(self) -> int:
        """Reserve descriptors for one scan: half of the remaining; the rest is for other lanes."""
        with self._lock:
            part = self._left // 2
            self._left -= part
            return part

    def release(self, number: int) -> None:
        """Give back reserved descriptors."""
        with self._lock:
            self._left += number


class OpenDirs:
    """What one scan left open: for each directory frame, in their order, its descriptor or -1."""

    def __init__(self, pool: OpenDirsPool, fds: array[int]) -> None:
        """Own the descriptors in *fds*; they are reserved in *pool*."""
        self.fds = fds
        self._pool = pool
        self.reserved = len(fds) - fds.count(-1)

    def close(self) -> None:
        """Close what apply did not take over, and give everything back to the pool."""
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fds = array("i")
        self._pool.release(self.reserved)
        self.reserved = 0
