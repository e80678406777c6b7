"""A hostile writer in the share, against perms, verify and undo, and against a naive tool.

share/pit/          the attacker may write here
    file<i> <-> link<i>      a file, and a link to the victim's file
    dir<i>  <-> dirlink<i>   a directory with a file `key`, and a link to the victim's directory
victim/             root's own: must never change
    key, vault/key
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import compiled
from tests.support.attack import attacked
from tests.support.inprocess import Program
from tests.support.thinned import fewer

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]

PAIRS = 120
ENOUGH = 25 * PAIRS  # entries acted on, in all runs together; a run acts on about 2 * PAIRS


@pytest.fixture(scope="module")
def attacker() -> str:
    return str(compiled.program("attacker"))


class Arena:
    """A share with a pit, and a victim outside it."""

    def __init__(self, top: Path) -> None:
        self.share, self.pit = top / "share", top / "share" / "pit"
        self.victim, self.vault = top / "victim", top / "victim" / "vault"
        self.pit.mkdir(parents=True)
        self.vault.mkdir(parents=True)
        for secret in (self.victim / "key", self.vault / "key"):
            secret.write_text("secret")
            secret.chmod(0o600)
        self.vault.chmod(0o700)
        self.victim.chmod(0o700)
        for number in range(PAIRS):
            (self.pit / f"file{number}").touch(mode=0o600)
            (self.pit / f"link{number}").symlink_to(self.victim / "key")
            (self.pit / f"dir{number}").mkdir(mode=0o700)
            (self.pit / f"dir{number}" / "key").touch(mode=0o600)
            (self.pit / f"dirlink{number}").symlink_to(self.vault)
        self.pit.chmod(0o777)
        # Held open, to be reached whatever their names are by now.
        own = [path for path in self.pit.rglob("*") if not path.is_symlink()]
        self._held = [os.open(path, os.O_RDONLY | os.O_NOFOLLOW) for path in own]
        self.before = self.state_of_victim()

    def reset(self) -> None:
        """Let all that may be exchanged have to be changed again."""
        for descriptor in self._held:
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, 0o700)

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def state_of_victim(self) -> list[tuple[int, int, int, int]]:
        paths = (self.victim, self.victim / "key", self.vault, self.vault / "key")
        found = [path.lstat() for path in paths]
        return [(s.st_mode, s.st_uid, s.st_gid, s.st_ctime_ns) for s in found]

    def under_attack(self, attacker: str) -> AbstractContextManager[None]:
        return attacked([attacker, self.pit, str(PAIRS)])


def naive(pit: Path) -> None:
    """What a plain tool does: look by path, act by path."""
    for entry in os.scandir(pit):
        if not entry.is_symlink():
            try:
                mode = stat.S_IMODE(os.stat(entry.path).st_mode)
                os.chmod(entry.path, mode | 0o060)
            except FileNotFoundError:
                pass


def test_naive_tool_hits_the_victim(attacker: str, tmp_path: Path) -> None:
    arena = Arena(tmp_path)
    with arena.under_attack(attacker):
        end = time.monotonic() + 60
        while arena.state_of_victim() == arena.before and time.monotonic() < end:
            naive(arena.pit)
    arena.close()
    assert arena.state_of_victim() != arena.before


@pytest.mark.parametrize("command", ["perms", "undo", "verify"])
def test_victim_never_changes_under_attack(
    program: Program, command: str, attacker: str, tmp_path: Path
) -> None:
    """Run until enough was acted on or found, each time with all that is exchanged to be changed.

    Undo needs a run of perms to have something to do, which is not attacked.
    """
    arena = Arena(tmp_path)
    done = 0
    while done < fewer(ENOUGH):
        arena.reset()
        if command == "undo":
            assert program.perms(arena.share, "--fresh").status == 0
        with arena.under_attack(attacker):
            if command == "undo":
                ended = program("undo", "--json")
            elif command == "verify":
                ended = program.verify(arena.share)
            else:
                ended = program.perms(arena.share, "--fresh")
        assert ended.status in (0, 3, 4), ended.err
        done += ended.summary["changed"] + ended.summary.get("drift", 0)
        assert arena.state_of_victim() == arena.before
    arena.close()
