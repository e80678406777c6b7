"""What a run skips is named, with what would have it entered; only what is a snapshot is one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import archipmigrate.backend.python.scan as python_scan
from archipmigrate.journal.store import Journal
from archipmigrate.model import Examples, Notice
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.perms.settings import PermsSettings
from tests.support.inprocess import Program
from tests.support.journals import database, interrupt, journal_of, reopened
from tests.support.parity import native as native_backend
from tests.support.program import GID, attrs, drift, need
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
    program: Program, share: Path, name: str
) -> None:
    before = attrs(fill(share / name))
    summary = program.perms(share).summary
    made(summary["status"] == "done", "a finished run")
    assert (summary["skipped"], summary["entries"]) == (1, 2)
    assert attrs(share / name) == before
    assert program.perms(share, "--no-default-excludes").summary["changed"] == 2


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


# -- that it is told, by every session


def test_what_an_earlier_session_skipped_is_told_by_the_later_ones(
    program: Program, share: Path
) -> None:
    for number in range(7):
        fill(share / f"d{number}" / "mine")
    first = program.perms(share, "--exclude", "mine").summary
    made(first["skipped"] == 7, "directories that are skipped")
    fill(share / "later" / "mine")
    interrupt(journal_of(program.state), walk_unit([whole(b"later")]))
    ended = program("perms", "--group", GID, "--exclude", "mine", share)
    made("resuming" in ended.err, "a run that goes on")
    (line,) = (line for line in ended.out.splitlines() if line.startswith("skipped"))
    assert line.startswith("skipped: 8 x is excluded by name (--exclude): d")
    assert line.endswith("/mine, and 3 more")
    assert f"  {line}" in program("status").out.splitlines()
    (shown,) = program("status", "--json").objects
    (notice,) = shown["notices"]
    assert (notice["kind"], notice["option"], notice["count"]) == ("excluded", "--exclude", 8)
    assert len(notice["examples"]) == 5


def test_what_is_skipped_in_a_wide_directory_is_counted_once(
    program: Program, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in parts, each by its own unit, and counted apart until it is read to the end."""
    for module in (python_scan, native_backend):
        monkeypatch.setattr(module, "WIDE", 8)
        monkeypatch.setattr(module, "CHUNKS", 2)
    for number in range(100):
        (share / f"a-directory-with-a-longer-name-{number}").mkdir()
        (share / f"a-directory-with-a-longer-name-{number}" / "mine").mkdir()
    ended = program.perms(share, "--exclude", "mine", "--jobs", 1)
    (notice,) = ended.summary["notices"]
    assert (notice["count"], ended.summary["skipped"]) == (100, 100)
    with reopened(journal_of(program.state)) as journal:
        assert journal.notices()["excluded"].count == 100


def test_notices_of_a_wide_directory_are_forgotten_when_it_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.journal", new=True)
    body = walk_unit([whole(b"wide")]).body
    journal.commit(
        [
            lambda j: j.open_scope(7, body),
            lambda j: j.add_notices(0, [Notice(b"a", "excluded")]),
            lambda j: j.add_notices(7, [Notice(b"wide/b", "excluded"), Notice(b"wide/c", "acl")]),
        ]
    )
    assert {kind: found.count for kind, found in journal.notices().items()} == {
        "acl": 1,
        "excluded": 2,
    }
    journal.commit([Journal.reopen_scopes])
    assert journal.notices() == {"excluded": Examples(1, [b"a"])}
    journal.close()


def test_notices_with_a_bit_flipped_are_not_believed(program: Program, share: Path) -> None:
    fill(share / "mine")
    run = program.perms(share, "--exclude", "mine").summary["run"]
    with database(journal_of(program.state)) as opened:
        opened.execute("UPDATE notice SET count = count + 1")
    assert f"{run}: unreadable" in program("status").out


@pytest.mark.parametrize("command", ["perms", "verify"])
def test_linked_files_that_are_left_alone_are_named(
    program: Program, share: Path, command: str
) -> None:
    fill(share)
    (share / "second").hardlink_to(share / "file")
    ended = program(command, "--group", GID, "--hard-links", "skip", share)
    (line,) = (line for line in ended.out.splitlines() if line.startswith("skipped"))
    assert "2 x" in line
    assert "--hard-links change" in line
    assert "second" in line


def test_verbose_names_all_that_is_skipped(program: Program, share: Path) -> None:
    for number in range(9):
        fill(share / f"d{number}" / "mine")
    ended = program("verify", "-v", "--group", GID, "--exclude", "mine", share)
    said = [line for line in ended.err.splitlines() if line.startswith("skipped: 1 x")]
    assert sorted(line.rpartition(" ")[2] for line in said) == [f"d{n}/mine" for n in range(9)]


# -- the options in the header of a run


@pytest.mark.parametrize("snapshots", [True, False])
@pytest.mark.parametrize("names", [(), (".zfs",), (".snapshot", ".zfs"), ("mine",)])
def test_settings_are_read_as_they_were_written(names: tuple[str, ...], *, snapshots: bool) -> None:
    settings = PermsSettings(GID, names, skip_links=False, cross=False, snapshots=snapshots)
    stored = json.loads(json.dumps(settings.as_dict()))
    assert stored == settings.as_dict()
    assert PermsSettings.from_dict(stored) == settings


def test_settings_of_earlier_versions_are_those_of_the_same_options() -> None:
    for excludes in ([".snapshot", ".zfs"], [".snapshot", ".zfs", "mine"], [".zfs"], []):
        stored = {"gid": GID, "excludes": excludes, "skip_links": False, "cross": False}
        assert PermsSettings.from_dict(stored).as_dict() == stored


def test_snapshot_directory_in_the_root_of_another_mount_is_skipped(
    program: Program, share: Path, mount: Mount
) -> None:
    fill(share / "deeper" / "other")
    other = mount(share / "deeper" / "other", "-t", "tmpfs", "-o", "mode=700", "tmpfs")
    fill(other / ".zfs")
    fill(other / "below" / ".zfs")
    summary = program.perms(share, "--cross-filesystems").summary
    assert (summary["status"], summary["skipped"]) == ("done", 1)
    assert set(drift(other)) == {b".zfs", b".zfs/file"}


def test_read_only_snapshot_directory_is_skipped_wherever_it_is(
    program: Program, share: Path, mount: Mount
) -> None:
    inside = mount(fill(share / "deeper") / "~snapshot", "-t", "tmpfs", "tmpfs")
    subprocess.run([need("mount"), "-o", "remount,ro", inside], check=True)
    summary = program.perms(share, "--cross-filesystems").summary
    assert (summary["status"], summary["skipped"]) == ("done", 1)
