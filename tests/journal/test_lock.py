"""The locks of shares: who has one, and that nothing is left of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archipmigrate.errors import Busy
from archipmigrate.journal.location import runtime_directory
from archipmigrate.journal.lock import ShareLock
from archipmigrate.share import open_share
from tests.support.inprocess import Program
from tests.support.situations import made

SHARE = "a share"


def locks(place: Path) -> set[Path]:
    return set(place.glob("*.lock"))


@contextmanager
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


def test_released_lock_leaves_no_file(tmp_path: Path) -> None:
    held = ShareLock(tmp_path, SHARE, "/share")
    assert len(locks(tmp_path)) == 1
    held.release()
    assert locks(tmp_path) == set()


@pytest.mark.privileged
def test_run_leaves_no_file_of_its_lock(program: Program, share: Path) -> None:
    opened = open_share(str(share))
    opened.close()
    place = runtime_directory(program.state)
    place.mkdir(exist_ok=True)
    held = ShareLock(place, opened.identity, str(share))
    # By the name of the open file: those of other runs come and go beside it.
    mine = {file for file in locks(place) if str(file) == os.readlink(f"/proc/self/fd/{held.fd}")}
    held.release()
    made(len(mine) == 1, "the file of the share's lock")
    assert program.perms(share).status == 0
    assert not any(file.exists() for file in mine)


def test_lock_whose_file_went_before_it_was_locked_excludes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened the file before it was removed must not think that it has the share.

    first     holds ......................... release, file removed
    second    open ........................................ lock of a file without a name
    third                                                       open of a new file, lock
    """
    first = ShareLock(tmp_path, SHARE, "/share")
    with before_locking(monkeypatch, first.release):
        second = ShareLock(tmp_path, SHARE, "/share")
    with pytest.raises(Busy):
        ShareLock(tmp_path, SHARE, "/share")
    second.release()
    ShareLock(tmp_path, SHARE, "/share").release()
    assert locks(tmp_path) == set()


def test_lock_of_a_file_that_is_just_removed_is_not_taken_for_a_busy_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its unlink and its close, the lock is held on a file that has no name any more."""
    first = ShareLock(tmp_path, SHARE, "/share")
    (file,) = locks(tmp_path)
    with before_locking(monkeypatch, file.unlink):
        second = ShareLock(tmp_path, SHARE, "/share")
    os.close(first.fd)
    second.release()


def test_release_leaves_the_lock_of_one_that_took_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ShareLock(tmp_path, SHARE, "/share")
    second = []
    with before_locking(monkeypatch, lambda: second.append(ShareLock(tmp_path, SHARE, "/share"))):
        first.release()
    with pytest.raises(Busy):
        ShareLock(tmp_path, SHARE, "/share")
    second[0].release()
    assert locks(tmp_path) == set()


def test_process_that_inherited_a_lock_holds_it_after_the_release(tmp_path: Path) -> None:
    held = ShareLock(tmp_path, SHARE, "/share")
    held.sign("perms-1")
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held.fd]
    )
    held.release()
    with pytest.raises(Busy):
        ShareLock(tmp_path, SHARE, "/share")
    assert "perms-1" in ShareLock.holder(tmp_path, SHARE)
    child.communicate(b"\n")
    ShareLock(tmp_path, SHARE, "/share").release()
    assert locks(tmp_path) == set()


def test_locks_exclude_each_other_while_their_file_comes_and_goes(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    taken: list[int] = []

    def work(number: int) -> None:
        while len(taken) < 2000:
            try:
                held = ShareLock(tmp_path, SHARE, "/share")
            except Busy:
                continue
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            taken.append(number)
            held.release()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(set(taken)) > 1
    assert locks(tmp_path) == set()


def test_holder_is_who_signed_while_the_lock_is_held(tmp_path: Path) -> None:
    assert ShareLock.holder(tmp_path, SHARE) == ""
    assert locks(tmp_path) == set()
    held = ShareLock(tmp_path, SHARE, "/share")
    assert ShareLock.holder(tmp_path, SHARE) == "just starting"
    held.sign("perms-1")
    assert ShareLock.holder(tmp_path, SHARE) == f"run perms-1, process {os.getpid()}"
    (file,) = locks(tmp_path)
    os.close(held.fd)  # as if it had been killed
    assert file.read_text() == f"run perms-1, process {os.getpid()}\n[]\n"
    assert ShareLock.holder(tmp_path, SHARE) == ""


def test_lock_after_a_killed_run_does_not_bear_its_name(tmp_path: Path) -> None:
    killed = ShareLock(tmp_path, SHARE, "/share")
    killed.sign("perms-1")
    os.close(killed.fd)
    held = ShareLock(tmp_path, SHARE, "/share")
    assert ShareLock.holder(tmp_path, SHARE) == "just starting"
    held.release()


def test_asking_for_the_holder_takes_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = ShareLock(tmp_path, SHARE, "/share")
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a lock was taken"))
    assert ShareLock.holder(tmp_path, SHARE)
    monkeypatch.undo()
    held.release()


def ended_process() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_lock_that_workers_of_a_killed_run_still_hold_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = ShareLock(tmp_path, SHARE, "/share")
    os.pwrite(killed.fd, f"run perms-1, process {ended_process()}\n".encode(), 0)
    glances: list[float] = []

    def sleep(seconds: float) -> None:
        glances.append(seconds)
        if len(glances) == 3:
            os.close(killed.fd)

    monkeypatch.setattr(time, "sleep", sleep)
    ShareLock(tmp_path, SHARE, "/share").release()
    assert len(glances) == 3


def test_lock_whose_run_is_alive_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = ShareLock(tmp_path, SHARE, "/share")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(Busy):  # it has not signed yet
        ShareLock(tmp_path, SHARE, "/share")
    alive.sign("perms-1")
    with pytest.raises(Busy):
        ShareLock(tmp_path, SHARE, "/share")
    alive.release()


def test_lock_that_is_held_on_after_its_run_was_killed_is_busy_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.journal.lock.GRACE", 0.0)
    held = ShareLock(tmp_path, SHARE, "/share")
    os.pwrite(held.fd, f"run perms-1, process {ended_process()}\n".encode(), 0)
    with pytest.raises(Busy, match="perms-1"):
        ShareLock(tmp_path, SHARE, "/share")
    os.close(held.fd)
