"""What one would write first, in the place of `mapfiles`. `map_loops look|upgrade MAPS`.

`look` opens every file and reads 32 bytes. `upgrade` converts every v1 map without locks, journal,
sync or a second look. Yardsticks, not examples: a power cut, or a map that is cut off, and a volume
is lost.
"""

import os
import struct
import sys
from collections.abc import Iterator
from hashlib import sha256

PREFIX = "archip_"
OBJECT = 4 << 20  # bytes of a volume that an entry stands for, and bytes of a full map block
ENTRY, NEW_ENTRY = 33, 128
IN_A_BLOCK = OBJECT // NEW_ENTRY
ZERO = sha256(b"").digest()


def main(task: str, maps: str) -> None:
    """Do it."""
    if task == "look":
        for path in _files(maps):
            with open(path, "rb") as file:
                file.read(32)
        return
    for path in [p for p in _files(maps) if os.path.basename(p).startswith(PREFIX)]:
        _upgrade(maps, path)


def _files(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        for name in names:
            yield os.path.join(directory, name)


def _upgrade(maps: str, path: str) -> None:
    with open(path, "rb") as file:
        version, size = struct.unpack("<IQ", file.read(12))
        if version != 1:
            return
        name = os.path.basename(path).removeprefix(PREFIX)
        count = -(-size // OBJECT)
        for number in range(-(-count // IN_A_BLOCK)):
            entries = file.read(IN_A_BLOCK * ENTRY)
            block = b"".join(
                _entry(entries[at], entries[at + 1 : at + ENTRY])
                for at in range(0, len(entries), ENTRY)
            )
            _write(maps, f"{name}_{number:016x}", block)
    _write(maps, name, struct.pack(">4sIQIIQ", b"AMF.", 2, size, OBJECT, 0, 1))
    os.unlink(path)


def _entry(flag: int, digest: bytes) -> bytes:
    name = digest.hex().encode()
    flags = 4 if digest == ZERO else 0
    if flag:
        flags, name = 3, b"archip_" + name
    return struct.pack("<BI123s", flags, len(name), name)


def _write(maps: str, name: str, content: bytes) -> None:
    place = sha256(name.encode()).hexdigest()
    directory = os.path.join(maps, place[:2], place[2:4], place[4:6])
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(content)


main(sys.argv[1], sys.argv[2])
