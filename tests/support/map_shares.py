"""Shares of maps for tests, and a reader that reads them as the real v0.4 `mapperd` does.

Uses hashlib and struct only, so that no code under test decides what a test expects. Names are
those of objects, with their prefix; a *volume* is a name without it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PREFIX = "archip_"
OBJECT = 4 << 20  # bytes of a volume that an entry stands for, and bytes of a full map block
MODE = 0o660  # of files that v0.4 makes with its umask of 007
ZERO = hashlib.sha256(b"").digest()
READONLY, DELETED = 1, 2  # flags of a v2 map
WRITABLE_ARCHIP, ZERO_ENTRY = 3, 4  # flags of a v2 entry
V1_HEADER, V1_ENTRY = struct.Struct("<IQ"), struct.Struct("<B32s")
V2_HEADER, V2_ENTRY = struct.Struct(">4sIQIIQ"), struct.Struct("<BI123s")
ENTRIES_A_BLOCK = OBJECT // V2_ENTRY.size
SIGNATURE = b"AMF."
OTHER = "othernode_1002"  # another holder of locks

Entry = tuple[int, bytes]  # of a v1 map: flag, digest; of a v2 map: flags, name


class Unreadable(Exception):
    """The real mapper could not open the volume, or would read zeros in place of entries."""


# -- where files are


def sha256_place(name: str) -> Path:
    """Return the directories where v0.4 keeps an object."""
    digits = hashlib.sha256(os.fsencode(name)).hexdigest()
    return Path(digits[:2], digits[2:4], digits[4:6])


def v03_place(name: str) -> Path:
    """Return the directories where v0.3 kept `archip_...`: its next six bytes, cut in three."""
    assert name.startswith(PREFIX)
    return _cut(name[len(PREFIX) :])


def pithos_place(name: str) -> Path:
    """Return the directories where Pithos keeps a map."""
    return _cut(name)


def _cut(name: str) -> Path:
    text = os.fsencode(name)[:6]
    return Path(*(os.fsdecode(text[at : at + 2]) for at in (0, 2, 4)))


def is_pithos(volume: str) -> bool:
    """Say whether a name may be that of a v0 map."""
    return len(volume) == 64 and not set(volume) - set("0123456789abcdef")


def put(
    maps: Path, name: str, content: bytes = b"", *, place: Path | None = None, mode: int = MODE
) -> Path:
    """Make an object's file at its sha256 place, or at *place*."""
    path = maps / (sha256_place(name) if place is None else place) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


# -- maps


def digests(count: int, seed: object = "") -> list[bytes]:
    """Return digests that all differ, from those of another seed too."""
    return [hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(count)]


def v1_entries(count: int, seed: object = "") -> list[Entry]:
    """Return v1 entries of all kinds in turn."""
    found = []
    for number, digest in enumerate(digests(count, seed)):
        flag = (1, 0, 0, 255, 1)[number % 5]
        found.append((flag, ZERO if number % 5 in {2, 4} else digest))
    return found


def v1(entries: Sequence[Entry], *, size: int | None = None, surplus: bytes = b"") -> bytes:
    """Return a v1 map; without a *size* all objects are whole."""
    header = V1_HEADER.pack(1, len(entries) * OBJECT if size is None else size)
    return header + b"".join(V1_ENTRY.pack(*entry) for entry in entries) + surplus


def v0(maps_digests: Iterable[bytes], surplus: bytes = b"") -> bytes:
    """Return a v0 map."""
    return b"".join(maps_digests) + surplus


def v2_header(
    size: int,
    *,
    flags: int = 0,
    epoch: int = 1,
    blocksize: int = OBJECT,
    version: int = 2,
    signature: bytes = SIGNATURE,
) -> bytes:
    """Return the header of a v2 map."""
    return V2_HEADER.pack(signature, version, size, blocksize, flags, epoch)


def v2_block(entries: Iterable[Entry]) -> bytes:
    """Return the block with these entries."""
    return b"".join(V2_ENTRY.pack(flags, len(name), name) for flags, name in entries)


def v2_blocks(entries: Sequence[Entry], blocksize: int = OBJECT) -> list[bytes]:
    """Return all blocks of a map."""
    each = blocksize // V2_ENTRY.size
    return [v2_block(entries[at : at + each]) for at in range(0, len(entries), each)]


def block_name(name: str, number: int) -> str:
    """Return the name of a map's block."""
    return f"{name}_{number:016x}"


def put_v2(
    maps: Path,
    name: str,
    entries: Sequence[Entry],
    *,
    size: int | None = None,
    flags: int = 0,
    epoch: int = 1,
    blocksize: int = OBJECT,
    place: Path | None = None,
) -> Path:
    """Make the files of a complete v2 map; *place* is for its header only."""
    for number, block in enumerate(v2_blocks(entries, blocksize)):
        put(maps, block_name(name, number), block)
    size = len(entries) * blocksize if size is None else size
    header = v2_header(size, flags=flags, epoch=epoch, blocksize=blocksize)
    return put(maps, name, header, place=place)


def padded(content: bytes) -> bytes:
    """Return *content* as `filed` with `direct = True` writes it: padded to a multiple of 512."""
    return content + bytes(-len(content) % 512)


def from_v1(entries: Iterable[Entry]) -> list[Entry]:
    """Return the v2 entries for v1 entries."""
    found: list[Entry] = []
    for flag, digest in entries:
        name = digest.hex().encode()
        if flag:
            found.append((WRITABLE_ARCHIP, PREFIX.encode() + name))
        else:
            found.append((ZERO_ENTRY if digest == ZERO else 0, name))
    return found


def from_v0(map_digests: Iterable[bytes]) -> list[Entry]:
    """Return the v2 entries for the digests of a v0 map."""
    return from_v1((0, digest) for digest in map_digests)


# -- locks


def lock_path(maps: Path, locks: Path | None, name: str) -> Path:
    """Return where v0.4 has the lock of an object."""
    lock = f"{name}_lock"
    return locks / lock if locks else maps / sha256_place(lock) / lock


def put_lock(
    maps: Path, locks: Path | None, name: str, owner: str = OTHER, *, pad: bool = False
) -> Path:
    """Make the lock of an object, held by *owner*."""
    path = lock_path(maps, locks, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(padded(owner.encode()) if pad else owner.encode())
    path.chmod(MODE)
    return path


def put_stale(maps: Path, locks: Path | None, name: str, owner: str = OTHER) -> Path:
    """Make the temporary file that a process left that died while it acquired a lock."""
    path = lock_path(maps, locks, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    stale = path.with_name(f"{path.name}{owner}_ab")
    stale.write_bytes(owner.encode())
    stale.chmod(MODE)
    return stale


def put_v03_lock(maps: Path, volume: str) -> Path:
    """Make the lock that v0.3 has beside a map at v0.3's place."""
    name = PREFIX + volume
    return put(maps, f"{name}_lock", place=v03_place(name), mode=0o700)


# -- the files of a share


class FileState(NamedTuple):
    """A regular file: all that an upgrade or an undo may change of it."""

    content: bytes
    mode: int
    inode: int
    uid: int
    gid: int


Snapshot = dict[str, FileState]


def snapshot(*directories: Path | None) -> Snapshot:
    """Return the regular files below directories, by path from there; None has none."""
    found = {}
    for top in directories:
        for path, _, names in os.walk(top) if top else ():
            for name in names:
                where = os.path.join(path, name)
                status = os.lstat(where)
                if stat.S_ISREG(status.st_mode):
                    with open(where, "rb") as file:
                        state = FileState(file.read(), stat.S_IMODE(status.st_mode), status.st_ino,
                                    status.st_uid, status.st_gid)  # fmt: skip
                    found[os.path.relpath(where, top)] = state
    return found


def contents(found: Snapshot) -> dict[str, tuple[bytes, int]]:
    """Return what must be equal in equal shares: content and mode, by path."""
    return {path: (state.content, state.mode) for path, state in found.items()}


# -- the reference reader


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as the mapper opens it: entries as in v2, whatever the version; size in bytes."""

    version: int
    name: str
    size: int
    flags: int
    epoch: int
    entries: list[Entry]


def read_volume(maps: Path, volume: str, *, size: int | None = None, v03: bool = False) -> Volume:
    """Open a volume as the real v0.4 does; *size* is what Pithos says of a v0 map.

    With *v03*, also find a map at v0.3's place, after all others, as v0.3 itself does. Raises
    Unreadable.
    """
    name, file = _header_object(maps, volume, v03=v03)
    content = file.read_bytes()
    if content[:8] == SIGNATURE + b"\0\0\0\2":
        return _read_v2(maps, name, content)
    if size is not None and is_pithos(volume):
        return _read_v0(name, content, size)
    if content[:4] == b"\1\0\0\0":
        return _read_v1(name, content)
    raise Unreadable(f"{file} is no map")


def _header_object(maps: Path, volume: str, *, v03: bool) -> tuple[str, Path]:
    old = PREFIX + volume
    ways = [(volume, sha256_place(volume)), (old, sha256_place(old))]
    if is_pithos(volume):
        ways.insert(0, (volume, pithos_place(volume)))
    if v03:
        ways.append((old, v03_place(old)))
    for name, place in ways:
        path = maps / place / name
        if path.is_file():
            return name, path
    raise Unreadable(f"{volume}: not found")


def _read_v2(maps: Path, name: str, content: bytes) -> Volume:
    if len(content) < V2_HEADER.size:
        raise Unreadable(f"{name}: a header of {len(content)} bytes")
    _, _, size, blocksize, flags, epoch = V2_HEADER.unpack_from(content)
    if blocksize <= V2_ENTRY.size or blocksize & (blocksize - 1):
        raise Unreadable(f"{name}: blocks of {blocksize} bytes")
    if flags & DELETED:
        raise Unreadable(f"{name}: deleted")
    objects, each = -(-size // blocksize), blocksize // V2_ENTRY.size
    entries: list[Entry] = []
    for number in range(-(-objects // each)):
        block = block_name(name, number)
        due = min(objects - number * each, each) * V2_ENTRY.size
        try:
            found = (maps / sha256_place(block) / block).read_bytes()
        except FileNotFoundError:
            raise Unreadable(f"{block}: not found") from None
        if len(found) < due:
            raise Unreadable(f"{block}: {len(found)} bytes of {due}")
        for entry_flags, length, text in V2_ENTRY.iter_unpack(found[:due]):
            if length > len(text):
                raise Unreadable(f"{block}: a name of {length} bytes")
            entries.append((entry_flags, text[:length]))
    return Volume(2, name, size, flags, epoch, entries)


def _read_v1(name: str, content: bytes) -> Volume:
    if len(content) < V1_HEADER.size:
        raise Unreadable(f"{name}: a header of {len(content)} bytes")
    _, size = V1_HEADER.unpack_from(content)
    end = V1_HEADER.size + -(-size // OBJECT) * V1_ENTRY.size
    if len(content) < end:
        raise Unreadable(f"{name}: {len(content)} bytes of {end}")
    entries = from_v1(V1_ENTRY.iter_unpack(content[V1_HEADER.size : end]))
    return Volume(1, name, size, 0, 0, entries)


def _read_v0(name: str, content: bytes, size: int) -> Volume:
    objects = -(-size // OBJECT)
    if len(content) < 32 * objects or content[32 * objects :].strip(b"\0"):
        raise Unreadable(f"{name}: {len(content)} bytes for {objects} objects")
    found = [content[at : at + 32] for at in range(0, 32 * objects, 32)]
    if bytes(32) in found:
        raise Unreadable(f"{name}: an empty digest")
    return Volume(0, name, size, READONLY, 0, from_v0(found))


def put_v1(maps: Path, *volumes: str, objects: int = 3) -> None:
    """Put v1 maps with the prefix where v0.4 looks for them, with *objects* entries each."""
    for volume in volumes:
        entries = [(1, number.to_bytes(4, "big") * 8) for number in range(objects)]
        put(maps, f"archip_{volume}", v1(entries))
