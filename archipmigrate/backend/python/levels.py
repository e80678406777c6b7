"""Directories at which a walk stands: on its stack, or to be read on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class ScanLevel:
    """A directory on the stack: its own change, and its names that are left."""

    inode: int
    start: int = 0  # of its part of the path
    own: tuple[int, int, int, int] | None = None
    entries: list[bytes] = field(default_factory=list)
    subdirectories: list[bytes] = field(default_factory=list)
    named: bool = False  # the names come from the unit, not from reading the directory


@dataclass(slots=True)
class WideCursor:
    """A wide directory that is read in parts: its iterator stands where the reading goes on."""

    path: bytes
    inode: int
    fd: int
    names: Iterator[os.DirEntry[str]]

    def close(self) -> None:
        """Close the iterator and the descriptor."""
        if self.fd >= 0:
            self.names.close()  # type: ignore[attr-defined]  # scandir's iterator has it
            os.close(self.fd)
            self.fd = -1
