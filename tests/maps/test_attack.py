"""A hostile writer among the maps, against mapfiles and its undo, and against a naive tool.

maps/aa/bb/cc/NAME         a v1 map, exchanged without pause with a link to the victim's
maps/aa/bb/cc              or its directory with a link to the victim's directory
victim/NAME, victim/dir/   root's own maps, which must never change
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import map_shares as mapshare
from tests.support.attack import EXCHANGER, attacked
from tests.support.inprocess import Program
from tests.support.map_shares import sha256_place, snapshot

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

VOLUMES = 40
RUNS = 8
ENOUGH = VOLUMES // 4  # volumes acted on, in all runs together
CONTENT = mapshare.v1(mapshare.v1_entries(5))


class Arena:
    """Maps that are exchanged, and a victim outside."""

    def __init__(self, top: Path) -> None:
        self.maps, self.victim = top / "maps", top / "victim"
        (self.victim / "dir").mkdir(parents=True, mode=0o700)
        self.pairs: list[Path] = []
        self._held: list[int] = []
        for number in range(VOLUMES):
            name = f"volume{number:03}"
            place = self.maps / sha256_place(name)
            place.mkdir(parents=True, exist_ok=True)
            path = place / name
            path.write_bytes(CONTENT)
            self._held.append(os.open(path, os.O_RDWR))
            if number % 2:
                victim = self.victim / name
                self._exchange(path, victim)
            else:
                victim = self.victim / "dir" / name
                self._exchange(place, self.victim / "dir")
            victim.write_bytes(CONTENT)
            victim.chmod(0o600)
        for path in (self.maps, *self.maps.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)
        self.before = snapshot(self.victim)

    def _exchange(self, path: Path, victim: Path) -> None:
        link = path.with_name(f"{path.name}.link")
        link.symlink_to(victim)
        self.pairs += [path.relative_to(self.maps), link.relative_to(self.maps)]

    def reset(self) -> None:
        """Let all maps have to be upgraded again, whatever their names are by now."""
        for descriptor in self._held:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, CONTENT, 0)

    def upgraded(self) -> int:
        """Return how many maps are v2."""
        return sum(os.pread(descriptor, 4, 0) == b"AMF." for descriptor in self._held)

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def under_attack(self) -> AbstractContextManager[None]:
        return attacked([sys.executable, "-c", EXCHANGER, self.maps, *self.pairs])


def naive(maps: Path) -> None:
    """What a plain tool does: look by path, act by path."""
    for path in maps.rglob("volume*"):
        try:
            if not path.is_symlink() and path.read_bytes()[:4] == b"\1\0\0\0":
                with path.open("r+b") as file:
                    file.write(b"AMF.")
        except OSError:
            pass


def test_naive_tool_hits_the_victim(tmp_path: Path) -> None:
    arena = Arena(tmp_path)
    with arena.under_attack():
        end = time.monotonic() + 60
        while snapshot(arena.victim) == arena.before and time.monotonic() < end:
            arena.reset()
            naive(arena.maps)
    arena.close()
    assert snapshot(arena.victim) != arena.before


@pytest.mark.parametrize("command", ["mapfiles", "undo"])
def test_victim_never_changes_under_attack(program: Program, tmp_path: Path, command: str) -> None:
    arena = Arena(tmp_path / "arena")
    words = ("mapfiles", "-q", "--maps", arena.maps, "--fresh")
    acted = runs = 0
    while runs < RUNS or acted <= ENOUGH:
        arena.reset()
        if command == "undo":
            program(*words)
            acted += arena.upgraded()
        with arena.under_attack():
            ended = program(*words) if command == "mapfiles" else program("undo", "-q")
        assert "Traceback" not in ended.err
        acted += arena.upgraded() if command == "mapfiles" else 0
        runs += 1
        assert snapshot(arena.victim) == arena.before
    arena.close()
