"""A hostile writer among the locks, against `locks --clean` and its undo.

share/maps/aa/bb/cc   directories with locks, exchanged without pause with a link to the victim's
victim/dir/NAME       root's own files of the same names: empty, 0700, as v0.3 makes locks
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.attack import EXCHANGER, attacked
from tests.support.inprocess import Program
from tests.support.map_shares import PREFIX, put_v03_lock, snapshot

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]
LOCKS = 40
RUNS = 8
ENOUGH = LOCKS // 4  # locks removed, or made again, in all runs together


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


class Arena:
    """Locks whose directories are exchanged, and a victim outside."""

    def __init__(self, top: Path) -> None:
        self.share, self.victim = top / "share", top / "victim"
        self.volumes = [f"{number:06}-volume" for number in range(LOCKS)]
        (self.victim / "dir").mkdir(parents=True, mode=0o700)
        for volume in self.volumes[::2]:
            path = self.victim / "dir" / f"{PREFIX}{volume}_lock"
            path.touch()
            path.chmod(0o700)
        self.paths: list[Path] = []
        self.pairs: list[Path] = []
        self.reset()
        self.before = snapshot(self.victim)

    def reset(self) -> None:
        """Make all locks again, each with a link beside its directory."""
        shutil.rmtree(self.share, ignore_errors=True)
        maps = self.share / "maps"
        self.paths = [put_v03_lock(maps, volume) for volume in self.volumes]
        self.pairs = []
        for path in self.paths:
            link = path.parent.with_name(f"{path.parent.name}.link")
            link.symlink_to(self.victim / "dir")
            self.pairs += [path.parent.relative_to(maps), link.relative_to(maps)]
        for path in (maps, *maps.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)

    def there(self) -> int:
        """Return how many locks are there, wherever their directories are now."""
        return sum(1 for path in (self.share / "maps").rglob("*_lock") if path.is_file())

    def under_attack(self) -> AbstractContextManager[None]:
        return attacked([sys.executable, "-c", EXCHANGER, self.share / "maps", *self.pairs])


def test_naive_tool_hits_the_victim(tmp_path: Path) -> None:
    arena = Arena(tmp_path)
    end = time.monotonic() + 60
    while snapshot(arena.victim) == arena.before and time.monotonic() < end:
        arena.reset()
        with arena.under_attack():
            for path in [path for path in arena.paths if not path.parent.is_symlink()]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
    assert snapshot(arena.victim) != arena.before


@pytest.mark.parametrize("command", ["locks", "undo"])
def test_victim_never_changes_under_attack(program: Program, tmp_path: Path, command: str) -> None:
    arena = Arena(tmp_path / "arena")
    words = ("locks", "-q", "--clean", "--v03-stopped", "--fresh", "--maps", arena.share / "maps")
    acted = runs = 0
    while runs < RUNS or acted <= ENOUGH:
        arena.reset()
        if command == "undo":
            program(*words)
        before = arena.there()
        with arena.under_attack():
            ended = program(*words) if command == "locks" else program("undo", "-q")
        assert "Traceback" not in ended.err
        acted += abs(arena.there() - before)
        runs += 1
        assert snapshot(arena.victim) == arena.before
