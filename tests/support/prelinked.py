"""A share in the phases of `relocate --prelink`: v0.3's and v0.4's deeds as plain system calls.

Places and names come from `old_shares`, so that no code under test decides what a test expects.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipmigrate.maps.format.v1 import ENTRY_SIZE, HEADER_SIZE, OBJECT_SIZE, decode_header_v1
from archipmigrate.maps.format.v1 import object_count as count_objects
from tests.support.map_shares import v1
from tests.support.old_shares import block_name, new_place, old_place, put
from tests.support.program import Ended

GOLDEN = Path(__file__).parents[1] / "golden" / "v03" / "prelink"
# Times tell whether an object was written after it was deleted; the kernel's have a step of 4 ms.
STEP = 0.02


def extract(name: str, into: Path) -> Path:
    """Extract a share of the golden data; return its directory."""
    into.mkdir(parents=True)
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        archive.extractall(into, filter="fully_trusted")
    return into


def expected() -> dict[str, Any]:
    """Return what v0.3 served in the end, and the class of each object."""
    found: dict[str, Any] = json.loads((GOLDEN / "a-expected.json").read_text())
    return found


@dataclass(frozen=True, slots=True)
class Site:
    """A share, and how the program is called for it."""

    top: Path
    call: Callable[..., Ended]

    @property
    def blocks(self) -> Path:
        """The directory of blocks."""
        return self.top / "blocks"

    @property
    def maps(self) -> Path:
        """The directory of maps."""
        return self.top / "maps"

    def relocate(self, *args: object) -> Ended:
        """Call `relocate --json` for this share."""
        place = ("--blocks", self.blocks, "--maps", self.maps)
        return self.call("relocate", "--json", *place, *args)

    def link(self) -> Ended:
        """Make a pass of phase 1."""
        return self.relocate("--prelink")

    def switch(self) -> Ended:
        """Phases 2 and 3."""
        return self.relocate("--prelink", "--v03-stopped")

    def drop(self) -> Ended:
        """Phase 4."""
        return self.relocate("--drop-old")

    def back(self) -> Ended:
        """Back to v0.3."""
        return self.relocate("--back", "--v04-stopped")

    # -- where things are

    def old(self, volume: str, number: int) -> Path:
        """Where v0.3 looks for a block."""
        return self.blocks / old_place(block_name(volume, number))

    def new(self, volume: str, number: int) -> Path:
        """Where v0.4 looks for a block."""
        return self.blocks / new_place(block_name(volume, number))

    def kept(self, shelf: str) -> list[Path]:
        """Return what is kept aside."""
        return sorted(path for path in self.blocks.glob(f".archipmigrate-*/{shelf}/*/*"))

    # -- what v0.3 does

    def write(self, volume: str, number: int, content: bytes) -> None:
        """Write into a block in place, or make it."""
        path = self.old(volume, number)
        if not path.exists():
            put(path, b"")
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, content)
        os.close(fd)

    def make_again(self, volume: str, number: int, content: bytes) -> None:
        """Delete a block, and make it again."""
        self.old(volume, number).unlink()
        self.write(volume, number, content)

    def write_map(self, volume: str, numbers: Iterator[int] | range | list[int]) -> None:
        """Write a map that names these blocks, none of which may be left out before."""
        entries = [(1, bytes.fromhex(block_name(volume, number)[7:])) for number in numbers]
        put(self.maps / old_place(f"archip_{volume}"), v1(entries))

    def delete(self, volume: str, numbers: range) -> None:
        """Delete a volume: the map first."""
        (self.maps / old_place(f"archip_{volume}")).unlink()
        for number in numbers:
            self.old(volume, number).unlink()

    # -- what v0.3 and v0.4 serve

    def served_by_v03(self, volume: str) -> bytes:
        """Return a volume's content as v0.3 serves it."""
        return self._served(volume, old_place)

    def served_by_v04(self, volume: str) -> bytes:
        """Return a volume's content as v0.4 serves it. Raises OSError where it would fail."""
        return self._served(volume, new_place)

    def sums(self, volumes: dict[str, Any], place: Callable[[str], Path]) -> dict[str, str]:
        """Return the sha256 of volumes."""
        return {name: hashlib.sha256(self._served(name, place)).hexdigest() for name in volumes}

    def _served(self, volume: str, place: Callable[[str], Path]) -> bytes:
        raw = (self.maps / place(f"archip_{volume}")).read_bytes()
        left = decode_header_v1(raw[:HEADER_SIZE])
        content = b""
        for number in range(count_objects(left)):
            at = HEADER_SIZE + number * ENTRY_SIZE
            length = min(OBJECT_SIZE, left)
            left -= length
            part = self._object(raw[at], raw[at + 1 : at + ENTRY_SIZE].hex(), place)
            content += part.ljust(length, b"\0")
        return content

    def _object(self, flag: int, digest: str, place: Callable[[str], Path]) -> bytes:
        if flag:
            path = self.blocks / place(f"archip_{digest}")
            return path.read_bytes() if place is new_place or path.exists() else b""
        path = self.top / "pithos" / "data" / digest[:2] / digest[2:4] / digest[4:6] / digest
        return path.read_bytes() if path.exists() else b""
