"""Killed or failing at any call, `locks` loses no lock that it did not record, nor does its undo.

fail_at.c kills the run in place of its n-th call that changes anything below the share, or after
it, or makes that call fail. Then the same command finishes the work, or `undo` takes it back.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kill import KILLED, Loaded
from tests.support.lock_shares import LockFile, lock_files, make_locks
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMLINK")
FEWEST, FEWEST_OF_UNDO = 5, 24  # calls that change something, or make it durable
FEWER = 3


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    loaded = Loaded("auto", tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A share as it was before, what is to be removed of it, and a state directory."""

    loaded: Loaded
    top: Path
    gone: set[str]
    before: dict[str, LockFile]

    @property
    def fired(self) -> str:
        """The call that was killed, or failed; empty if there was none."""
        report = self.top / "report"
        return report.read_text() if report.exists() else ""

    def _run(self, args: list[object], at: int, how: str) -> Ended:
        (self.top / "report").unlink(missing_ok=True)
        fault = {"FAIL_UNDER": f"{self.top}/share", "FAIL_AT": str(at), "FAIL_HOW": how,
                 "FAIL_REPORT": f"{self.top}/report"}  # fmt: skip
        return self.loaded.start(self.top / "state", *args, env=fault).wait()

    def run(self, at: int = 0, how: str = "kill") -> Ended:
        """Clean; kill the run, or fail, at the *at*-th changing call."""
        place = ["--maps", self.top / "share/maps", "--locks", self.top / "share/locks"]
        words = ["locks", "--json", "--clean", "--v03-stopped", "--jobs", 1]
        return self._run([*words, *place], at, how)

    def resume(self) -> Ended:
        """Try failures again."""
        return self._run(["resume", "--failed", "--json"], 0, "kill")

    def undo(self, at: int = 0, how: str = "kill") -> Ended:
        """Undo the latest run."""
        return self._run(["undo", "--json"], at, how)

    def now(self) -> dict[str, LockFile]:
        return lock_files(self.top / "share")

    def check_rest(self) -> None:
        """Check that nothing but what is to be removed was touched, and that only whole."""
        now = self.now()
        for path, file in self.before.items():
            assert now.get(path, file) == file, f"{self.fired}{path}"
            assert path in now or path in self.gone, f"{self.fired}{path}"

    def check_done(self, ended: Ended) -> None:
        """Check that a run removed all that there was to remove, and counted it once."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        summary = ended.summary
        counts = [summary[name] for name in ("changed", "failed", "vanished")]
        assert counts == [len(self.gone), 0, 0], self.fired
        assert sum(summary["removed"].values()) == len(self.gone), self.fired
        listed = [line for line in ended.objects if line["type"] == "lock"]
        assert {line["path"] for line in listed if line["removed"]} == self.gone, self.fired
        assert summary["files"] + summary["others"] == len(listed), self.fired
        due = {path: file for path, file in self.before.items() if path not in self.gone}
        assert self.now() == due, self.fired

    def check_undone(self, ended: Ended) -> None:
        """Check that every lock is as before, and no part is left."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        assert self.now() == self.before, self.fired


Sites = Callable[[], Site]


@pytest.fixture
def sites(loaded: Loaded, tmp_path: Path) -> Iterator[Sites]:
    """Yield a maker of fresh shares, in memory if possible: SIGKILL keeps the page cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        top = Path(directory) / "site"

        def fresh() -> Site:
            shutil.rmtree(top, ignore_errors=True)
            (top / "state").mkdir(mode=0o700, parents=True)
            gone = make_locks(top / "share")
            return Site(loaded, top, gone, lock_files(top / "share"))

        yield fresh


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
    assert at > (FEWEST_OF_UNDO if undo else FEWEST)


@pytest.mark.parametrize("how", ["kill", "after"])
def test_run_killed_at_any_call_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for site, ended in struck(sites, lambda _: how):
        assert ended.status == KILLED
        site.check_rest()
        site.check_done(site.run())


@pytest.mark.parametrize("how", ["kill", "after"])
def test_run_killed_at_any_call_is_undone(sites: Sites, how: str) -> None:
    for site, _ in struck(sites, lambda _: how):
        site.check_undone(site.undo())


@pytest.mark.parametrize("how", ["kill", "after"])
def test_undo_killed_at_any_call_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for site, ended in struck(sites, lambda _: how, undo=True, step=FEWER if how == "after" else 1):
        assert ended.status == KILLED
        site.check_undone(site.undo())


def test_run_with_a_call_that_fails_loses_nothing_and_can_be_run_again(sites: Sites) -> None:
    errors = itertools.cycle(ERRORS)
    for site, ended in struck(sites, lambda _: next(errors)):
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_rest()
        again = {1: site.run, 3: site.resume}.get(ended.status)
        site.check_done(again() if again else ended)


def test_undo_with_a_call_that_fails_loses_nothing_and_can_be_run_again(sites: Sites) -> None:
    errors = itertools.cycle(ERRORS)
    for site, ended in struck(sites, lambda _: next(errors), undo=True):
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_rest()
        site.check_undone(site.undo() if ended.status else ended)


def test_lock_that_is_taken_while_an_undo_was_killed_stays(sites: Sites) -> None:
    for site, _ in struck(sites, lambda _: "kill", undo=True, step=FEWER):
        taken = site.top / "share/maps/fo/ob/ar/archip_foobar_lock"
        was = taken.exists()
        taken.unlink(missing_ok=True)
        taken.write_bytes(b"node9_1002")
        ended = site.undo()
        # It may have been put back, and recorded, before the kill.
        assert ended.status in ({0, 3} if was else {3}), f"{site.fired}{ended.out}{ended.err}"
        assert taken.read_bytes() == b"node9_1002"
        taken.unlink()
        now = site.now()
        key = "maps/fo/ob/ar/archip_foobar_lock"
        assert now == {path: file for path, file in site.before.items() if path != key}
