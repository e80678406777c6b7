"""`perms --owner` is finished, or undone, wherever it was killed, and whichever call failed."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import thinned
from tests.support.kill import (
    KILLED,
    Loaded,
    count_off,
    expected_tally,
    migrated,
    set_bits_again,
    tally_of,
    undone,
)
from tests.support.odd_tree import odd_tree, put
from tests.support.program import GID, Attrs, Ended, attrs
from tests.support.situations import made

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

UID = 54322  # of nobody, on any system
ERRORS = ("EPERM", "EIO", "EDQUOT", "ENOSPC", "EROFS")
MOST = 200  # calls that a run over this tree makes at most


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Loaded]]:
    serving: dict[str, Loaded] = {}

    def load(backend: str) -> Loaded:
        if backend not in serving:
            serving[backend] = Loaded(backend, tmp_path_factory.mktemp(backend), "fail_at")
        return serving[backend]

    yield load
    for loaded in serving.values():
        loaded.close()


@dataclass(frozen=True)
class Site:
    """A share as it was, what a run must make of it, and where states lie."""

    loaded: Loaded
    share: Path
    states: Path
    before: dict[bytes, Attrs]

    def fired(self) -> bool:
        """Say whether the fault of the last run happened."""
        return (self.states / "report").exists()

    def _run(self, state: Path, args: tuple[object, ...], at: int, how: str) -> Ended:
        report = self.states / "report"
        report.unlink(missing_ok=True)
        fault = {"FAIL_UNDER": str(self.share), "FAIL_AT": str(at), "FAIL_HOW": how}
        env = {**fault, "FAIL_REPORT": str(report)}
        return self.loaded.start(state, *args, env=env).wait()

    def perms(self, state: Path, at: int = 0, how: str = "kill") -> Ended:
        """Run it, with a fault at the *at*-th changing call."""
        ids = ("--group", GID, "--owner", UID)
        return self._run(state, ("perms", "--json", *ids, "--jobs", 1, self.share), at, how)

    def undo(self, state: Path, at: int = 0, how: str = "kill") -> Ended:
        """Undo the latest run."""
        return self._run(state, ("undo", "--json", "--jobs", 1), at, how)

    def resume(self, state: Path) -> Ended:
        """Go on, and try failures again."""
        return self._run(state, ("resume", "--json", "--failed"), 0, "kill")

    def check_back(self) -> None:
        """Check that all is as after an undo, and set the set-id bits that are off."""
        assert attrs(self.share) == undone(self.before, UID)
        set_bits_again(self.before, self.share, UID)


@pytest.fixture
def site(backend: str, loader: Callable[[str], Loaded], share: Path, tmp_path: Path) -> Site:
    odd_tree(share)
    put(share / "c" / "only_owner", 0o6775, GID, uid=7)
    put(share / "c" / "only_group", 0o660, 8, uid=UID)
    put(share / "c" / "all_right", 0o4660, GID, uid=UID)
    states = tmp_path / "states"
    states.mkdir(mode=0o700)
    return Site(loader(backend), share, states, attrs(share))


def is_between(before: Attrs, now: Attrs) -> bool:
    """Say whether an entry got its owner and group and nothing else, but for what chown strips."""
    mode = before[0]
    if stat.S_ISREG(mode) and before[1:] != (UID, GID):
        mode &= ~0o6000 if mode & 0o010 else ~0o4000
    return now == (mode, UID, GID)


def half_done(site: Site) -> set[bytes]:
    """Return the entries that are neither as they were nor as they are to be."""
    after, now = migrated(site.before, UID), attrs(site.share)
    found = {path for path in now if now[path] not in (site.before[path], after[path])}
    assert all(is_between(site.before[path], now[path]) for path in found)
    return found


@pytest.mark.parametrize("how", ["kill", "after"])
def test_run_killed_at_any_call_is_finished_and_undone(site: Site, how: str) -> None:
    tally = expected_tally(site.share, UID)
    off = count_off(site.before, site.share, UID)
    halves: set[bytes] = set()
    for at in thinned.strikes():
        state = site.states / f"{at}"
        ended = site.perms(state, at, how)
        if not site.fired():
            break
        assert ended.status == KILLED
        halves |= half_done(site)
        ended = site.perms(state)
        assert (ended.status, ended.summary["resumed"], tally_of(ended)) == (0, True, tally)
        assert attrs(site.share) == migrated(site.before, UID)
        undo = site.undo(state)
        assert (undo.summary["changed"], undo.summary["skipped"]) == (tally["changed"] - off, off)
        site.check_back()
    assert (ended.status, at < MOST) == (0, True)
    made(halves, "entries that were killed between their calls")


def test_undo_of_a_run_killed_at_any_call_restores_all(site: Site) -> None:
    for at in thinned.strikes():
        state = site.states / f"{at}"
        site.perms(state, at)
        if not site.fired():
            break
        touched = {p: then for p, then in site.before.items() if attrs(site.share)[p] != then}
        ended = site.undo(state)
        off = count_off(touched, site.share, UID)
        assert (ended.status, ended.summary["skipped"]) == (3 if off else 0, off)
        assert attrs(site.share) == site.before | undone(touched, UID)
        set_bits_again(touched, site.share, UID)
    assert at > 20


@pytest.mark.parametrize("how", ["kill", "after"])
def test_undo_killed_at_any_call_is_finished_by_the_next(site: Site, how: str) -> None:
    for at in thinned.strikes():
        state = site.states / f"{at}"
        assert site.perms(state).status == 0
        ended = site.undo(state, at, how)
        fired = site.fired()
        if fired:
            assert ended.status == KILLED
            ended = site.undo(state)
            assert ended.summary["resumed"]
        assert ended.status == 3  # set-id bits stay off
        assert ended.summary["failed"] == ended.summary["vanished"] == 0
        site.check_back()
        if not fired:
            break
    assert at > 20


def errors() -> Iterator[tuple[int, str]]:
    """Yield numbers of calls, each with the next error."""
    turns = itertools.cycle(ERRORS)
    return ((at, next(turns)) for at in thinned.strikes())


def test_call_that_fails_once_leaves_a_run_that_can_be_finished_and_undone(site: Site) -> None:
    tally = expected_tally(site.share, UID)
    for at, error in errors():
        state = site.states / f"{at}"
        ended = site.perms(state, at, error)
        if not site.fired():
            break
        half_done(site)
        if ended.status:
            assert (ended.status, ended.summary["failed"]) == (3, 1), (error, ended)
            ended = site.resume(state)
        found = tally_of(ended)
        # What was left half done may comply when it is tried again.
        for count in (found, wanted := dict(tally)):
            count["compliant"] += count.pop("changed")
        assert (ended.status, found) == (0, wanted), (error, ended)
        assert attrs(site.share) == migrated(site.before, UID)
        assert site.undo(state).summary["failed"] == 0
        site.check_back()
    assert at > 20


def test_call_of_undo_that_fails_once_leaves_an_undo_that_can_be_finished(site: Site) -> None:
    for at, error in errors():
        state = site.states / f"{at}"
        assert site.perms(state).status == 0
        ended = site.undo(state, at, error)
        fired = site.fired()
        if attrs(site.share) != undone(site.before, UID):
            assert fired
            assert (ended.status, ended.summary["failed"]) == (3, 1), (error, ended)
            assert site.undo(state).status == 3  # set-id bits stay off
        site.check_back()
        if not fired:
            break
    assert at > 20


def test_linked_file_is_changed_once_and_put_back_once(site: Site) -> None:
    (inode,) = {os.stat(site.share / name / "linked").st_ino for name in ("a", "b")}
    made(inode, "a file of two names")
    assert tally_of(site.perms(site.states / "s"))["hard_linked"] == 2
    site.undo(site.states / "s")
    site.check_back()
