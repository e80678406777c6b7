"""The map format of Archipelago v0.4. Pure: values in, bytes out, and back.

    header  "AMF.", u32 version = 2, u64 size, u32 block size, u32 flags, u64 epoch: big-endian
    entry   u8 flags, u32 name length (little-endian), 123 bytes name, zero padded

A map is a header, and map blocks with the entries, which are objects of their own. Whether the
blocks exist is not checked here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

SIGNATURE = b"AMF."
VERSION = 2
HEADER = struct.Struct(">4sIQIIQ")
ENTRY = struct.Struct("<BI123s")
HEADER_SIZE = HEADER.size
HEADER_START = SIGNATURE + VERSION.to_bytes(4, "big")
ENTRY_SIZE = ENTRY.size
LONGEST_NAME = ENTRY_SIZE - 5
# Of the maps that v0.4 writes. A map block is as long as an object of the volume.
BLOCK_SIZE = 0x400000
BLOCK_ENTRIES = BLOCK_SIZE // ENTRY_SIZE


class MapFlag(IntFlag):
    """The known flags of a header; other bits are kept as they are."""

    READONLY = 1
    DELETED = 2


class EntryFlag(IntFlag):
    """The known flags of an entry."""

    WRITABLE = 1
    ARCHIP = 2  # the object's name begins with `archip_`
    ZERO = 4  # an object of zeros, which is not stored
    DELETED = 8


@dataclass(frozen=True, slots=True)
class HeaderV2:
    """The header of a map: sizes in bytes, flags as MapFlag has them."""

    size: int
    block_size: int = BLOCK_SIZE
    flags: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if the block size is impossible."""
        block_size = self.block_size
        if block_size <= ENTRY_SIZE or block_size & (block_size - 1):
            raise ValueError(f"block size {block_size} is no power of two above {ENTRY_SIZE}")

    @property
    def objects(self) -> int:
        """The number of objects of the volume, and of entries."""
        return -(-self.size // self.block_size)

    @property
    def entries_per_block(self) -> int:
        """The number of entries of a full map block."""
        return self.block_size // ENTRY_SIZE

    @property
    def blocks(self) -> int:
        """The number of map blocks that the entries need."""
        return -(-self.objects // self.entries_per_block)

    @property
    def is_deleted(self) -> bool:
        """Whether the volume was deleted, and only its header stayed."""
        return bool(self.flags & MapFlag.DELETED)

    def block_length(self, number: int) -> int:
        """Return how many bytes map block *number* needs; the last one may need less than others.

        Blocks beyond the last one need none.
        """
        entries = self.objects - number * self.entries_per_block
        return max(min(entries, self.entries_per_block), 0) * ENTRY_SIZE


@dataclass(frozen=True, slots=True)
class EntryV2:
    """One object: flags as EntryFlag has them, and the object's full name."""

    flags: int
    name: bytes


def encode_header_v2(header: HeaderV2) -> bytes:
    """Pack a header: 32 bytes."""
    return HEADER.pack(
        SIGNATURE, VERSION, header.size, header.block_size, header.flags, header.epoch
    )


def decode_header_v2(raw: bytes) -> HeaderV2:
    """Unpack the header that *raw* begins with; surplus bytes are ignored.

    Raises ValueError, with the reason, if that is no header of version 2.
    """
    if len(raw) < HEADER_SIZE:
        raise ValueError(f"is shorter than a header: {len(raw)} bytes of {HEADER_SIZE}")
    signature, version, size, block_size, flags, epoch = HEADER.unpack_from(raw)
    if signature != SIGNATURE:
        raise ValueError(f"no map of version {VERSION}: signature {signature!r}")
    if version != VERSION:
        raise ValueError(f"version {version}, not {VERSION}")
    return HeaderV2(size, block_size, flags, epoch)


def encode_entry_v2(entry: EntryV2) -> bytes:
    """Pack an entry: 128 bytes. Raises ValueError if its name is too long."""
    _check_length(len(entry.name))
    return ENTRY.pack(entry.flags, len(entry.name), entry.name)


def decode_entry_v2(raw: bytes) -> EntryV2:
    """Unpack an entry. Raises ValueError unless it has 128 bytes and a name that fits in them."""
    if len(raw) != ENTRY_SIZE:
        raise ValueError(f"an entry has {ENTRY_SIZE} bytes, not {len(raw)}")
    flags, length, name = ENTRY.unpack(raw)
    _check_length(length)
    return EntryV2(flags, name[:length])


def _check_length(length: int) -> None:
    if length > LONGEST_NAME:
        raise ValueError(f"a name of {length} bytes is longer than {LONGEST_NAME}")


def block_name(volume_object: bytes, number: int) -> bytes:
    """Return the name of map block *number* of the map whose header object is called so."""
    return b"%s_%016x" % (volume_object, number)
