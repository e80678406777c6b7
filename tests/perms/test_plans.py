"""Dry runs that are kept: what a plan lists, whose plans are read, in what two differ."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from archipmigrate.errors import UsageError
from archipmigrate.perms import transitions
from archipmigrate.perms.plan import MAGIC, Plan
from archipmigrate.perms.transitions import Transitions
from tests.support.inprocess import Program
from tests.support.program import GID

pytestmark = pytest.mark.privileged


@pytest.fixture
def plan(program: Program, share: Path, tmp_path: Path) -> Path:
    """Return a plan of a share with two directories, three files and a second name of one."""
    (share / "d").mkdir(mode=0o700)
    for name in ("a", "d/b", "d/c"):
        (share / name).touch(mode=0o600)
    os.link(share / "a", share / "d" / "also-a")
    return save(program, share, tmp_path / "plan")


def save(program: Program, share: Path, path: Path, *more: object) -> Path:
    ended = program.perms(share, "-n", "--save", path, *more)
    assert ended.status == 0, ended.err
    return path


def listed(path: Path) -> list[bytes]:
    plan = Plan(path)
    try:
        return sorted(change.path for change in plan.changes())
    finally:
        plan.close()


def test_plan_lists_each_inode_once_and_changes_nothing(
    program: Program, share: Path, plan: Path
) -> None:
    found = listed(plan)
    assert len(found) == 5
    assert {b"", b"d", b"d/b", b"d/c"} <= set(found)
    assert plan.stat().st_mode & 0o777 == 0o600
    assert (share / "a").stat().st_mode & 0o777 == 0o600
    assert os.listdir(plan.parent).count("plan") == 1
    assert not [name for name in os.listdir(plan.parent) if name.startswith(".plan")]


def test_tables_add_up(program: Program, share: Path, plan: Path) -> None:
    ended = program("plan", "show", "--json", "--by-dir", 1, plan)
    kinds = [line for line in ended.objects if line["type"] == "transition"]
    places = {line["path"]: line["count"] for line in ended.objects if line["type"] == "directory"}
    assert sum(line["count"] for line in kinds) == ended.summary["changes"] == 5
    assert [(line["kind"], line["mode"], line["new_mode"]) for line in kinds] == [
        ("file", "0600", "0660"), ("directory", "0700", "2770"),
    ]  # fmt: skip
    assert sum(places.values()) == 5
    same = program.perms(share, "-n", "--by-dir", 1)
    assert {x["path"]: x["count"] for x in same.objects if x["type"] == "directory"} == places


def test_exit_code_says_that_there_is_work(program: Program, share: Path) -> None:
    assert program.perms(share, "-n", "--exit-code").status == 4
    assert program.perms(share, "-n").status == 0
    assert program.perms(share, "--exit-code").status == 2
    assert program.perms(share).status == 0
    assert program.perms(share, "-n", "--exit-code").status == 0


def test_differences_are_by_entry(
    program: Program, share: Path, plan: Path, tmp_path: Path
) -> None:
    assert program("plan", "diff", plan, plan).status == 0
    (share / "d" / "b").chmod(0o640)
    (share / "d" / "c").unlink()
    (share / "new").touch(mode=0o600)
    other = save(program, share, tmp_path / "other")
    ended = program("plan", "diff", "--json", plan, other)
    found = [(x["sign"], x["path"]) for x in ended.objects if x["type"] == "difference"]
    assert found == [("-", "d/b"), ("+", "d/b"), ("-", "d/c"), ("+", "new")]
    counts = {name: ended.summary[name] for name in ("only_a", "only_b", "differ")}
    assert (ended.status, counts) == (4, {"only_a": 1, "only_b": 1, "differ": 1})


def test_plan_of_others_is_refused(program: Program, plan: Path) -> None:
    plan.chmod(0o620)
    assert "can be written by others" in program("plan", "show", plan).err
    plan.chmod(0o600)
    os.chown(plan, 12345, -1)
    ended = program("plan", "show", plan)
    assert (ended.status, "belongs to another user" in ended.err) == (2, True)


def test_damaged_plan_is_refused(program: Program, plan: Path) -> None:
    good = plan.read_bytes()
    stream = bytearray(zlib.decompress(good[len(MAGIC) :]))
    stream[-1] ^= 1
    for bad in (b"", good[:-1], good[: len(good) // 2], good + b"x",
                good.replace(b"plan 1", b"plan 2"),
                MAGIC + zlib.compress(bytes(stream))):  # fmt: skip
        plan.write_bytes(bad)
        with pytest.raises(UsageError):
            listed(plan)
        assert program("plan", "show", plan).status == 2


def test_plan_in_the_share_is_refused(program: Program, share: Path) -> None:
    assert program.perms(share, "-n", "--save", share / "plan").status == 1
    assert not list(share.iterdir())
    assert program.perms(share, "--save", share.parent / "plan").status == 2


def test_directories_are_bounded(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "MOST_DIRECTORIES", 1)
    found = Transitions(3)
    opened = Plan(plan)
    for change in opened.changes():
        found.add(change)
    opened.close()
    assert found.depth == 1


def test_group_in_a_plan_is_that_of_the_run(program: Program, plan: Path) -> None:
    settings = program("plan", "show", "--json", plan).summary["settings"]
    assert settings["gid"] == int(GID)
