"""What a run takes away and must be able to give back: contents of files, beside its journal.

One file that is only added to, `RUN.journal-kept`: checksummed pieces, one after another. Which
pieces are whose is in the pre-images; a piece that no pre-image names (after a kill) is dead.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import JournalError
from ...journal import checksummed
from ...journal.checksummed import LEVEL
from ...journal.location import sync_directory

SUFFIX = ".journal-kept"
PIECE = 1 << 20  # bytes of content in one piece
# Maps are mostly digests, which do not shrink: a piece whose beginning does not is kept as it is.
SAMPLE, WORTH = 1 << 14, 0.9

Piece = tuple[int, int]  # offset and length in the file


class Kept:
    """The kept contents of one run. Several threads may add and read."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Open the file, or *make* it, durably. Raises JournalError."""
        self.path = path
        is_new = make and not path.exists()
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
        try:
            self._fd = os.open(path, flags, 0o600)
            if is_new:
                sync_directory(path.parent)
        except OSError as error:
            raise JournalError(f"{path}, where old maps are kept: {error.strerror}") from None
        self._end = os.fstat(self._fd).st_size
        self._adding = threading.Lock()

    def add(self, content: bytes) -> Piece:
        """Add a piece; it is durable after `sync`. Raises JournalError."""
        sample = content[:SAMPLE]
        level = LEVEL if len(checksummed.pack(sample)) < WORTH * len(sample) else 0
        blob = checksummed.pack(content, level)
        with self._adding:
            offset, self._end = self._end, self._end + len(blob)
        at = 0
        try:
            while at < len(blob):
                at += os.pwrite(self._fd, blob[at:], offset + at)
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}: what is to be kept for undo finds no room; make "
                "some and resume, or choose another --state, or begin anew with --no-keep"
            ) from None
        return offset, len(blob)

    def sync(self) -> None:
        """Make all that was added durable. Raises JournalError."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from None

    def read(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """Yield the contents of pieces. Raises OSError if one is damaged: others may not be."""
        for offset, length in pieces:
            try:
                yield checksummed.unpack(os.pread(self._fd, length, offset))
            except JournalError:
                raise OSError(errno.EIO, f"what was kept of it in {self.path} is damaged") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
