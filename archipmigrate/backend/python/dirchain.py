"""The chain of directories from the root to where a worker is, on few descriptors.

Invariant: every directory in the chain can be reached again without `..` and without following a
link, and is the one (by inode) that was entered, however deep and however few descriptors are held.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ...tree.beneath import PIN_DIRECTORY, open_beneath


@dataclass(slots=True)
class Level:
    """A directory of the chain; the name of the outermost is a path from the root."""

    name: bytes
    inode: int
    fd: int = -1
    is_pin: bool = True  # O_PATH; else open for reading


class Levels:
    """A stack of open directories that holds at most *limit* descriptors.

    The deepest limit/2 stay open; above them a ladder is kept, one every `spacing` levels, with the
    spacing doubled whenever the ladder gets too long. So coming back up a chain of n levels costs
    about n * n / limit**2 steps, not n * n / 2: 200,000 for 20,000 levels and 64 descriptors.
    """

    def __init__(self, root: int, limit: int) -> None:
        self._root = root
        self._window = max(limit // 2, 2)
        self._ladder = max(limit - self._window - 1, 1)
        self._most = self._window + self._ladder
        self._spacing = self._window
        self._held: list[int] = []  # indices of open levels, ascending
        self.chain: list[Level] = []

    def push(self, name: bytes, inode: int, fd: int, *, is_pin: bool = True) -> None:
        """Go into a directory that is open as *fd*, which is ours to close from now on."""
        self._held.append(len(self.chain))
        self.chain.append(Level(name, inode, fd, is_pin))
        if len(self._held) > self._most:
            self._shed()

    def pop(self) -> None:
        """Leave the deepest directory."""
        level = self.chain.pop()
        if level.fd >= 0:
            os.close(level.fd)
            self._held.pop()

    def pop_open(self) -> int:
        """Leave the deepest directory; its descriptor is the caller's now. -1: closed, or a pin."""
        level = self.chain[-1]
        fd = -1 if level.is_pin else level.fd
        if fd >= 0:
            level.fd = -1
            self._held.pop()
        self.pop()
        return fd

    def fd(self) -> int:
        """Return a descriptor of the deepest directory, found again if it was closed.

        Raises OSError (ESTALE if another directory has its place now).
        """
        if not self.chain:
            return self._root
        if self.chain[-1].fd < 0:
            self._reopen()
        return self.chain[-1].fd

    @property
    def is_pin(self) -> bool:
        """Whether the descriptor of the deepest directory, not the root, is O_PATH."""
        return self.chain[-1].is_pin

    def close(self) -> None:
        """Leave all directories."""
        while self.chain:
            self.pop()

    def _reopen(self) -> None:
        start = self._held[-1] + 1 if self._held else 0
        at = self.chain[start - 1].fd if start else self._root
        window = max(len(self.chain) - self._window, start)
        passing = -1  # a descriptor that is needed for the next step only
        try:
            if window > start:  # what counts is the inode at the end of the way
                names = (level.name for level in self.chain[start:window])
                way = b"/".join(name for name in names if name)
                at = passing = _open_again(at, way, self.chain[window - 1].inode)
            for index in range(window, len(self.chain)):
                level = self.chain[index]
                at = level.fd = _open_again(at, level.name, level.inode)
                level.is_pin = True
                self._held.append(index)
        finally:
            if passing >= 0:
                os.close(passing)
        self._shed()

    def _shed(self) -> None:
        """Close what is neither near the end of the chain nor a rung of the ladder."""
        if len(self._held) <= self._most:
            return
        bottom = len(self.chain) - self._window
        while True:
            keep = [i for i in self._held if i >= bottom or i % self._spacing == 0]
            if len(keep) <= self._window + self._ladder // 2 + 1 or len(keep) < len(self._held):
                break
            self._spacing *= 2
        for index in set(self._held).difference(keep):
            os.close(self.chain[index].fd)
            self.chain[index].fd = -1
        self._held = keep


def _open_again(directory: int, way: bytes, inode: int) -> int:
    """Open what is *way* below a directory. Raises OSError: ESTALE if it is not *inode*."""
    fd = open_beneath(directory, way, PIN_DIRECTORY)
    try:
        if os.fstat(fd).st_ino == inode:
            return fd
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
