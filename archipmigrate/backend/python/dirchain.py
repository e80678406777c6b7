"""The chain of directories from the root to where a walk, or apply, is: on few descriptors.

Invariant: every directory in the chain can be reached again without `..` and without following a
link, and is the one (by inode) that was entered, however deep the chain is and however few of its
descriptors are open.
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


class DirChain:
    """A stack of directories of which at most *limit* are open.

    The deepest limit/2 stay open (the window). Above them every `spacing`-th stays open (the
    ladder); the spacing doubles whenever the ladder gets too long. So coming back up a chain of n
    levels costs about n * n / limit**2 steps, not n * n / 2: 200,000 for 20,000 levels and 64
    descriptors.
    """

    def __init__(self, root: int, limit: int) -> None:
        self._root = root
        self._window = max(limit // 2, 2)
        self._ladder = max(limit - self._window - 1, 1)
        self._most = self._window + self._ladder
        self._spacing = self._window
        self._open: list[int] = []  # indices of open levels, ascending
        self.levels: list[Level] = []

    def push(self, name: bytes, inode: int, fd: int, *, is_pin: bool = True) -> None:
        """Enter a directory that is open as *fd*, which the chain closes from now on."""
        self._open.append(len(self.levels))
        self.levels.append(Level(name, inode, fd, is_pin))
        if len(self._open) > self._most:
            self._shed()

    def pop(self) -> None:
        """Leave the deepest directory."""
        level = self.levels.pop()
        if level.fd >= 0:
            os.close(level.fd)
            self._open.pop()

    def pop_open(self) -> int:
        """Leave the deepest directory; return its descriptor, the caller's to close.

        -1 if it was closed, or is O_PATH.
        """
        level = self.levels[-1]
        fd = -1 if level.is_pin else level.fd
        if fd >= 0:
            level.fd = -1
            self._open.pop()
        self.pop()
        return fd

    def fd(self) -> int:
        """Return a descriptor of the deepest directory, opened again if it was closed.

        Raises OSError (ESTALE if another directory is in its place now).
        """
        if not self.levels:
            return self._root
        if self.levels[-1].fd < 0:
            self._reopen()
        return self.levels[-1].fd

    @property
    def is_pin(self) -> bool:
        """Whether the descriptor of the deepest directory (not the root) is O_PATH."""
        return self.levels[-1].is_pin

    def close(self) -> None:
        """Leave all directories."""
        while self.levels:
            self.pop()

    def _reopen(self) -> None:
        start = self._open[-1] + 1 if self._open else 0
        at = self.levels[start - 1].fd if start else self._root
        window = max(len(self.levels) - self._window, start)
        passing = -1  # a descriptor that is needed for the next step only
        try:
            if window > start:  # only the inode at the end of the way has to be right
                names = (level.name for level in self.levels[start:window])
                way = b"/".join(name for name in names if name)
                at = passing = _open_again(at, way, self.levels[window - 1].inode)
            for index in range(window, len(self.levels)):
                level = self.levels[index]
                at = level.fd = _open_again(at, level.name, level.inode)
                level.is_pin = True
                self._open.append(index)
        finally:
            if passing >= 0:
                os.close(passing)
        self._shed()

    def _shed(self) -> None:
        """Close what is neither in the window nor a rung of the ladder, if too many are open."""
        if len(self._open) <= self._most:
            return
        bottom = len(self.levels) - self._window
        while True:
            staying = [i for i in self._open if i >= bottom or i % self._spacing == 0]
            if len(staying) <= self._window + self._ladder // 2 + 1 or len(staying) < len(
                self._open
            ):
                break
            self._spacing *= 2
        for index in set(self._open).difference(staying):
            os.close(self.levels[index].fd)
            self.levels[index].fd = -1
        self._open = staying


def _open_again(directory: int, way: bytes, inode: int) -> int:
    """Open what is at *way* below *directory*. Raises OSError: ESTALE if it is not *inode*."""
    fd = open_beneath(directory, way, PIN_DIRECTORY)
    try:
        if os.fstat(fd).st_ino == inode:
            return fd
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
