"""A hostile writer among the objects, against relocate and its undo, and against a naive tool.

share/blocks/aa/bb/cc      directories with objects, exchanged without pause with a link to the
share/blocks/xx/yy/zz      victim's directory; the new places, too
victim/dir/NAME            root's own files, of the same names, which must stay where they are
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.attack import EXCHANGER, attacked
from tests.support.inprocess import Program
from tests.support.map_shares import snapshot
from tests.support.old_shares import block_name, new_place, old_place, put

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

OBJECTS = 40
RUNS = 8
ENOUGH = OBJECTS // 4  # objects moved, in all runs together


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


class Arena:
    """Objects whose directories are exchanged, and a victim outside."""

    def __init__(self, top: Path) -> None:
        self.top, self.share, self.victim = top, top / "share", top / "victim"
        self.names = [block_name("hostile", number) for number in range(OBJECTS)]
        (self.victim / "dir").mkdir(parents=True, mode=0o700)
        for name in self.names[::2]:
            put(self.victim / "dir" / name, b"root's own")
        self.pairs: list[Path] = []
        self.reset()
        self.before = snapshot(self.victim)

    def reset(self) -> None:
        """Put all objects at their old places again, some with a link beside their directory."""
        shutil.rmtree(self.share, ignore_errors=True)
        (self.share / "maps").mkdir(parents=True)
        blocks = self.share / "blocks"
        self.pairs = []
        for number, name in enumerate(self.names):
            put(blocks / old_place(name), b"an object")
            new = blocks / new_place(name).parent
            new.mkdir(parents=True, exist_ok=True)
            for place in ((blocks / old_place(name)).parent, new)[number % 2 : number % 2 + 1]:
                link = place.with_name(f"{place.name}.link")
                link.symlink_to(self.victim / "dir")
                self.pairs += [place.relative_to(blocks), link.relative_to(blocks)]
        for path in (blocks, *blocks.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)

    def moved(self) -> int:
        """Return how many objects are at their new places."""
        return sum((self.share / "blocks" / new_place(name)).exists() for name in self.names)

    def under_attack(self) -> AbstractContextManager[None]:
        return attacked([sys.executable, "-c", EXCHANGER, self.share / "blocks", *self.pairs])


def naive(arena: Arena) -> None:
    """What a plain tool does: look by path, act by path."""
    blocks = arena.share / "blocks"
    for name in arena.names:
        old, new = blocks / old_place(name), blocks / new_place(name)
        try:
            if not old.parent.is_symlink() and old.exists():
                os.rename(old, new)
        except OSError:
            pass


def test_naive_tool_hits_the_victim(tmp_path: Path) -> None:
    arena = Arena(tmp_path)
    end = time.monotonic() + 60
    while snapshot(arena.victim) == arena.before and time.monotonic() < end:
        arena.reset()
        with arena.under_attack():
            naive(arena)
    assert snapshot(arena.victim) != arena.before


@pytest.mark.parametrize("command", ["relocate", "undo"])
def test_victim_never_changes_under_attack(program: Program, tmp_path: Path, command: str) -> None:
    arena = Arena(tmp_path / "arena")
    place = ("--blocks", arena.share / "blocks", "--maps", arena.share / "maps")
    words = ("relocate", "-q", "--v03-stopped", "--fresh", *place)
    acted = runs = 0
    while runs < RUNS or acted <= ENOUGH:
        arena.reset()
        if command == "undo":
            program(*words)
            before = arena.moved()
        with arena.under_attack():
            ended = program(*words) if command == "relocate" else program("undo", "-q")
        assert "Traceback" not in ended.err
        acted += arena.moved() if command == "relocate" else before - arena.moved()
        runs += 1
        assert snapshot(arena.victim) == arena.before
