"""Which directory of a blocker a file is in. Pure: names in, names out.

`filed` keeps the file of an object three directories deep, `aa/bb/cc/<name>`. What `aabbcc` is
depends on who wrote the file; Archipelago v0.4 hashes the name.
"""

from __future__ import annotations

import hashlib

LEVELS = 3


def sha256_place(name: bytes, levels: int = LEVELS) -> tuple[bytes, ...]:
    """Return the directories, outermost first, that v0.4 keeps the object called *name* in.

    Each is two lowercase hex digits of sha256(full object name). `filed` has three *levels*.
    """
    digits = hashlib.sha256(name).hexdigest()
    return tuple(digits[i : i + 2].encode() for i in range(0, 2 * levels, 2))
