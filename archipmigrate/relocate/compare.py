"""Whether two files have the same content, and what is in one. No link is followed."""

from __future__ import annotations

import contextlib
import os

from ..maps.format.v1 import HEADER_SIZE, decode_header_v1
from ..tree.files import open_file, read_pieces
from .extents import extents


def same_content(first: int, second: int, name: bytes) -> bool:
    """Whether the file *name* has the same bytes in two open directories. Raises OSError."""
    with contextlib.ExitStack() as stack:
        ours, others = (open_file(directory, name) for directory in (first, second))
        stack.callback(os.close, ours)
        stack.callback(os.close, others)
        if os.fstat(ours).st_size != os.fstat(others).st_size:
            return False
        return all(a == b for a, b in zip(read_pieces(ours), read_pieces(others), strict=False))


def is_v1_map(directory: int, name: bytes) -> bool:
    """Whether a file begins as v0.3's maps do. Raises OSError."""
    fd = open_file(directory, name)
    try:
        decode_header_v1(os.pread(fd, HEADER_SIZE, 0))
    except ValueError:
        return False
    finally:
        os.close(fd)
    return True


def data_bytes(directory: int, name: bytes) -> int:
    """Return how many bytes of a file are data, not holes. Raises OSError."""
    fd = open_file(directory, name)
    try:
        return sum(end - begin for begin, end in extents(fd))
    finally:
        os.close(fd)
