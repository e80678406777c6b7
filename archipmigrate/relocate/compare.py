"""What is in a file. No link is followed."""

from __future__ import annotations

import os

from ..maps.format.v1 import HEADER_SIZE, decode_header_v1
from ..tree.files import open_file
from .extents import extents


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
