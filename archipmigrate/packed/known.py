"""What is known of entries since their change (`model.Known`), as C has it.

came    for each change that read back differently u32 index, u16 mode, u32 uid, u32 gid, by index
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..model import Known

CAME = struct.Struct("<IHII")


def pack_came(came: Iterable[tuple[int, int, int, int]]) -> bytes:
    """Pack (index, mode, uid, gid) of changes that read back differently."""
    return b"".join(CAME.pack(*one) for one in sorted(came))


def unpack_came(packed: bytes) -> tuple[tuple[int, int, int, int], ...]:
    """Return what `pack_came` packed. Raises struct.error if it is cut off."""
    return tuple(CAME.iter_unpack(packed))


def pack_known(known: Known) -> tuple[bytes, int, bytes, int, int]:
    """Return the argument of the C extensions' apply."""
    came = pack_came(known.came)
    return came, known.kind, known.identities, known.born_before, known.changed_until
