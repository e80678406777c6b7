"""A hostile writer among the objects, against each phase of prelink, and against a naive tool.

share/blocks/aa/bb/cc           directories with objects, exchanged without pause with a link to
share/maps/aa/bb/cc             the victim's directory; the new places, and what the run keeps
share/blocks/.archipmigrate-RUN its own things in, too
victim/dir/NAME                 root's own files, of the same names, which must stay as they are
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.attack import EXCHANGER, attacked
from tests.support.inprocess import Program
from tests.support.map_shares import Snapshot, snapshot, v1
from tests.support.old_shares import block_name, new_place, old_place, put
from tests.support.prelinked import Site

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

OBJECTS = 24
VOLUMES = 8
RUNS = 3
ENOUGH = OBJECTS // 2  # names that came or went, in all runs together
VOLUME = "hostile"
BEFORE = {
    "link": (),
    "switch": ("link",),
    "drop": ("link", "switch"),
    "back": ("link", "switch", "drop"),
    "undo": ("link",),
}


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@dataclass(slots=True)
class Arena:
    """A share whose directories are exchanged, and a victim outside."""

    top: Path
    program: Program
    pairs: list[Path] = field(default_factory=list)
    site: Site = field(init=False)
    before: tuple[Snapshot, set[Path]] = field(init=False)

    def __post_init__(self) -> None:
        """Make all."""
        self.site = Site(self.top / "share", self.program)
        inside = self.top / "victim" / "dir"
        inside.mkdir(parents=True, mode=0o700)
        for names in (self.blocks(), self.maps()):
            for name in (*names[::4], *names[3::4]):  # a half of the old ones, and of the new
                put(inside / name, b"root's own")
        self.reset()
        self.before = self.whole()

    def blocks(self) -> list[str]:
        return [block_name(VOLUME, number) for number in range(OBJECTS)]

    def maps(self) -> list[str]:
        return [f"archip_{number:06}-volume" for number in range(VOLUMES)]

    def reset(self) -> None:
        """Make a share as v0.3 leaves it, where the new places have directories."""
        shutil.rmtree(self.site.top, ignore_errors=True)
        shutil.rmtree(self.program.state)
        self.program.state.mkdir(mode=0o700)
        self.pairs = []
        entries = [(1, bytes.fromhex(name[7:])) for name in self.blocks()]
        for root, names, content in (
            (self.site.blocks, self.blocks(), b"an object"),
            (self.site.maps, self.maps(), v1(entries)),
        ):
            for number, name in enumerate(names):
                old, new = put(root / old_place(name), content), put(root / new_place(name), b"")
                new.unlink()
                self._exchange((new if number % 2 else old).parent)

    def live(self) -> None:
        """Do what v0.3 does after the first pass: make again, delete, make anew."""
        for number in range(0, OBJECTS, 4):
            self.site.make_again(VOLUME, number, b"made again")
        self.site.old(VOLUME, OBJECTS - 1).unlink()

    def _exchange(self, directory: Path) -> None:
        link = directory.with_name(f"{directory.name}.link")
        link.symlink_to(self.top / "victim" / "dir")
        self.pairs += [directory, link]

    def own(self, run: str) -> None:
        """Have what the run keeps aside exchanged, too."""
        for root in (self.site.blocks, self.site.maps):
            for shelf in ("deleted-v03", "deleted-v04", "remade", "maps", "v04"):
                path = root / f".archipmigrate-{run}" / shelf
                path.mkdir(parents=True, exist_ok=True)
                self._exchange(path)

    def there(self) -> set[tuple[str, int]]:
        """Return the files there are, wherever an exchange has left them."""
        return {
            (str(path).replace(".link", ""), path.lstat().st_ino)
            for path in self.site.top.rglob("*")
            if path.is_file() and not path.is_symlink()
        }

    def whole(self) -> tuple[Snapshot, set[Path]]:
        """Return all that is the victim's."""
        victim = self.top / "victim"
        return snapshot(victim), set(victim.rglob("*"))

    def under_attack(self) -> AbstractContextManager[None]:
        for path in (self.site.top, *self.site.top.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)
        pairs = [path.relative_to(self.site.top) for path in self.pairs]
        return attacked([sys.executable, "-c", EXCHANGER, self.site.top, *pairs])


def test_naive_tool_hits_the_victim(program: Program, tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", program)
    end = time.monotonic() + 60
    while arena.whole() == arena.before and time.monotonic() < end:
        arena.reset()
        with arena.under_attack():
            places = [
                (arena.site.old(VOLUME, n), arena.site.new(VOLUME, n)) for n in range(OBJECTS)
            ]
            for old, new in [pair for pair in places if not pair[1].parent.is_symlink()]:
                with contextlib.suppress(OSError):
                    os.link(old, new)
    assert arena.whole() != arena.before


@pytest.mark.parametrize("phase", BEFORE)
def test_victim_never_changes_under_attack(program: Program, tmp_path: Path, phase: str) -> None:
    arena = Arena(tmp_path / "arena", program)
    acted = runs = 0
    while runs < RUNS or acted <= ENOUGH:
        arena.reset()
        for earlier in BEFORE[phase]:
            run = getattr(arena.site, earlier)().summary["run"]
            if earlier == "link":
                arena.live()
        if phase != "link":
            arena.own(run)
        there = arena.there()
        with arena.under_attack():
            ended = program("undo", "--json") if phase == "undo" else getattr(arena.site, phase)()
        assert "Traceback" not in ended.err
        acted += len(there ^ arena.there())
        runs += 1
        assert arena.whole() == arena.before, ended.err
