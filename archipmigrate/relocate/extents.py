"""Where the data of a file is, and where its holes are."""

from __future__ import annotations

import errno
import os

Extent = tuple[int, int]


def extents(fd: int) -> list[Extent]:
    """Return where the data of a file begins and ends; all of it where that cannot be known.

    Raises OSError.
    """
    size, at = os.fstat(fd).st_size, 0
    found = []
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            if error.errno != errno.EINVAL:
                raise
            begin = at  # the filesystem does not tell
            found.append((begin, size))
            break
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, at))
    return found
