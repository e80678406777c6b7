"""Turns: what was read before the lock is read again, and a look at the runs takes no turn."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipmigrate.packed.groups import walk_unit, whole
from tests.support.inprocess import Program
from tests.support.journals import interrupt, journal_of, reopened
from tests.support.program import attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough: turns are the same with all."""
    return codec


@pytest.fixture
def cut(program: Program, share: Path) -> Path:
    """The journal of a run that was interrupted when one file was left."""
    (share / "done").touch(mode=0o600)
    made(program.perms(share).status == 0, "a run")
    (share / "left").touch(mode=0o600)
    path = journal_of(program.state)
    interrupt(path, walk_unit([whole()]))
    return path


@contextlib.contextmanager
def before_locking(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Have something done in the moment before the next lock of a share is taken."""
    take = fcntl.flock

    def slow(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", take)
        act()
        take(fd, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    yield
    made(fcntl.flock is take, "a lock that was taken")


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the header is read before the lock")
def test_resume_leaves_a_run_that_was_undone_before_it_had_the_lock(
    program: Program, share: Path, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    with before_locking(monkeypatch, lambda: ended.append(program("undo"))):
        resumed = program("resume")
    made(ended[0].status == 0, "an undo")
    assert {gid for _, _, gid in attrs(share).values()} == {0}
    assert "put back" in resumed.out + resumed.err or "nothing left to do" in resumed.err


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the header is read before the lock")
def test_resume_leaves_a_run_that_was_finished_before_it_had_the_lock(
    program: Program, share: Path, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    with before_locking(monkeypatch, lambda: ended.append(program("resume"))):
        program("resume")
    made((ended[0].status, drift(share)) == (0, []), "a run that was finished")
    with reopened(cut) as journal:
        assert journal.read_header().sessions == 2


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the header is read before the lock")
def test_undo_leaves_a_run_that_was_undone_before_it_had_the_lock(
    program: Program, share: Path, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = attrs(share)
    ended = []
    with before_locking(monkeypatch, lambda: ended.append(program("undo"))):
        program("undo")
    made(ended[0].status == 0 and attrs(share) != before, "an undo")
    assert len(list(program.state.glob("undo-*.journal"))) == 1


def test_status_keeps_nobody_from_a_share(
    program: Program, share: Path, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reopened(cut) as journal:  # as if it had been killed
        header = journal.read_header()
        header.status = "running"
        journal.commit([lambda j: j.write_header(header)])
    take, refused = fcntl.flock, []

    def watched(fd: int, operation: int) -> None:
        take(fd, operation)
        other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        try:
            take(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(operation)
        finally:
            os.close(other)

    monkeypatch.setattr(fcntl, "flock", watched)
    ended = program("status", "--json")
    made([thing["status"] for thing in ended.objects] == ["killed"], "a run that was killed")
    assert refused == []
