"""A hostile writer among the objects, against all that relocate does, and against naive tools.

share/blocks/aa/bb/cc      directories with objects, exchanged without pause with a link to the
share/blocks/xx/yy/zz      victim's directory; the new places, too
share/pithos/aa/bb/cc      those of Pithos' own tree, on another filesystem
victim/dir/NAME            root's own files, of the same names, which must stay as they are
victim/dir/cc              root's own empty directories, which must stay, too
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.attack import EXCHANGER, attacked
from tests.support.inprocess import Program
from tests.support.map_shares import Snapshot, snapshot, v1
from tests.support.old_shares import block_name, new_place, old_place, pithos_place, put

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

OBJECTS = 40
RUNS = 5
ENOUGH = OBJECTS // 2  # names that came or went, in all runs together
VOLUME = "hostile"
STOPPED = ("--v03-stopped", "--v04-stopped")


@dataclass(frozen=True, slots=True)
class Deed:
    """What relocate is asked for, and where the objects are before: `here`, `pithos`, `both`."""

    words: tuple[str, ...] = ("--v03-stopped",)
    where: str = "here"
    backend: str = "auto"


DEEDS = {
    "python": Deed(backend="python"),
    "native": Deed(backend="native"),
    "copy": Deed(where="pithos"),
    "carry": Deed(("--v03-stopped", "--remove-source", "--copy"), "pithos"),
    "prune": Deed(("--prune", *STOPPED), "nowhere"),
    "merge": Deed(("--merge-diverged", VOLUME, *STOPPED), "both"),
}
UNDONE = [name for name in DEEDS if name != "prune"]  # which puts nothing back
TOOLS = ["move", "copy", "prune"]


@dataclass(slots=True)
class Arena:
    """Objects whose directories are exchanged, and a victim outside."""

    top: Path
    where: str
    names: list[str] = field(default_factory=list)
    pairs: list[Path] = field(default_factory=list)
    before: tuple[Snapshot, set[Path]] = field(init=False)

    def __post_init__(self) -> None:
        """Make all; directories of the victim's have the last names of those of objects."""
        self.names = [block_name(VOLUME, number) for number in range(OBJECTS)]
        if self.where == "pithos":
            self.names = [name.removeprefix("archip_") for name in self.names]
        inside = self.victim / "dir"
        inside.mkdir(parents=True, mode=0o700)
        for number, name in enumerate(self.names):
            if number % 4 in (0, 3):  # a half of the sources, and of the targets
                put(inside / name, b"root's own")
            (inside / self.source(name).parent.name).mkdir(exist_ok=True)
        self.reset()
        self.before = self.whole()

    @property
    def share(self) -> Path:
        return self.top / "share"

    @property
    def victim(self) -> Path:
        return self.top / "victim"

    def source(self, name: str) -> Path:
        """Where an object is before."""
        if self.where == "pithos":
            return self.share / "pithos" / pithos_place(name)
        return self.share / "blocks" / old_place(name)

    def target(self, name: str) -> Path:
        """Where v0.4 looks for an object."""
        place = pithos_place if self.where == "pithos" else new_place
        return self.share / "blocks" / place(name)

    def reset(self) -> None:
        """Put all objects at their old places again, some with a link beside a directory."""
        for path in (*self.share.glob("blocks"), *self.share.glob("maps")):
            shutil.rmtree(path)
        for path in self.share.glob("pithos/*"):
            shutil.rmtree(path)
        for path in (self.share / "pithos", self.share / "maps", self.share / "blocks"):
            path.mkdir(parents=True, exist_ok=True)
        if self.where == "both":
            entries = [(1, bytes.fromhex(name[7:])) for name in self.names]
            put(self.share / "maps" / new_place(f"archip_{VOLUME}"), v1(entries))
        self.pairs = []
        for number, name in enumerate(self.names):
            source, target = put(self.source(name), b"an object"), put(self.target(name), b"newer")
            if self.where != "both":
                target.unlink()
            if self.where == "nowhere":
                source.unlink()
                exchanged = put(source.parent.parent / "keep", b"").parent
            else:
                exchanged = (target if number % 2 else source).parent
            link = exchanged.with_name(f"{exchanged.name}.link")
            link.symlink_to(self.victim / "dir")
            self.pairs += [exchanged, link]
        for path in (self.share, *self.share.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)

    def there(self) -> set[str]:
        """Return the files and directories there are, wherever an exchange has left them."""
        return {
            str(path).replace(".link", "")
            for path in self.share.rglob("*")
            if not path.is_symlink()
        }

    def whole(self) -> tuple[Snapshot, set[Path]]:
        """Return all that is the victim's."""
        return snapshot(self.victim), set(self.victim.rglob("*"))

    def under_attack(self) -> AbstractContextManager[None]:
        pairs = [path.relative_to(self.share) for path in self.pairs]
        return attacked([sys.executable, "-c", EXCHANGER, self.share, *pairs])

    def words(self, deed: Deed) -> list[object]:
        place = ["--blocks", self.share / "blocks", "--maps", self.share / "maps"]
        tree = ["--pithos-blocks", self.share / "pithos"] if self.where == "pithos" else []
        return ["relocate", "-q", "--fresh", *place, *tree, *deed.words]


Arenas = Callable[[str], Arena]


@pytest.fixture
def arenas(tmp_path: Path, mount: Callable[..., Path]) -> Arenas:
    """Return a maker of arenas; Pithos' own tree lies on a filesystem of its own."""

    def make(where: str) -> Arena:
        top = tmp_path / "arena"
        if where == "pithos":
            (top / "share").mkdir(parents=True)
            mount(top / "share" / "pithos", "-t", "tmpfs", "tmpfs")
        return Arena(top, where)

    return make


@pytest.mark.parametrize("tool", TOOLS)
def test_naive_tool_hits_the_victim(arenas: Arenas, tool: str) -> None:
    """What a plain tool does: look by path, then act by path."""
    arena = arenas("nowhere" if tool == "prune" else "here")

    def act(source: Path, target: Path) -> None:
        if tool == "prune":
            os.rmdir(source.parent)
        elif tool == "copy":
            shutil.copy(source, target)
        else:
            os.rename(source, target)

    end = time.monotonic() + 60
    while arena.whole() == arena.before and time.monotonic() < end:
        arena.reset()
        with arena.under_attack():
            places = [(arena.source(name), arena.target(name)) for name in arena.names]
            for source, target in [p for p in places if not _leads_out(*p)]:
                with contextlib.suppress(OSError):
                    act(source, target)
    assert arena.whole() != arena.before


def _leads_out(*paths: Path) -> bool:
    return any(parent.is_symlink() for path in paths for parent in list(path.parents)[:3])


@pytest.mark.parametrize(
    ("deed", "undo", "backend"),
    [
        pytest.param(deed, undo, deed.backend, id=f"undo-{name}" if undo else name)
        for name, deed in DEEDS.items()
        for undo in ([False, True] if name in UNDONE else [False])
    ],
)
def test_victim_never_changes_under_attack(
    program: Program, arenas: Arenas, deed: Deed, undo: bool
) -> None:
    arena = arenas(deed.where)
    words = arena.words(deed)
    acted = runs = 0
    while runs < RUNS or acted <= ENOUGH:
        arena.reset()
        if undo:
            program(*words)
        there = arena.there()
        with arena.under_attack():
            ended = program("undo", "-q") if undo else program(*words)
        assert "Traceback" not in ended.err
        acted += len(there ^ arena.there())
        runs += 1
        assert arena.whole() == arena.before, ended.err
