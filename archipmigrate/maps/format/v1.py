"""The map format of Archipelago v0.3. Pure: entries in, bytes out; bytes in, size out.

    header  u32 version = 1, u64 size (bytes)
    entry   u8 flag, 32 bytes digest, one for each object of 4 MiB

All little-endian and packed. With a flag other than 0 the object is called `archip_` and the digest
in hex, with 0 the digest in hex alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

OBJECT_SIZE = 4 << 20
VERSION = 1
HEADER = struct.Struct("<IQ")
ENTRY = struct.Struct("<B32s")
HEADER_SIZE = HEADER.size
ENTRY_SIZE = ENTRY.size
# With flag 0: an object of zeros, which is not stored.
ZERO_DIGEST = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class EntryV1:
    """One object in a v1 map: the flag byte and the raw digest (32 bytes)."""

    flag: int
    digest: bytes


def object_count(size: int) -> int:
    """Return the number of objects of a volume of *size* bytes; the last one may be shorter."""
    return -(-size // OBJECT_SIZE)


def encode_v1(size: int, entries: Sequence[EntryV1]) -> bytes:
    """Pack the map of a volume of *size* bytes.

    Raises ValueError unless there is one entry, with a digest of 32 bytes, for each object.
    """
    if len(entries) != object_count(size):
        raise ValueError(f"{size} bytes are {object_count(size)} objects, not {len(entries)}")
    if any(len(entry.digest) != 32 for entry in entries):
        raise ValueError("a digest has 32 bytes")
    packed = [ENTRY.pack(entry.flag, entry.digest) for entry in entries]
    return HEADER.pack(VERSION, size) + b"".join(packed)


def decode_header_v1(raw: bytes) -> int:
    """Return the size in bytes of the volume whose map begins with *raw*; surplus is ignored.

    Raises ValueError, with the reason, if that is no header of version 1. Does not check whether
    there are as many entries as the size needs.
    """
    if len(raw) < HEADER_SIZE:
        raise ValueError(f"is shorter than a header: {len(raw)} bytes of {HEADER_SIZE}")
    version, size = HEADER.unpack_from(raw)
    if version != VERSION:
        raise ValueError(f"version {version}, not {VERSION}")
    return int(size)
