"""What a run skips is named, with what would have it entered; only what is a snapshot is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Mount = Callable[..., Path]
SNAPSHOTS = (".snapshot", ".zfs", ".snapshots", "~snapshot", "#snapshot")


def fill(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "file").touch(mode=0o600)
    return directory


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_snapshot_directory_at_the_root_is_skipped(
    request: pytest.FixtureRequest, program: Program, share: Path, name: str
) -> None:
    if name not in (".snapshot", ".zfs"):
        reason = "snapshots by that name are not known"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    before = attrs(fill(share / name))
    summary = program.perms(share).summary
    made(summary["status"] == "done", "a finished run")
    assert (summary["skipped"], summary["entries"]) == (1, 2)
    assert attrs(share / name) == before
    assert program.perms(share, "--no-default-excludes").summary["changed"] == 2


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="any directory of that name is skipped"
)
@pytest.mark.parametrize("name", [".snapshot", ".zfs"])
def test_ordinary_directory_with_the_name_of_a_snapshot_is_entered(
    program: Program, share: Path, name: str
) -> None:
    fill(share / "deeper" / name)
    made(program.verify(share).summary["entries"] in (3, 4), "a look at the directory")
    summary = program.perms(share).summary
    assert (summary["status"], summary["skipped"]) == ("done", 0)
    assert not drift(share)


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_mount_with_the_name_of_a_snapshot_is_skipped_wherever_it_is(
    program: Program, share: Path, mount: Mount, name: str
) -> None:
    (share / "deeper").mkdir()
    inside = mount(share / "deeper" / name, "-t", "tmpfs", "-o", "mode=700", "tmpfs")
    fill(inside)
    before = attrs(inside)
    assert program.perms(share).summary["skipped"] == 1
    assert attrs(inside) == before


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="what is skipped is only counted")
@pytest.mark.parametrize("command", ["perms", "verify"])
def test_skipped_directories_are_named_with_the_option_that_enters_them(
    program: Program, share: Path, mount: Mount, command: str
) -> None:
    fill(share / ".snapshot")
    (share / "deeper").mkdir()
    mount(share / "deeper" / "other", "-t", "tmpfs", "-o", "mode=755", "tmpfs")
    ended = program(command, "--group", GID, share)
    made("2 skipped" in ended.out, "two directories that are skipped")
    said = (ended.out + ended.err).splitlines()
    assert any("deeper/other" in line and "--cross-filesystems" in line for line in said)
    assert any(".snapshot" in line and "--no-default-excludes" in line for line in said)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="what is skipped is only counted")
def test_directories_skipped_by_name_are_named(program: Program, share: Path) -> None:
    fill(share / "mine")
    ended = program("perms", "--group", GID, "--exclude", "mine", share)
    made("1 skipped" in ended.out, "a directory that is skipped")
    said = [line for line in ended.out.splitlines() if " archipmigrate " not in line]
    assert any("mine" in line and "--exclude" in line for line in said)


@pytest.mark.parametrize("command", ["perms", "verify"])
def test_root_that_vanished_is_no_success(
    program: Program, share: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(share)
    share.rmdir()
    made(not share.exists(), "a directory without a name")
    assert program(command, "--group", GID, ".").status == 1
