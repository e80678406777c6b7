"""What stops a job before it begins, and what does not."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archipmigrate.check import before, mounted
from archipmigrate.check.before import check_before
from archipmigrate.jobs.options import RunOptions
from archipmigrate.journal.lock import ShareLock
from archipmigrate.journal.runs import (
    forget_run,
    list_runs,
    new_run,
    open_run,
    resumable_runs,
)
from archipmigrate.perms.kind import KIND
from archipmigrate.share import daemons, open_share
from tests.support.inprocess import Program
from tests.support.old_shares import entries, make_old_share
from tests.support.program import GID, attrs

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def checking(program: Program) -> Program:
    program.env["ARCHIPMIGRATE_NO_CHECK"] = "0"
    return program


@pytest.fixture
def top(tmp_path: Path) -> Path:
    make_old_share(tmp_path / "share", odd=False)
    return tmp_path / "share"


def begin(state: Path, job: str, path: Path, status: str = "interrupted") -> str:
    """Leave an unfinished run; return its name."""
    share = open_share(str(path))
    journal = new_run(state, job, share, {}, {}, share.places)
    header = journal.read_header()
    header.status = status
    journal.commit([lambda j: j.write_header(header)])
    journal.close()
    share.close()
    return header.run


JOBS = ("perms", "mapfiles", "relocate")


def command(job: str, top: Path) -> tuple[object, ...]:
    if job == "perms":
        return (job, "--group", GID, top)
    if job == "mapfiles":
        return (job, "--maps", top / "maps")
    return (job, "--v03-stopped", "--blocks", top / "blocks", "--maps", top / "maps")


@pytest.mark.parametrize("job", JOBS)
def test_empty_directory_is_taken_for_a_share_that_is_not_mounted(
    checking: Program, share: Path, job: str
) -> None:
    (share / "maps").mkdir()
    (share / "blocks").mkdir()
    top = share / "maps" if job == "perms" else share
    was = attrs(share)
    ended = checking(*command(job, top))
    assert ended.status == 1
    assert "is the share mounted?" in ended.err
    assert attrs(share) == was
    assert checking(*command(job, top), "--no-check").status == 0


@pytest.mark.parametrize("job", JOBS)
def test_mount_point_of_fstab_that_is_not_mounted_is_refused(
    checking: Program, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# {top}\nserver:/archip {top} nfs4 hard 0 0\nnone none swap sw 0 0\n")
    monkeypatch.setattr(mounted, "FSTAB", fstab)
    was = entries(top)
    ended = checking(*command(job, top))
    assert ended.status == 1
    assert f"mount {top}; --no-check" in ended.err
    assert entries(top) == was


def test_mount_point_of_fstab_that_is_mounted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: Callable[..., Path]
) -> None:
    point = mount(tmp_path / "mnt with space", "-t", "tmpfs", "tmpfs")
    escaped = str(point).replace(" ", "\\040")
    fstab = tmp_path / "fstab"
    fstab.write_text(f"tmpfs {escaped} tmpfs defaults\ntmpfs {tmp_path} tmpfs defaults\n")
    monkeypatch.setattr(mounted, "FSTAB", fstab)
    assert mounted.unmounted_point(str(point / "maps")) == ""
    assert mounted.unmounted_point(str(tmp_path / "mnt")) == str(tmp_path)
    assert mounted.unmounted_point("/proc") == ""


@pytest.mark.parametrize(
    ("job", "other", "where"),
    [
        ("perms", "relocate", "blocks"),
        ("perms", "perms", "maps"),
        ("mapfiles", "perms", ""),
        ("mapfiles", "perms", "maps"),
        ("relocate", "mapfiles", "maps"),
        ("relocate", "perms", ""),
    ],
)
def test_unfinished_run_of_another_job_stops_and_is_named(
    checking: Program, top: Path, job: str, other: str, where: str
) -> None:
    run = begin(checking.state, other, top / where)
    was = entries(top)
    ended = checking(*command(job, top))
    assert ended.status == 1
    assert f"resume {run}" in ended.err.replace(f"--state {checking.state} ", "")
    assert entries(top) == was
    assert checking(*command(job, top), "--no-check").status in (0, 3)  # 3: locks, misplaced


def test_unfinished_run_of_this_job_is_resumed(
    checking: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("archipmigrate.relocate.room.DIRECTORY_BYTES", 1 << 60)
        assert checking(*command("relocate", top)).status == 1
    (run,) = (header.run for header in list_runs(checking.state))
    ended = checking(*command("relocate", top))
    assert ended.status == 0
    assert f"resuming {run}" in ended.err


def test_run_elsewhere_or_finished_stops_nobody(
    checking: Program, top: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    begin(checking.state, "relocate", tmp_path / "other")
    begin(checking.state, "relocate", top / "blocks", "done")
    assert checking(*command("perms", top)).status == 0


def test_run_that_is_at_work_is_left_to_its_lock(
    checking: Program, top: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(before, "runtime_directory", lambda _: tmp_path)
    begin(checking.state, "relocate", top / "blocks", "running")
    share = open_share(str(top / "blocks"))
    lock = ShareLock(tmp_path, share.identity, "blocks", share.places)
    try:
        check_before(KIND, share, RunOptions(state=checking.state), v03_may_run=True)
    finally:
        lock.release()
        share.close()


@pytest.mark.parametrize(("job", "stops"), [("mapfiles", 1), ("relocate", 1), ("perms", 0)])
def test_daemon_of_v03_stops_relocate_and_mapfiles(
    checking: Program,
    top: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    stops: int,
) -> None:
    (tmp_path / "proc" / "4711").mkdir(parents=True)
    (tmp_path / "proc" / "4711" / "comm").write_text("mt-mapperd\n")
    monkeypatch.setattr(daemons.running_daemons, "__defaults__", (tmp_path / "proc",))
    ended = checking(*command(job, top))
    assert ended.status == stops
    assert ("mt-mapperd (process 4711)" in ended.err) == bool(stops)


def test_daemon_of_v04_stops_nobody_here(tmp_path: Path) -> None:
    for pid, name in ((1, "archip-mapperd"), (2, "archipmigrate"), (3, "pfiled")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    found = daemons.running_daemons(tmp_path)
    assert [(d.pid, d.is_v03) for d in found] == [(3, True), (1, False)]


EVENTS: Counter[str] = Counter()
_counting = False


def _count(event: str, _: object) -> None:
    if _counting:
        EVENTS[event] += 1


@contextmanager
def counted() -> Iterator[Counter[str]]:
    global _counting  # noqa: PLW0603 -- an audit hook cannot be taken off again
    EVENTS.clear()
    _counting = True
    try:
        yield EVENTS
    finally:
        _counting = False


sys.addaudithook(_count)
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown")


def test_look_takes_as_many_calls_whatever_the_size_and_changes_nothing(
    checking: Program, share: Path
) -> None:
    numbers = []
    for more in (10, 1000):
        for number in range(more):
            (share / f"{number:02x}").mkdir(exist_ok=True)
            (share / f"{number:02x}" / "file").touch()
        opened = open_share(str(share))
        with counted() as events:
            check_before(KIND, opened, RunOptions(state=checking.state))
        opened.close()
        numbers.append({name: n for name, n in events.items() if name.startswith("os.")})
        assert not any(events[name] for name in (*CHANGES, "subprocess.Popen", "socket.connect"))
    assert numbers[0] == numbers[1]
    assert numbers[0]["os.scandir"] <= 3
    assert len(os.listdir(share)) == 1000


def test_look_opens_no_journal_of_a_run_that_is_over(
    checking: Program, share: Path, tmp_path: Path
) -> None:
    (share / "file").touch()
    (tmp_path / "other").mkdir()
    calls = []
    for more in (1, 20):
        for _ in range(more):
            begin(checking.state, "relocate", tmp_path / "other", "done")
        opened = open_share(str(share))
        with counted() as events:
            check_before(KIND, opened, RunOptions(state=checking.state), v03_may_run=True)
        opened.close()
        calls.append(dict(events))
    assert "sqlite3.connect" not in calls[0]
    assert calls[0] == calls[1]


def test_run_that_goes_on_after_its_end_is_unfinished_again(checking: Program, share: Path) -> None:
    run = begin(checking.state, "relocate", share, "failures")
    assert not list(resumable_runs(checking.state))
    journal = open_run(checking.state, run)
    header = journal.read_header()
    header.status = "running"
    journal.commit([lambda j: j.write_header(header)])
    assert [found.run for found in resumable_runs(checking.state)] == [run]  # and if killed now
    journal.close()
    assert [found.run for found in resumable_runs(checking.state)] == [run]
    assert forget_run(checking.state, run)
    assert not list(checking.state.iterdir())
