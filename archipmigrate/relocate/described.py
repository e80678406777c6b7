"""Files in words: what tells those of one name apart that are both kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from ..packed.moves import Move
from .compare import data_bytes


def rival_note(
    move: Move,
    ours: tuple[int, os.stat_result],
    other: tuple[int, os.stat_result],
    where: bytes,
) -> str:
    """Word that two files have one name, of which v0.3 serves the one of Pithos.

    Each is an open directory and a status; *where* is the directory of the other one. Raises
    OSError.
    """
    (fd, found), (other_fd, there) = ours, other
    return (
        f"here {described(fd, move.name, found)}; in {where.decode(errors='backslashreplace')} "
        f"{described(other_fd, move.name, there)}: v0.3 serves the one in Pithos' own tree: both "
        "are kept"
    )


def described(fd: int, name: bytes, found: os.stat_result) -> str:
    """Word size, data and time of a file in an open directory. Raises OSError."""
    data = data_bytes(fd, name)
    return f"{found.st_size:,} bytes ({data:,} of data, written {_time(found.st_mtime)})"


def _time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError):  # beyond the years that Python knows
        return f"at {seconds:.0f}"
