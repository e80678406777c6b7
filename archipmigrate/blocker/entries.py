"""A new map's blocks, as they come from the old one: streamed, a few MiB at most in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ..mapfile.codec import Codec
from ..mapfile.v2 import ENTRY_SIZE
from .record import Record
from .tree import PIECE, Tree, open_file, read_pieces

ENTRIES = PIECE // ENTRY_SIZE  # so many are converted in one go: 1 MiB of v2
Pieces = Iterator[bytes]
_Read = Callable[[int, int], bytes]  # start and length in the old map


class BadEntry(Exception):
    """An entry of a map block that no mapper can read; the text says which."""


def new_blocks(tree: Tree, record: Record, codec: Codec) -> Iterator[Pieces]:
    """Yield the content of each new block, from the source as it lies there.

    Each is to be read to its end before the next. Raises OSError, BadEntry.
    """
    if record.version == 2:
        for number in range(record.header.blocks):
            with _source_block(tree, record, number) as fd:
                yield checked(read_pieces(fd, 0, record.header.block_length(number)), codec)
        return
    with tree.directory(record.source.place) as directory:
        fd = open_file(directory, record.source.name)
    try:
        if os.fstat(fd).st_ino != record.source.inode:
            raise OSError(errno.ESTALE, "the map was exchanged")
        yield from _converted(record, codec, lambda start, length: _read(fd, record, start, length))
    finally:
        os.close(fd)


def new_blocks_from(record: Record, codec: Codec, kept: Iterable[bytes]) -> Iterator[Pieces]:
    """Yield the content of each new block of a v1 or v0 map whose content was kept."""
    stream = _Stream(kept)
    yield from _converted(record, codec, stream.read)


@contextmanager
def _source_block(tree: Tree, record: Record, number: int) -> Iterator[int]:
    place, name = record.source_block(number)
    with tree.directory(place) as directory:
        fd = open_file(directory, name)
    try:
        yield fd
    finally:
        os.close(fd)


def checked(pieces: Iterable[bytes], codec: Codec) -> Pieces:
    """Yield pieces of a map block (each of whole entries). Raises BadEntry."""
    at = 0
    for piece in pieces:
        bad = codec.check(piece)
        if bad >= 0:
            raise BadEntry(f"entry {at + bad:,} of a block has a name longer than an entry")
        at += len(piece) // ENTRY_SIZE
        yield piece


def _converted(record: Record, codec: Codec, read: _Read) -> Iterator[Pieces]:
    start, size = record.entries_at
    header = record.header
    for number in range(header.blocks):
        count = header.block_length(number) // ENTRY_SIZE
        yield _converted_block(record.version, codec, read, start, count, size)
        start += count * size


def _converted_block(
    version: int, codec: Codec, read: _Read, start: int, count: int, size: int
) -> Pieces:
    for at in range(0, count, ENTRIES):
        some = min(ENTRIES, count - at)
        yield codec.convert(version, read(start + at * size, some * size))


def _read(fd: int, record: Record, start: int, length: int) -> bytes:
    """Read a part of the source as it was: its first bytes may be a header by now."""
    raw = b""
    while len(raw) < length:
        more = os.pread(fd, length - len(raw), start + len(raw))
        if not more:
            raise OSError(errno.EIO, "the map is shorter than it was")
        raw += more
    first = record.first[start : start + length]
    return first + raw[len(first) :]


class _Stream:
    """Reads forward through pieces, as `_read` would through a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._at = 0
        self._rest = b""

    def read(self, start: int, length: int) -> bytes:
        """Return *length* bytes from *start*, which is not behind what was read."""
        raw = self._take(start - self._at + length)
        return raw[len(raw) - length :]

    def _take(self, length: int) -> bytes:
        while len(self._rest) < length:
            more = next(self._pieces, b"")
            if not more:
                raise OSError(errno.EIO, "what was kept is too short")
            self._rest += more
        taken, self._rest = self._rest[:length], self._rest[length:]
        self._at += length
        return taken
