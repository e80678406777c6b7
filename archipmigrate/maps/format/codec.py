"""Convert the entries of older maps to v2: in Python here, or in C (native/mapfile).

    source                             flags              name
    v1, flag not 0                     WRITABLE, ARCHIP   `archip_` and the digest in hex
    v1, flag 0                         none               the digest in hex
    v1, flag 0, digest of the zeros    ZERO               the digest in hex
    v0                                 as v1, flag 0

Pure: bytes in, bytes out. Both twins give the same bytes for any entries.
"""

from __future__ import annotations

import contextlib
from typing import Protocol

from ...backend.extensions import uses_native
from ...layout.names import PREFIX
from . import v0, v1, v2
from .v2 import EntryFlag, EntryV2

with contextlib.suppress(ImportError):  # no C compiler where this was installed
    from ... import _native

ENTRY_SIZES = {0: v0.DIGEST_SIZE, 1: v1.ENTRY_SIZE}
_GOOD_LENGTHS = bytes(range(v2.LONGEST_NAME + 1))


def _around(flags: int, prefix: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of an entry before and after the digest in hex."""
    digits = bytes(2 * v0.DIGEST_SIZE)
    entry = v2.encode_entry_v2(EntryV2(flags, prefix + digits))
    end = v2.ENTRY_SIZE - v2.LONGEST_NAME + len(prefix)
    return entry[:end], entry[end + len(digits) :]


_ARCHIP, _AFTER_ARCHIP = _around(EntryFlag.WRITABLE | EntryFlag.ARCHIP, PREFIX)
_PLAIN, _AFTER_PLAIN = _around(0, b"")
_ZERO = v2.encode_entry_v2(EntryV2(EntryFlag.ZERO, v1.ZERO_DIGEST.hex().encode()))


class Codec(Protocol):
    """One of the twins. It has no state: any number of threads may share one."""

    name: str

    def convert(self, version: int, entries: bytes) -> bytes:
        """Convert the raw *entries* of a map of version 0 or 1 to v2 entries of 128 bytes each.

        Meant for one map block at a time. Raises ValueError unless all entries are whole.
        """

    def check(self, block: bytes) -> int:
        """Return the index of the first v2 entry whose name is longer than an entry; -1 if none is.

        Raises ValueError unless all entries are whole.
        """


class PythonCodec:
    """The twin in Python, which is always there."""

    name = "python"

    def convert(self, version: int, entries: bytes) -> bytes:
        """See Codec."""
        _check_whole(entries, _entry_size(version))
        if version == 0:
            size = v0.DIGEST_SIZE
            return b"".join(
                [_plain(entries[at : at + size]) for at in range(0, len(entries), size)]
            )
        return b"".join(
            [
                _ARCHIP + digest.hex().encode() + _AFTER_ARCHIP if flag else _plain(digest)
                for flag, digest in v1.ENTRY.iter_unpack(entries)
            ]
        )

    def check(self, block: bytes) -> int:
        """See Codec."""
        _check_whole(block, v2.ENTRY_SIZE)
        # The four bytes of all lengths, one column each: no Python code runs for each entry.
        low, *high = (block[at :: v2.ENTRY_SIZE] for at in range(1, 5))
        if not low.translate(None, _GOOD_LENGTHS) and not any(any(column) for column in high):
            return -1
        return next(
            index
            for index, (_, length, _) in enumerate(v2.ENTRY.iter_unpack(block))
            if length > v2.LONGEST_NAME
        )


class NativeCodec:
    """The twin in C. It releases the GIL."""

    name = "native"

    def convert(self, version: int, entries: bytes) -> bytes:
        """See Codec."""
        _check_whole(entries, _entry_size(version))
        return _native.convert_entries(version, entries)

    def check(self, block: bytes) -> int:
        """See Codec."""
        _check_whole(block, v2.ENTRY_SIZE)
        return _native.check_entries(block)


def codec_of(backend: str) -> Codec:
    """Return the codec that goes with a backend; for `auto`, the fastest that is there.

    Raises BackendMissing if `native` is demanded and not built.
    """
    return NativeCodec() if uses_native(backend) else PythonCodec()


def _plain(digest: bytes) -> bytes:
    if digest == v1.ZERO_DIGEST:
        return _ZERO
    return _PLAIN + digest.hex().encode() + _AFTER_PLAIN


def _entry_size(version: int) -> int:
    if version not in ENTRY_SIZES:
        raise ValueError(f"entries of version {version}, not 0 or 1")
    return ENTRY_SIZES[version]


def _check_whole(entries: bytes, size: int) -> None:
    if len(entries) % size:
        raise ValueError(f"{len(entries)} bytes are no entries of {size} bytes each")
