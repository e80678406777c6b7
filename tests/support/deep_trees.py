"""Trees deeper than PATH_MAX, created and read level by level in linear time.

Create them on the `tmpfs` fixture: others remove trees recursively, or slowly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.program import Attrs

STEP = b"d"
SIBLING = b"s"


def make_chain(top: Path, levels: int, *, name: bytes = STEP, comb: bool = False) -> None:
    """Create a chain of directories below *top*; in a *comb* each has a sibling."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, 0o755, dir_fd=at)
        if comb:
            os.mkdir(SIBLING, 0o700, dir_fd=at)
        at = _down(at, name)
    os.close(at)


def levels(top: Path, *, name: bytes = STEP) -> Iterator[list[Attrs]]:
    """Yield, from the top down, the attrs of each level: of the directory, then of its sibling."""
    at = os.open(top, os.O_RDONLY)
    try:
        while True:
            found = [os.fstat(at)]
            names = set(map(os.fsencode, os.listdir(at)))
            if SIBLING in names:
                found.append(os.stat(SIBLING, dir_fd=at))
            yield [(status.st_mode, status.st_uid, status.st_gid) for status in found]
            if name not in names:
                return
            at = _down(at, name)
    finally:
        os.close(at)


def _down(at: int, name: bytes) -> int:
    deeper = os.open(name, os.O_RDONLY, dir_fd=at)
    os.close(at)
    return deeper
