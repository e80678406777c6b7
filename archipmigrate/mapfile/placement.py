"""Which directory of a blocker a file is in. Pure: names in, names out.

`filed` keeps the file of an object three directories deep, `aa/bb/cc/<name>`. What `aabbcc` is
depends on who wrote the file: Archipelago v0.4 hashes the name, v0.3 and Pithos cut it up.
"""

from __future__ import annotations

import hashlib
import re

LEVELS = 3
PREFIX = b"archip_"
DIGEST_NAME = re.compile(rb"[0-9a-f]{64}")


def sha256_place(name: bytes, levels: int = LEVELS) -> tuple[bytes, ...]:
    """Return the directories, outermost first, that v0.4 keeps the object called *name* in.

    Each is two lowercase hex digits of sha256(full object name). `filed` has three *levels*.
    """
    digits = hashlib.sha256(name).hexdigest()
    return tuple(digits[i : i + 2].encode() for i in range(0, 2 * levels, 2))


def v03_place(name: bytes) -> tuple[bytes, ...] | None:
    """Return the directories that v0.3 keeps the object called *name* in.

    Those of `archip_foobar` are `fo/ob/ar`. None if there is no such place: without the prefix,
    with fewer than 6 bytes after it, or if it would lead out of the blocker's directory.
    """
    if not name.startswith(PREFIX):
        return None
    place = _cut(name[len(PREFIX) :])
    return None if len(place[-1]) < 2 or b".." in place else place


def pithos_place(name: bytes) -> tuple[bytes, ...] | None:
    """Return the directories that Pithos keeps the object called *name* in: its first 6 digits.

    None unless the name is 64 lowercase hex digits.
    """
    return _cut(name) if DIGEST_NAME.fullmatch(name) else None


def _cut(name: bytes) -> tuple[bytes, ...]:
    return tuple(name[i : i + 2] for i in range(0, 2 * LEVELS, 2))
