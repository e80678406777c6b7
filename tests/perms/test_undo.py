"""Undo: bit for bit what was there before, and never more than that."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.engine.job import UnitResult
from archipmigrate.perms.undo import UndoJob, UndoScan
from tests.support.inprocess import Program
from tests.support.program import GID, Attrs, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

# Without set-id bits that files lose for good; test_set_id.py has those.
MODES = [0o000, 0o600, 0o644, 0o664, 0o755, 0o777, 0o1644, 0o2644]
DIRECTORY_MODES = [0o000, 0o700, 0o755, 0o1777, 0o2755, 0o2770, 0o4755, 0o6777]


@pytest.fixture
def filled(share: Path) -> Path:
    """A share with every kind of mode, a few owners and groups, and hard links."""
    for mode in MODES:
        path = share / f"f{mode:04o}"
        path.write_text("content")
        os.chown(path, 1000 + mode % 3, 2000 + mode % 2)
        path.chmod(mode)
    for mode in DIRECTORY_MODES:
        path = share / f"d{mode:04o}"
        path.mkdir()
        (path / "inside").touch(mode=0o640)
        os.chown(path, 0, 2000)
        path.chmod(mode)
    for name in ("a", "b"):
        (share / name).mkdir()
    (share / "a" / "one").touch(mode=0o600)
    os.link(share / "a" / "one", share / "b" / "two")
    return share


def run_of(program: Program, share: Path) -> str:
    ended = program.perms(share)
    assert ended.status == 0, ended.err
    return str(ended.summary["run"])


def changed_since(before: dict[bytes, Attrs], share: Path) -> dict[bytes, Attrs]:
    return {path: now for path, now in attrs(share).items() if before.get(path) != now}


def test_undo_brings_every_mode_owner_and_group_back(program: Program, filled: Path) -> None:
    before = attrs(filled)
    changed = program.perms(filled).summary["changed"]
    assert not drift(filled)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (0, "done", changed)
    assert attrs(filled) == before


def test_undo_puts_a_hard_link_back_once(program: Program, share: Path) -> None:
    (share / "a").mkdir()
    (share / "a" / "one").touch(mode=0o600)
    os.link(share / "a" / "one", share / "two")
    before = attrs(share)
    forward = program.perms(share).summary
    assert (forward["changed"], forward["hard_linked"], forward["compliant"]) == (3, 2, 1)
    assert program("undo", "--json").summary["changed"] == 3
    assert attrs(share) == before


def test_undo_twice_changes_nothing_more(program: Program, filled: Path) -> None:
    before = attrs(filled)
    run = run_of(program, filled)
    assert program("undo", run).status == 0
    again = program("undo", run, "--json")
    assert (again.status, again.summary["changed"]) == (0, 0)
    assert again.summary["compliant"] == again.summary["entries"]
    assert attrs(filled) == before


def test_undo_without_a_run_says_so(program: Program) -> None:
    ended = program("undo")
    assert ended.status == 2
    assert "nothing to undo in" in ended.err


def chmod_it(path: Path) -> None:
    path.chmod(0o640)


def chown_it(path: Path) -> None:
    os.chown(path, 1234, -1)


def replace_it(path: Path) -> None:
    shutil.move(path, path.with_name("moved away"))
    path.touch()
    os.chown(path, 0, GID)
    path.chmod(0o660)


@pytest.mark.parametrize("alter", [chmod_it, chown_it])
def test_undo_leaves_what_somebody_changed_since(
    program: Program, share: Path, alter: Callable[[Path], None]
) -> None:
    (share / "mine").touch(mode=0o600)
    (share / "other").touch(mode=0o600)
    run = run_of(program, share)
    alter(share / "mine")
    altered = attrs(share)[b"mine"]
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["status"]) == (3, "failures")
    assert (ended.summary["changed"], ended.summary["skipped"]) == (2, 1)
    assert attrs(share)[b"mine"] == altered
    assert attrs(share)[b"other"][2] == 0
    assert "mine" in program("undo", run).out


def test_undo_leaves_what_somebody_put_in_the_place_of_an_entry(
    program: Program, share: Path
) -> None:
    (share / "mine").touch(mode=0o600)
    run_of(program, share)
    replace_it(share / "mine")
    altered = attrs(share)[b"mine"]
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, 2)
    assert attrs(share)[b"mine"] == altered
    assert attrs(share)[b"moved away"] == (0o100600, 0, 0)


def test_undo_leaves_a_new_file_with_a_reused_inode(program: Program, share: Path) -> None:
    old = share / "old"
    old.touch(mode=0o600)
    run_of(program, share)
    inode = old.stat().st_ino
    # ext4 gives a freed number out again soon; whoever gets it is made to look like the old one.
    old.unlink()
    made: list[Path] = []
    for number in range(2000):
        new = share / f"new{number}"
        new.touch()
        made.append(new)
        if new.stat().st_ino == inode:
            break
    else:
        pytest.skip("this filesystem does not reuse inode numbers soon")
    new.rename(old)
    os.chown(old, 0, GID)
    old.chmod(0o660)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    assert stat.S_IMODE(old.stat().st_mode) == 0o660
    assert old.stat().st_gid == GID


def test_undo_counts_and_lists_what_is_gone(program: Program, share: Path) -> None:
    for name in ("here", "gone", "d/one", "d/two"):
        (share / name).parent.mkdir(exist_ok=True, mode=0o700)
        (share / name).touch(mode=0o600)
    run = run_of(program, share)
    (share / "gone").unlink()
    shutil.rmtree(share / "d")
    for changed, compliant in ((2, 0), (0, 2)):  # repeating it tells the same
        ended = program("undo", run, "--json")
        assert (ended.status, ended.summary["status"]) == (3, "failures")
        names = ("changed", "compliant", "vanished", "failed")
        assert [ended.summary[name] for name in names] == [changed, compliant, 4, 0]
        failures = {f["path"]: f["reason"] for f in ended.objects if f["type"] == "failure"}
        assert set(failures) == {"gone", "d", "d/one", "d/two"}
        assert all("not found" in reason for reason in failures.values())


@pytest.mark.parametrize("again", [False, True], ids=["", "made again"])
@pytest.mark.parametrize("name", ["share", "share (deleted)"])
def test_undo_whose_share_vanishes_is_stopped(
    program: Program, share: Path, monkeypatch: pytest.MonkeyPatch, name: str, again: bool
) -> None:
    """The root is removed once undo has opened it; it may be all that the run changed."""
    share = share.rename(share.with_name(name))
    assert program.perms(share).summary["changed"] == 1
    apply = UndoJob.apply

    def remove_and_apply(job: UndoJob, scan: UndoScan, **more: Any) -> UnitResult:
        share.rmdir()
        if again:
            share.mkdir()
        return apply(job, scan, **more)

    monkeypatch.setattr(UndoJob, "apply", remove_and_apply)
    ended = program("undo", "--json")
    made(share.exists() == again, "a root that vanished")
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "no longer there" in ended.err


def test_undo_of_a_share_of_an_odd_name(program: Program, share: Path) -> None:
    share = share.rename(share.with_name("share (deleted)"))
    before = attrs(share)
    assert program.perms(share).summary["changed"] == 1
    assert program("undo").status == 0
    assert attrs(share) == before


def test_undo_does_not_mind_content_and_times(program: Program, share: Path) -> None:
    (share / "block").touch(mode=0o600)
    before = attrs(share)
    run_of(program, share)
    (share / "block").write_text("a virtual machine goes on writing")
    os.utime(share / "block", (1, 1))
    os.link(share / "block", share / "another name")
    assert program("undo").status == 0
    assert attrs(share)[b"block"] == before[b"block"]


def test_undo_finds_the_share_mounted_elsewhere(
    program: Program, filled: Path, tmp_path: Path, unmounting: Callable[[Path], None]
) -> None:
    before = attrs(filled)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([need("mount"), "--bind", filled, elsewhere], check=True)
    unmounting(elsewhere)
    run_of(program, elsewhere)
    subprocess.run([need("umount"), elsewhere], check=True)
    refused = program("undo")
    assert refused.status == 1
    assert "--path" in refused.err
    assert program("undo", "--path", filled).status == 0
    assert attrs(filled) == before


def test_undo_of_another_share_is_refused(program: Program, share: Path, tmp_path: Path) -> None:
    run = run_of(program, share)
    other = tmp_path / "other"
    other.mkdir()
    ended = program("undo", run, "--path", other)
    assert ended.status == 1
    assert f"is not the share of {run}" in ended.err


def test_perms_after_an_undo_is_a_new_run(program: Program, share: Path) -> None:
    first = run_of(program, share)
    assert program("undo").status == 0
    second = program.perms(share).summary
    assert second["run"] != first
    assert second["resumed"] is False
    assert not drift(share)


def test_forget_deletes_the_journal_and_nothing_else(program: Program, share: Path) -> None:
    run = run_of(program, share)
    now = attrs(share)
    ended = program("forget", run)
    assert ended.status == 0
    assert run in ended.out
    assert not list(program.state.glob(f"{run}*"))
    assert attrs(share) == now
    for command in ("forget", "undo"):
        unknown = program(command, run)
        assert unknown.status == 2
        assert run in unknown.err


def test_runs_are_undone_latest_first(program: Program, share: Path) -> None:
    (share / "file").touch(mode=0o600)
    before = attrs(share)
    run_of(program, share)
    between = attrs(share)
    ended = program("perms", "--json", "--group", GID + 1, share)
    assert ended.status == 0
    assert program("undo").status == 0
    assert attrs(share) == between
    assert program("undo").status == 0
    assert attrs(share) == before
