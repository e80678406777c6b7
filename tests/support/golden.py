"""Shares of maps before and after the real v0.4 `mapperd`: the cases of golden/README.md."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "golden" / "mapfiles.tar.xz"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of the index; the first letter of its name is its kind."""

    name: str
    volume: str
    v0_size: int | None
    lock_dir: bool
    mapperd: str | None
    expect: str
    in_place: bool
    result: str
    exit: int
    check: bool

    @property
    def kind(self) -> str:
        """The kind of the case: a letter."""
        return self.name[0]


@dataclass(frozen=True, slots=True)
class Share:
    """The two directories of a case, before or after; `locks` may be missing."""

    maps: Path
    locks: Path


@dataclass(frozen=True, slots=True)
class Extracted:
    """An extracted case."""

    before: Share
    after: Share


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases, ordered by name."""
    with tarfile.open(ARCHIVE) as archive:
        index = archive.extractfile("index.json")
        assert index
        return tuple(Case(name=name, **case) for name, case in sorted(json.load(index).items()))


def extract(chosen: Iterable[Case], into: Path) -> dict[str, Extracted]:
    """Extract cases below *into*, with owners and modes; return their directories by name."""
    names = {case.name for case in chosen}
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive if member.name.split("/")[0] in names]
        archive.extractall(into, members, filter="fully_trusted")
    return {name: Extracted(_share(into / name / "before"), _share(into / name / "after"))
            for name in names}  # fmt: skip


def _share(directory: Path) -> Share:
    return Share(directory / "maps", directory / "locks")
