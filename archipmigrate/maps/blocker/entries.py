"""The entries of maps as v2 blocks, converted from a file or from kept content.

Streamed: a few MiB at most are in memory, however large the map. Each block is an iterator of
pieces of whole entries, to be read to its end before the next one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from ...layout.placement import sha256_dir
from ...tree.files import PIECE, DirPath, Tree, open_file, read_pieces
from ..format import v0, v1, v2
from ..format.codec import Codec
from ..format.head import Head
from ..format.v2 import ENTRY_SIZE
from .preimage import VolumePreimage
from .volume_files import VolumeFile, VolumeFiles

ENTRIES = PIECE // ENTRY_SIZE  # converted at once: 1 MiB of v2
# Where the entries of an old map begin, and the bytes of each, by version.
ENTRIES_AT = {0: (0, v0.DIGEST_SIZE), 1: (v1.HEADER_SIZE, v1.ENTRY_SIZE)}
Pieces = Iterator[bytes]
_Read = Callable[[int, int], bytes]  # start and length in the old map


class BadEntry(Exception):
    """A map block is cut off, or has an entry that no mapper can read; the text says which."""


def new_blocks(tree: Tree, preimage: VolumePreimage, codec: Codec) -> Iterator[Pieces]:
    """Yield each new block of a volume, converted from its old map. Raises OSError, BadEntry."""
    header, name = preimage.header, preimage.source.name
    if preimage.version == v2.VERSION:
        for number in range(header.blocks):
            yield _block(tree, name, number, header.block_length(number), codec)
        return
    with tree.directory(preimage.source.parent) as directory:
        fd = open_file(directory, name)
    try:
        if os.fstat(fd).st_ino != preimage.source.inode:
            raise OSError(errno.ESTALE, "the map was exchanged")
        first = preimage.first if preimage.in_place else b""
        yield from _converted(
            preimage.version, header, codec, lambda start, length: _read(fd, first, start, length)
        )
    finally:
        os.close(fd)


def new_blocks_from(
    preimage: VolumePreimage, codec: Codec, kept: Iterable[bytes]
) -> Iterator[Pieces]:
    """Yield each new block of a volume, converted from the *kept* content of its v1 or v0 map.

    Raises OSError.
    """
    yield from _converted(preimage.version, preimage.header, codec, _Stream(kept).read)


def map_blocks(
    tree: Tree, files: VolumeFiles, head: Head, *, prefixed: bool, codec: Codec
) -> Iterator[Pieces]:
    """Yield the entries of a map of any version as v2 blocks. Raises OSError, BadEntry."""
    file = files.of_name(prefixed=prefixed)[0]
    with tree.directory(file.parent) as directory:
        fd = open_file(directory, file.name)
    try:
        if head.version == v2.VERSION:
            for number in range(head.header.blocks):
                yield _block(tree, file.name, number, head.header.block_length(number), codec)
        else:
            header = v2.HeaderV2(head.size)
            yield from _converted(
                head.version or 0,
                header,
                codec,
                lambda start, length: _read(fd, b"", start, length),
            )
    finally:
        os.close(fd)


def read_entries(
    tree: Tree, file: VolumeFile, head: Head, start: int, count: int, codec: Codec
) -> bytes:
    """Return *count* entries of a map of any version, from entry *start* on, as v2 has them.

    Those of a v2 map are not checked. Raises OSError.
    """
    if head.version != v2.VERSION:
        at, size = ENTRIES_AT[head.version or 0]
        raw = _read_file(tree, file.parent, file.name, at + start * size, count * size)
        return codec.convert(head.version or 0, raw)
    raw, each = b"", head.header.entries_per_block
    while count > 0:
        number, at = divmod(start, each)
        some = min(count, each - at)
        block = v2.block_name(file.name, number)
        raw += _read_file(tree, sha256_dir(block), block, at * ENTRY_SIZE, some * ENTRY_SIZE)
        start, count = start + some, count - some
    return raw


def _read_file(tree: Tree, parent: DirPath, name: bytes, start: int, length: int) -> bytes:
    with tree.directory(parent) as directory:
        fd = open_file(directory, name)
    try:
        return _read(fd, b"", start, length)
    finally:
        os.close(fd)


def _block(tree: Tree, name: bytes, number: int, length: int, codec: Codec) -> Pieces:
    block = v2.block_name(name, number)
    with tree.directory(sha256_dir(block)) as directory:
        fd = open_file(directory, block)
    try:
        yield from checked(fd, length, codec)
    finally:
        os.close(fd)


def checked(fd: int, length: int, codec: Codec) -> Pieces:
    """Yield the first *length* bytes of a map block, checked, in pieces of whole entries.

    Raises BadEntry, OSError.
    """
    at = 0
    for piece in read_pieces(fd, 0, length):
        at += len(piece)
        if at % ENTRY_SIZE:
            break
        bad = codec.check(piece)
        if bad >= 0:
            index = (at - len(piece)) // ENTRY_SIZE + bad
            raise BadEntry(f"entry {index:,} of a block has a name longer than an entry")
        yield piece
    if at < length:
        raise BadEntry(f"a block is cut off: {at:,} bytes of {length:,}")


def _converted(version: int, header: v2.HeaderV2, codec: Codec, read: _Read) -> Iterator[Pieces]:
    start, size = ENTRIES_AT[version]
    for number in range(header.blocks):
        count = header.block_length(number) // ENTRY_SIZE
        yield _converted_block(version, codec, read, start, count, size)
        start += count * size


def _converted_block(
    version: int, codec: Codec, read: _Read, start: int, count: int, size: int
) -> Pieces:
    for at in range(0, count, ENTRIES):
        some = min(ENTRIES, count - at)
        yield codec.convert(version, read(start + at * size, some * size))


def _read(fd: int, first: bytes, start: int, length: int) -> bytes:
    """Read a part of an old map whose first bytes were *first*: they may be a new header by now."""
    raw = b""
    while len(raw) < length:
        more = os.pread(fd, length - len(raw), start + len(raw))
        if not more:
            raise OSError(errno.EIO, "the map is shorter than it was")
        raw += more
    known = first[start : start + length]
    return known + raw[len(known) :]


class _Stream:
    """Reads forward through pieces as `_read` reads through a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._at = 0
        self._rest = b""

    def read(self, start: int, length: int) -> bytes:
        """Return *length* bytes from *start*, which must not be before the end of the last read."""
        raw = self._take(start - self._at + length)
        return raw[len(raw) - length :]

    def _take(self, length: int) -> bytes:
        while len(self._rest) < length:
            more = next(self._pieces, b"")
            if not more:
                raise OSError(errno.EIO, "the kept content is too short")
            self._rest += more
        taken, self._rest = self._rest[:length], self._rest[length:]
        self._at += length
        return taken
