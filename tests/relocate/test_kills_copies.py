"""Killed or failing at any call, copies lose nothing, and leave nothing beside what they are.

As in test_kills, for what goes to another filesystem and what is copied from Pithos' own trees,
which lie on a tmpfs of their own here. A part that a kill left is swept by the next command.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.kill import Loaded
from tests.support.map_shares import v1
from tests.support.old_shares import (
    Entry,
    block_name,
    entries,
    make_old_share,
    new_place,
    pithos_place,
    put,
)
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
KILLED = -9
FEWER = 4
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMLINK")
MAP = "archip_volume-1"
OBJECT = block_name("foobar", 7)
DIGEST, HERE = (hashlib.sha256(text).hexdigest() for text in (b"of Pithos", b"at both places"))
MERGED = f"pithos/blocks/{pithos_place(HERE)}"
each_way = pytest.mark.parametrize("moves", [False, True], ids=["copy", "carry"])
each_error = pytest.mark.parametrize(
    "error", ["in turn", *(pytest.param(error, marks=pytest.mark.long) for error in ERRORS)]
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    loaded = Loaded("auto", tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


def found_in(top: Path) -> dict[str, Entry]:
    """Return all files of the share, and of Pithos' own trees."""
    trees = {f"pithos/{path}": entry for path, entry in entries(top / "other").items()}
    return {**entries(top / "share"), **trees}


@dataclass(frozen=True, slots=True)
class Site:
    """A share and Pithos' own trees on another filesystem, as they were, and a state directory."""

    loaded: Loaded
    top: Path
    moves: bool
    before: dict[str, Entry]

    @property
    def due(self) -> dict[str, str]:
        """Where objects of Pithos' own trees are to be, by where they were."""
        return {
            f"pithos/blocks/{pithos_place(DIGEST)}": f"blocks/{pithos_place(DIGEST)}",
            MERGED: f"blocks/{pithos_place(HERE)}",
            f"pithos/blocks/{pithos_place(OBJECT)}": f"blocks/{new_place(OBJECT)}",
            f"pithos/maps/{pithos_place(MAP)}": f"maps/{new_place(MAP)}",
        }

    @property
    def fired(self) -> str:
        """The call that was killed, or failed; empty if there was none."""
        report = self.top / "report"
        return report.read_text() if report.exists() else ""

    def _run(self, args: list[object], at: int, how: str) -> Ended:
        report = self.top / "report"
        report.unlink(missing_ok=True)
        fault = {"FAIL_UNDER": f"{self.top}/share:{self.top}/other", "FAIL_AT": str(at),
                 "FAIL_HOW": how, "FAIL_REPORT": str(report)}  # fmt: skip
        return self.loaded.start(self.top / "state", *args, env=fault).wait()

    def run(self, at: int = 0, how: str = "kill") -> Ended:
        """Relocate; kill the run, or fail, at the *at*-th changing call."""
        share, other = self.top / "share", self.top / "other"
        place = ["--blocks", share / "blocks", "--maps", share / "maps", "--jobs", 1]
        trees = ["--pithos-blocks", other / "blocks", "--pithos-maps", other / "maps"]
        moves = ["--remove-source", "--copy"] if self.moves else []
        words = ["relocate", "--json", "--v03-stopped", *place, *trees, *moves]
        return self._run(words, at, how)

    def resume(self) -> Ended:
        """Try failures again."""
        return self._run(["resume", "--failed", "--json"], 0, "kill")

    def undo(self, at: int = 0, how: str = "kill") -> Ended:
        """Undo the latest run."""
        return self._run(["undo", "--json"], at, how)

    def check_whole(self) -> None:
        """Check that every object is at its old or its new place, and no half copy is at one."""
        after = found_in(self.top)
        for path, new in self.due.items():
            there = [after[p] for p in (path, new) if p in after]
            assert there, f"{self.fired}{path} is lost"
            if not self.moves:
                assert after[path] == self.before[path], self.fired
            for now in there:
                assert now.content == self.before[path].content, self.fired

    def check_done(self, ended: Ended) -> None:
        """Check that a run did all that there was to do."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        after = found_in(self.top)
        for path, new in self.due.items():
            was, now = self.before[path], after[new]
            if path != MERGED:
                assert replace(now, inode=was.inode) == was, self.fired
            assert (path in after) != self.moves, self.fired
        assert not [path for path in after if path.endswith(".archipmigrate")], self.fired

    def check_undone(self, ended: Ended) -> None:
        """Check that every file is as before; those that were copied back have other inodes."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        after = found_in(self.top)
        assert set(after) == set(self.before), self.fired
        for path, was in self.before.items():
            copied = self.moves and path in self.due
            now = replace(after[path], inode=was.inode) if copied else after[path]
            assert now == was, f"{self.fired}{path}"


Sites = Callable[[], Site]


@pytest.fixture
def sites(loaded: Loaded, moves: bool, mount: Callable[..., Path], tmp_path: Path) -> Sites:
    """Return a maker of fresh shares."""
    top = mount(tmp_path / "site", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
    other = mount(top / "other", "-t", "tmpfs", "tmpfs")

    def fresh() -> Site:
        shutil.rmtree(top / "state", ignore_errors=True)
        for path in (*top.glob("share"), *other.iterdir()):
            shutil.rmtree(path)
        (top / "state").mkdir(mode=0o700)
        make_old_share(top / "share", odd=False)
        data, maps = other / "blocks", other / "maps"
        put(data / pithos_place(DIGEST), b"of Pithos")
        os.setxattr(data / pithos_place(DIGEST), "trusted.note", b"kept")
        for where in (data, top / "share/blocks"):
            put(where / pithos_place(HERE), b"at both places")
        put(data / pithos_place(OBJECT), b"v0.3 finds it here", 0o640)
        os.utime(data / pithos_place(OBJECT), ns=(10**18, 10**18 + 7))
        put(maps / pithos_place(MAP), v1([]))
        return Site(loaded, top, moves, found_in(top))

    return fresh


def struck(
    sites: Sites, how: Callable[[int], str], *, undo: bool = False, step: int = 1
) -> Iterator[tuple[Site, Ended]]:
    """Yield shares whose run, or its undo, was struck; check the one that was not."""
    for at in strikes(step):
        site = sites()
        if undo:
            site.check_done(site.run())
        ended = (site.undo if undo else site.run)(at, how(at))
        if not site.fired:
            break
        yield site, ended
    (site.check_undone if undo else site.check_done)(ended)
    assert at > (10 if undo else 30)


@each_way
@pytest.mark.parametrize("how", ["kill", "after"])
def test_run_killed_at_any_call_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for site, ended in struck(sites, lambda _: how, step=FEWER if how == "after" else 1):
        assert ended.status == KILLED
        site.check_whole()
        site.check_done(site.run())


@each_way
def test_run_killed_at_any_call_is_undone(sites: Sites) -> None:
    for site, _ in struck(sites, lambda _: "kill", step=FEWER):
        site.check_whole()
        site.check_undone(site.undo())


@each_way
def test_undo_killed_at_any_call_is_finished_by_the_same_command(sites: Sites) -> None:
    for site, ended in struck(sites, lambda _: "kill", undo=True):
        assert ended.status == KILLED
        site.check_whole()
        site.check_undone(site.undo())


@each_way
@each_error
def test_run_with_a_call_that_fails_loses_nothing_and_can_be_run_again(
    sites: Sites, error: str
) -> None:
    for site, ended in struck(sites, _errors(error)):
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_whole()
        if ended.status == 1:
            site.check_done(site.run())
        elif ended.summary["failed"]:
            site.check_done(site.resume())
        else:
            site.check_done(ended)


@each_way
@each_error
def test_undo_with_a_call_that_fails_loses_nothing_and_can_be_run_again(
    sites: Sites, error: str
) -> None:
    for site, ended in struck(sites, _errors(error), undo=True):
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_whole()
        site.check_undone(site.undo() if ended.status else ended)


def _errors(error: str) -> Callable[[int], str]:
    if error in ERRORS:
        return lambda _: error
    turns = itertools.cycle(ERRORS)
    return lambda _: next(turns)
