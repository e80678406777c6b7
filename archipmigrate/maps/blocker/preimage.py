"""The pre-image of one volume's upgrade: what it was, what it becomes, and which files go away.

Packed as one line of JSON a volume. Names are UTF-8 with surrogate escapes, other bytes hex. Packed
pre-images lie in the journals of earlier runs: keys, and what they mean, stay as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...layout.names import PREFIX
from ...layout.placement import sha256_dir
from ...tree.files import DirPath
from ..format import v2
from ..format.v2 import HeaderV2, block_name, decode_header_v2
from ..format.verdict import Plan


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that the upgrade removes or overwrites: where it was, its attributes, its content.

    `pieces` tell where `OldMaps` has the content (None: it was not kept), `digest` is the xxh3-128
    of the content ("" if it was not kept). `mtime` is in ns, `length` in bytes. In a list of old
    files, the names of one inode follow each other.
    """

    parent: DirPath
    name: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    mtime: int
    length: int
    pieces: Sequence[tuple[int, int]] | None = None
    digest: str = ""

    def is_same(self, found: os.stat_result) -> bool:
        """Whether *found* is this file, and nobody has written to it since."""
        return (self.inode, self.length, self.mtime) == (
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class VolumePreimage:
    """One volume's upgrade.

    `version` is that of the old map, `first` its first bytes, `raw_header` the header that the
    volume gets. `sources` are the files of the old map, its header (or the whole v1 or v0 map)
    first. `replaced` are files that lay where the new blocks go.
    """

    volume: bytes
    plan: Plan
    version: int
    raw_header: bytes
    first: bytes
    sources: Sequence[OldFile]
    replaced: Sequence[OldFile] = field(default=())

    @property
    def header(self) -> HeaderV2:
        """The header that the volume gets."""
        return decode_header_v2(self.raw_header)

    @property
    def source(self) -> OldFile:
        """The old map."""
        return self.sources[0]

    @property
    def in_place(self) -> bool:
        """Whether the map keeps its name and its inode."""
        return self.plan is Plan.IN_PLACE

    @property
    def lock_names(self) -> list[bytes]:
        """The names of the maps whose locks the upgrade needs."""
        return lock_names(self.volume, self.plan)

    @property
    def header_parent(self) -> DirPath:
        """The directory that the v2 header goes to."""
        return self.source.parent if self.in_place else sha256_dir(self.volume)

    def block(self, number: int) -> tuple[DirPath, bytes]:
        """Return directory and name of a new block."""
        name = block_name(self.volume, number)
        return sha256_dir(name), name

    def is_torn(self, there: bytes) -> bool:
        """Whether each of a map's first bytes is either the old one or the new header's."""
        old = self.first.ljust(len(self.raw_header), b"\0")
        return len(there) >= len(self.first) and all(
            byte in pair for byte, *pair in zip(there, old, self.raw_header, strict=False)
        )

    @property
    def new_length(self) -> int:
        """The length of a map after the header was written into it, in bytes."""
        return max(self.source.length, v2.HEADER_SIZE)


def lock_names(volume: bytes, plan: Plan) -> list[bytes]:
    """Return the names of the maps whose locks a plan needs; an upgrade in place needs one only."""
    return [volume] if plan is Plan.IN_PLACE else [volume, PREFIX + volume]


def pack_preimages(preimages: Iterable[VolumePreimage]) -> bytes:
    """Pack pre-images, one a line."""
    return b"".join(json.dumps(_packed(preimage)).encode() + b"\n" for preimage in preimages)


def unpack_preimages(packed: bytes) -> list[VolumePreimage]:
    """Unpack what `pack_preimages` packed."""
    return [_unpacked(json.loads(line)) for line in packed.splitlines()]


def _packed(preimage: VolumePreimage) -> dict[str, Any]:
    return {
        "volume": _text(preimage.volume),
        "plan": preimage.plan,
        "version": preimage.version,
        "raw_header": preimage.raw_header.hex(),
        "first": preimage.first.hex(),
        "sources": [_packed_file(file) for file in preimage.sources],
        "replaced": [_packed_file(file) for file in preimage.replaced],
    }


def _packed_file(file: OldFile) -> dict[str, Any]:
    return {
        "place": [_text(name) for name in file.parent],
        "name": _text(file.name),
        "inode": file.inode,
        "mode": file.mode,
        "uid": file.uid,
        "gid": file.gid,
        "mtime": file.mtime,
        "length": file.length,
        "pieces": file.pieces,
        "digest": file.digest,
    }


def _unpacked(packed: dict[str, Any]) -> VolumePreimage:
    return VolumePreimage(
        _bytes(packed["volume"]),
        Plan(packed["plan"]),
        packed["version"],
        bytes.fromhex(packed["raw_header"]),
        bytes.fromhex(packed["first"]),
        [_unpacked_file(file) for file in packed["sources"]],
        [_unpacked_file(file) for file in packed["replaced"]],
    )


def _unpacked_file(packed: dict[str, Any]) -> OldFile:
    rest = dict(packed)
    parent = tuple(_bytes(name) for name in rest.pop("place"))
    name, pieces = _bytes(rest.pop("name")), rest.pop("pieces")
    kept = None if pieces is None else [(at, length) for at, length in pieces]
    return OldFile(parent, name, pieces=kept, **rest)


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
