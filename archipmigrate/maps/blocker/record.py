"""The pre-image of one volume's upgrade: what it was, what it becomes, what goes away by it.

Packed as one line of JSON a volume; names are UTF-8 with surrogate escapes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...tree.files import Place
from ..format import v2
from ..format.names import PREFIX
from ..format.placement import sha256_place
from ..format.v2 import HeaderV2, block_name, decode_header_v2
from ..format.verdict import Plan


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that goes away, or is changed: where, what it was, and its content if that is kept.

    `pieces` are those of the journal's kept file (None: not kept), `digest` is the xxh3-128 of the
    content ("" if not kept); times in ns. Names of one inode follow each other.
    """

    place: Place
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
        """Whether a file is still the one that this was made from, unwritten."""
        return (self.inode, self.length, self.mtime) == (
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One volume's upgrade.

    `raw_header` is the header that it gets, `first` the first bytes of its map, `version` that of
    the source; `sources` are the source's files, the map itself first; `replaced` are the blocks
    that lay where the new ones go.
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
        """The source's map."""
        return self.sources[0]

    @property
    def in_place(self) -> bool:
        """Whether the map keeps its name and its inode."""
        return self.plan is Plan.IN_PLACE

    @property
    def lock_names(self) -> list[bytes]:
        """The maps whose locks are needed."""
        return lock_names(self.volume, self.plan)

    @property
    def header_place(self) -> Place:
        """Where the v2 header lies."""
        return self.source.place if self.in_place else sha256_place(self.volume)

    def block(self, number: int) -> tuple[Place, bytes]:
        """Return place and name of a new block."""
        name = block_name(self.volume, number)
        return sha256_place(name), name

    def is_torn(self, there: bytes) -> bool:
        """Whether first bytes of a map in place are partly the old and partly the new ones."""
        old = self.first.ljust(len(self.raw_header), b"\0")
        return len(there) >= len(self.first) and all(
            byte in pair for byte, *pair in zip(there, old, self.raw_header, strict=False)
        )

    @property
    def new_length(self) -> int:
        """How long a map is after its header was written into it."""
        return max(self.source.length, v2.HEADER_SIZE)


def lock_names(volume: bytes, plan: Plan) -> list[bytes]:
    """Return the maps whose locks a plan needs: one in place needs its own only."""
    return [volume] if plan is Plan.IN_PLACE else [volume, PREFIX + volume]


def pack_records(records: Iterable[Record]) -> bytes:
    """Pack records, one a line."""
    return b"".join(json.dumps(_shown(asdict(record))).encode() + b"\n" for record in records)


def read_records(packed: bytes) -> list[Record]:
    """Return what `pack_records` packed."""
    return [_record(json.loads(line)) for line in packed.splitlines()]


def _shown(value: Any) -> Any:
    """Turn bytes into text, however deep."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, dict):
        binary = ("raw_header", "first")
        return {k: v.hex() if k in binary else _shown(v) for k, v in value.items()}
    return [_shown(item) for item in value] if isinstance(value, (list, tuple)) else value


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _record(thing: dict[str, Any]) -> Record:
    return Record(
        _bytes(thing["volume"]),
        Plan(thing["plan"]),
        thing["version"],
        bytes.fromhex(thing["raw_header"]),
        bytes.fromhex(thing["first"]),
        [_old_file(file) for file in thing["sources"]],
        [_old_file(file) for file in thing["replaced"]],
    )


def _old_file(thing: dict[str, Any]) -> OldFile:
    pieces = thing["pieces"]
    return OldFile(
        **{
            **thing,
            "place": tuple(_bytes(part) for part in thing["place"]),
            "name": _bytes(thing["name"]),
            "pieces": None if pieces is None else [(at, length) for at, length in pieces],
        }
    )
