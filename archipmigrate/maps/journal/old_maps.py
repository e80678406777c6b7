"""The contents of old maps, kept for undo in one file beside the journal: `RUN.journal-kept`.

The file is only added to: checksummed pieces, one after another. Pre-images say which pieces make
up which file. A piece that no pre-image names (a kill came in between) is dead.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import JournalError
from ...journal import checksummed
from ...journal.location import sync_directory

SUFFIX = ".journal-kept"
PIECE = 1 << 20  # bytes of content in one piece
# Maps are mostly digests, which do not shrink: if a piece's first bytes do not, store it as it is.
SAMPLE, WORTH = 1 << 14, 0.9

Piece = tuple[int, int]  # offset and length in the file


class OldMaps:
    """The kept contents of one run. Several threads may add and read at a time."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Open the file; with *make*, create it, durably, if it is missing. Raises JournalError."""
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
        packed = checksummed.pack(sample)
        if len(packed) >= WORTH * len(sample):
            packed = checksummed.pack(content, 0)
        elif len(content) > SAMPLE:
            packed = checksummed.pack(content)
        with self._adding:
            offset, self._end = self._end, self._end + len(packed)
        at = 0
        try:
            while at < len(packed):
                at += os.pwrite(self._fd, packed[at:], offset + at)
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}: old maps cannot be kept for undo; make room and "
                "resume, or choose another --state, or begin anew with --no-keep"
            ) from None
        return offset, len(packed)

    def sync(self) -> None:
        """Make all that was added durable. Raises JournalError."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from None

    def read(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """Yield the contents of pieces.

        Raises OSError if one is damaged, not JournalError: other volumes may still be put back.
        """
        for offset, length in pieces:
            try:
                yield checksummed.unpack(os.pread(self._fd, length, offset))
            except JournalError:
                raise OSError(errno.EIO, f"its old content in {self.path} is damaged") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
