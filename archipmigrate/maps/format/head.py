"""What a mapfile is by its first bytes, its length and, for v0, the size from Pithos. Pure.

A v1 map is valid if it is at least as long as its size says. A v0 map has no header, so it may
begin like a v1 map; only a file whose name is 64 hex digits may be one. Under such a name a v1 map
must be exactly as long as its size says, or padded to 512 bytes as `filed` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import v0, v1, v2

HEAD_BYTES = 32
EMPTY = "empty"
NEEDS_SIZE = "a v0 map needs its size (--sizes or --pithos-db)"
PAD = 512  # `direct = True` writes multiples of this
# How much longer than its size says a map may be if it is kept for undo, or read to its end.
SLACK = 64 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """A map's version (None: not a map that can be read, for `reason`) and its header's fields.

    `size` is the volume's, `length` the file's, `block_size` a block's, all in bytes.
    """

    version: int | None
    length: int = 0
    size: int = 0
    block_size: int = v2.BLOCK_SIZE
    flags: int = 0
    epoch: int = 0
    reason: str = ""

    @property
    def header(self) -> v2.HeaderV2:
        """The v2 header with these fields."""
        return _header(self.size, self.block_size, self.flags, self.epoch)

    @property
    def objects(self) -> int:
        """The number of entries."""
        return self.header.objects if self.version == v2.VERSION else v1.object_count(self.size)

    @property
    def is_deleted(self) -> bool:
        """Whether this is a v2 map that is marked deleted."""
        return self.version == v2.VERSION and self.header.is_deleted


@lru_cache(maxsize=64)
def _header(size: int, block_size: int, flags: int, epoch: int) -> v2.HeaderV2:
    """Return a header; a verdict asks for the same one some eight times."""
    return v2.HeaderV2(size, block_size, flags, epoch)


def invalid(reason: str, length: int = 0) -> Head:
    """Return the head of a file that is not a map."""
    return Head(None, length, reason=reason)


def read_head(
    raw: bytes,
    length: int,
    *,
    digest: bool = False,
    sizes: Sequence[int] = (),
    fit: Callable[[int], str] = lambda _: "",
) -> Head:
    """Return what a map is by its first `HEAD_BYTES` bytes and its length.

    *digest* says that the name allows v0. *sizes* are those given for it; `fit(size)` reads the
    file and returns why it does not fit a size ("" if it does).
    """
    signed = raw.startswith(v2.SIGNATURE)
    if raw.startswith(v2.HEADER_START):
        return _head_v2(raw, length)
    misfit = ""
    if digest and sizes:
        if len(sizes) > 1:
            return invalid(f"two sizes are given for it: {sizes[0]} and {sizes[1]}", length)
        misfit = _misfit_by_length(length, sizes[0]) or fit(sizes[0])
        if not misfit:
            return Head(0, length, sizes[0])
    found = _head_v2(raw, length) if signed else _head_v1(raw, length, exact=digest)
    if found.version is None and digest:
        reason = misfit or NEEDS_SIZE
        return dataclasses.replace(found, reason=reason)
    return found


def needed_length(head: Head) -> int:
    """Return how long a map's file must be, in bytes: v2 a header, v1 and v0 all entries."""
    if head.version == v2.VERSION:
        return v2.HEADER_SIZE
    if head.version == v1.VERSION:
        return v1.HEADER_SIZE + v1.ENTRY_SIZE * head.objects
    return v0.DIGEST_SIZE * head.objects


def _misfit_by_length(length: int, size: int) -> str:
    """Return why a v0 map is too long to be read to its end, or ""."""
    needed = v0.DIGEST_SIZE * v1.object_count(size)
    return f"too long: {length:,} bytes, not {needed:,}" if length > needed + SLACK else ""


def _head_v2(raw: bytes, length: int) -> Head:
    try:
        header = v2.decode_header_v2(raw)
    except ValueError as error:
        return invalid(str(error), length)
    return Head(2, length, header.size, header.block_size, header.flags, header.epoch)


def _head_v1(raw: bytes, length: int, *, exact: bool) -> Head:
    if not length:
        return invalid(EMPTY, length)
    try:
        size = v1.decode_header_v1(raw)
    except ValueError as error:
        return invalid(str(error), length)
    needed = v1.HEADER_SIZE + v1.ENTRY_SIZE * v1.object_count(size)
    if length < needed:
        return invalid(f"cut off: {length:,} bytes of {needed:,}", length)
    if exact and length not in (needed, -(-needed // PAD) * PAD):
        return invalid(f"too long for a v1 map: {length:,} bytes, not {needed:,}", length)
    return Head(1, length, size)
