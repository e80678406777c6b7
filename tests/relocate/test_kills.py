"""Killed or failing at any call, `relocate` leaves each object under its old or its new name.

fail_at.c kills the run in place of its n-th call that changes anything below the share, or after
it, or makes that call fail. Then every object is looked for, and the same command finishes the
work, or `undo` takes it back: by renames in one step, and by links.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from archipmigrate.backend.select import available
from tests.support.kill import Loaded
from tests.support.old_shares import Entry, block_name, entries, make_old_share, moved_paths
from tests.support.old_shares import old_place as old_place_of
from tests.support.program import Ended, missing
from tests.support.thinned import strikes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
KILLED = -9
FEWEST = 30  # calls that change something
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMLINK")
MERGED = f"blocks/{old_place_of(block_name('both', 1))}"
LONG = pytest.mark.long
each_way = pytest.mark.parametrize(
    ("loaded", "links"),
    [
        pytest.param("native", False, id="native-rename"),
        pytest.param("python", False, id="python-rename"),
        pytest.param("native", True, id="native-link"),
        pytest.param("python", True, id="python-link", marks=LONG),  # nearly the same calls
    ],
    indirect=["loaded"],
)
CHANGED = 8
FEWER = 4
each_error = pytest.mark.parametrize(
    "error", ["in turn", *(pytest.param(error, marks=LONG) for error in ERRORS)]
)


@pytest.fixture(scope="module")
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    if request.param not in available():
        missing("gcc (the C extension)")
    loaded = Loaded(request.param, tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A share as it was before, and a state directory."""

    loaded: Loaded
    top: Path
    links: bool
    before: dict[str, Entry]

    @property
    def fired(self) -> str:
        """The call that was killed, or failed; empty if there was none."""
        report = self.top / "report"
        return report.read_text() if report.exists() else ""

    def _run(self, args: list[object], at: int, how: str) -> Ended:
        report = self.top / "report"
        report.unlink(missing_ok=True)
        fault = {"FAIL_UNDER": f"{self.top}/share", "FAIL_AT": str(at), "FAIL_HOW": how,
                 "FAIL_REPORT": str(report)}  # fmt: skip
        if self.links:
            fault["FAIL_RENAMEAT2"] = "1"
        return self.loaded.start(self.top / "state", *args, env=fault).wait()

    def run(self, at: int = 0, how: str = "kill") -> Ended:
        """Relocate; kill the run, or fail, at the *at*-th changing call."""
        share = self.top / "share"
        place = ["--blocks", share / "blocks", "--maps", share / "maps", "--jobs", 1]
        return self._run(["relocate", "--json", "--v03-stopped", *place], at, how)

    def resume(self) -> Ended:
        """Try failures again."""
        return self._run(["resume", "--failed", "--json"], 0, "kill")

    def undo(self, at: int = 0, how: str = "kill") -> Ended:
        """Undo the latest run."""
        return self._run(["undo", "--json"], at, how)

    def check_whole(self) -> None:
        """Check that every object is at its old or its new place, and nothing else was lost."""
        after = entries(self.top / "share")
        moved = moved_paths(self.before)
        for path, was in self.before.items():
            there = [after[p] for p in (path, moved.get(path)) if p in after]
            assert there, f"{self.fired}{path} is lost"
            for now in there:
                assert now.content == was.content, self.fired
            if not self.links and path.startswith("maps/"):
                assert len(there) == 1, self.fired

    def check_done(self, ended: Ended) -> None:
        """Check that a run did all that there was to do."""
        assert ended.status == 3, f"{self.fired}{ended.out}{ended.err}"  # the conflict
        summary = ended.summary
        counts = [summary[n] for n in ("entries", "changed", "failed", "vanished")]
        assert counts == [len(self.before), CHANGED, 0, 0], self.fired
        assert summary["compliant"] + summary["skipped"] == len(self.before) - CHANGED, self.fired
        after = entries(self.top / "share")
        moved = moved_paths(self.before)
        due = {moved.get(path, path) for path in self.before}
        assert set(after) == due, self.fired
        for path, was in self.before.items():
            if path not in moved or moved[path] not in self.before:
                assert after[moved.get(path, path)] == was, self.fired
        made = [path for path in (self.top / "share").rglob("*") if path.is_dir()]
        assert not any(path.stat().st_mode & 0o1000 for path in made), self.fired

    def check_undone(self, ended: Ended) -> None:
        """Check that every file is as before; one that was merged is a copy."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        after = entries(self.top / "share")
        assert set(after) == set(self.before), self.fired
        for path, was in self.before.items():
            now = after[path]
            kept = replace(now, inode=was.inode) if path == MERGED else now
            assert kept == was, f"{self.fired}{path}"


Sites = Callable[[], Site]


@pytest.fixture
def sites(loaded: Loaded, links: bool, tmp_path: Path) -> Iterator[Sites]:
    """Yield a maker of fresh shares, in memory if possible: SIGKILL keeps the page cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        top = Path(directory) / "site"

        def fresh() -> Site:
            shutil.rmtree(top, ignore_errors=True)
            (top / "state").mkdir(mode=0o700, parents=True)
            make_old_share(top / "share")
            return Site(loaded, top, links, entries(top / "share"))

        yield fresh


def struck(
    sites: Sites, how: Callable[[int], str], *, undo: bool = False, step: int = 1
) -> Iterator[tuple[Site, Ended]]:
    """Yield shares whose run, or its undo, was struck; check the one that was not.

    Each *step*-th call is struck, or fewer (see thinned): a kill after a call is mostly the same as
    one before the next.
    """
    for at in strikes(step):
        site = sites()
        if undo:
            site.check_done(site.run())
        ended = (site.undo if undo else site.run)(at, how(at))
        if not site.fired:
            break
        yield site, ended
    (site.check_undone if undo else site.check_done)(ended)
    assert at > (10 if undo else FEWEST)


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
@pytest.mark.parametrize("how", ["kill", "after"])
def test_undo_killed_at_any_call_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for site, ended in struck(sites, lambda _: how, undo=True, step=FEWER if how == "after" else 1):
        assert ended.status == KILLED
        site.check_whole()
        site.check_undone(site.undo())


@each_way
@each_error
def test_run_with_a_call_that_fails_loses_nothing_and_can_be_run_again(
    sites: Sites, error: str
) -> None:
    for site, ended in struck(sites, _errors(error)):
        assert ended.status in {1, 3}, f"{site.fired}{ended.err}"
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
