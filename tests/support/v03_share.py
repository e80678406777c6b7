"""A share that the real v0.3.5 left, and the same share where the real v0.4.4 found everything.

Moves by hashlib and names alone, so that no code under test decides what a test expects.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

from tests.support.map_shares import sha256_place

GOLDEN = Path(__file__).parents[1] / "golden" / "v03"
SHORT = "archip_shrt"


def extract_v03(into: Path) -> Path:
    """Extract the share as v0.3 left it, with owners and modes; return its directory."""
    with tarfile.open(GOLDEN / "v03-small.tar.xz") as archive:
        archive.extractall(into, filter="fully_trusted")
    return into


def sums() -> dict[str, dict[str, object]]:
    """Return size and sha256 of each volume as v0.3 served it, by name."""
    found: dict[str, dict[str, object]] = json.loads(
        (GOLDEN / "v03-small.volumes.json").read_text()
    )
    return found


def relocate(share: Path) -> None:
    """Move what v0.4 opens to its places; copy Pithos' trees to Pithos' places below them.

    Locks, the placeholder, the stray and the short name stay, as `v03-small.relocated.txt` has it.
    """
    for tree in (share / "blocks", share / "maps"):
        for path in [path for path in tree.rglob("archip_*") if _is_opened(path, tree.name)]:
            place = tree / sha256_place(path.name)
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
    shutil.copytree(share / "pithos" / "data", share / "blocks", dirs_exist_ok=True)
    shutil.copytree(share / "pithos" / "maps", share / "maps", dirs_exist_ok=True)


def _is_opened(path: Path, tree: str) -> bool:
    """Whether v0.4 opens a file; objects may be empty, maps are then placeholders."""
    if path.name == SHORT or path.name.endswith("_lock"):
        return False
    return tree == "blocks" or path.stat().st_size > 0


def listing(share: Path) -> list[str]:
    """Return size and path of each regular file below `blocks` and `maps`, sorted by path."""
    found = [path for tree in ("blocks", "maps") for path in (share / tree).rglob("*")]
    return [f"{path.stat().st_size} ./{path.relative_to(share)}" for path in sorted(found)
            if path.is_file()]  # fmt: skip
