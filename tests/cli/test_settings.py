"""What options come to: groups, names left out, links, backends, the environment, wrong usage."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.backend import extensions
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift

# Names of groups, and gids without one.
SYSTEM_GROUP = grp.getgrgid(1)
pytestmark = pytest.mark.privileged


def fill(share: Path) -> None:
    (share / "d").mkdir(mode=0o700)
    (share / "d" / "file").write_text("")
    (share / "file").write_text("")


# -- --group


@pytest.mark.parametrize("group", [str(GID), SYSTEM_GROUP.gr_name, "4294967294"])
def test_group_is_a_name_or_a_number(program: Program, share: Path, group: str) -> None:
    fill(share)
    gid = int(group) if group.isdecimal() else SYSTEM_GROUP.gr_gid
    assert program("perms", "--group", group, share).status == 0
    assert not drift(share, gid)


@pytest.mark.parametrize(
    ("group", "why"),
    [
        ("no-such-group", "there is no group 'no-such-group' on this host: make it (groupadd"),
        ("", "there is no group ''"),
        ("-1", "there is no group '-1'"),
        ("1.5", "there is no group '1.5'"),
        ("4294967295", "gids end at 4294967294"),
        ("4294967296", "gids end at 4294967294"),
        ("18446744073709551615", "gids end at 4294967294"),
    ],
)
def test_group_that_is_none_is_refused(program: Program, share: Path, group: str, why: str) -> None:
    before = attrs(share)
    ended = program("perms", f"--group={group}", share)
    assert (ended.status, ended.out) == (2, "")
    assert why in ended.err
    assert attrs(share) == before
    assert not list(program.state.iterdir())


def test_group_is_archipelago_unless_said_otherwise(program: Program, share: Path) -> None:
    ended = program("perms", "--dry-run", share)
    try:
        grp.getgrnam("archipelago")
    except KeyError:
        assert ended.status == 2
    assert "archipelago" in ended.out + ended.err


# -- --exclude


@pytest.fixture
def snapshots(share: Path) -> Path:
    """A share with directories, and files, of the names that are left out."""
    for name in (".snapshot", ".zfs", "cache"):
        for where in (share, share / "d"):
            (where / name).mkdir(parents=True)
            (where / name / "file").write_text("")
    for name in (".snapshot", ".zfs", "cache"):
        (share / "files" / "of").mkdir(parents=True, exist_ok=True)
        (share / "files" / "of" / name).write_text("")
    return share


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ((), (".snapshot", ".zfs")),
        (("--exclude", "cache"), (".snapshot", ".zfs", "cache")),
        (("--no-default-excludes",), ()),
        (("--no-default-excludes", "--exclude", "cache", "--exclude", ".zfs"), ("cache", ".zfs")),
    ],
    ids=["default", "more", "none", "others"],
)
def test_directories_of_excluded_names_are_left_alone(
    program: Program, snapshots: Path, options: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    before = attrs(snapshots)
    summary = program.perms(snapshots, *options).summary
    excluded = {
        f"{where}{name}".encode()
        for name in left_out
        for where in ("", "d/")
        if name in options or not where  # by default, only what is a directory of snapshots
    }
    inside = {path + b"/file" for path in excluded}
    assert summary["status"] == "done"
    assert summary["skipped"] == len(excluded)
    assert summary["entries"] == len(before) - len(inside)
    assert summary["changed"] == len(before) - len(inside) - len(excluded)
    assert set(drift(snapshots)) == excluded | inside
    after = attrs(snapshots)
    assert all(after[path] == before[path] for path in excluded | inside)
    assert program.verify(snapshots, *options).summary["drift"] == 0


def test_excluded_name_is_a_name(program: Program, share: Path) -> None:
    for name, why in (("a/b", "not a path"), ("é" * 128, "at most 255 bytes")):
        ended = program("perms", "--group", GID, "--exclude", name, share)
        assert (ended.status, ended.out) == (2, "")
        assert why in ended.err
    assert program.perms(share, "--exclude", "x" * 255).summary["changed"] == 1


def test_share_of_an_excluded_name_is_entered(program: Program, tmp_path: Path) -> None:
    share = tmp_path / ".snapshot"
    share.mkdir()
    fill(share)
    assert program.perms(share).summary["changed"] == 4
    assert not drift(share)


# -- --hard-links


def test_hard_linked_files_are_left_alone_if_asked_for(
    program: Program, share: Path, tmp_path: Path
) -> None:
    fill(share)
    outside = tmp_path / "outside"
    outside.write_text("")
    os.link(outside, share / "linked")
    os.link(share / "file", share / "again")
    before = attrs(share)
    summary = program.perms(share, "--hard-links", "skip").summary
    assert (summary["status"], summary["skipped"], summary["hard_linked"]) == ("done", 3, 3)
    assert summary["changed"] == 3
    after = attrs(share)
    linked = (b"linked", b"file", b"again")
    assert all(after[path] == before[path] for path in linked)
    assert sorted(drift(share)) == sorted(linked)
    assert program.verify(share, "--hard-links", "skip").summary["drift"] == 0
    summary = program.perms(share).summary
    assert (summary["skipped"], summary["hard_linked"], summary["changed"]) == (0, 3, 2)
    assert not drift(share)


# -- --backend


def test_missing_backend_is_an_error_if_named(
    share: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "BUILT", False)
    before = attrs(share)
    ended = Program("native", state).perms(share)
    assert (ended.status, ended.out) == (1, "")
    assert "the native backend is not installed: install with a C compiler at hand" in ended.err
    assert "--backend python" in ended.err
    assert attrs(share) == before
    assert not list(state.iterdir())
    ended = Program("auto", state).perms(share)
    assert (ended.status, ended.summary["backend"]) == (0, "python")


def test_run_that_has_no_room_is_never_begun(
    program: Program, share: Path, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    program.state = mount(tmp_path / "small", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs")
    ended = program.perms(share)
    assert ended.status == 1
    assert "less than 16 MiB left" in ended.err
    assert not list(program.state.glob("*.journal"))


def test_summary_names_the_backend(program: Program, share: Path) -> None:
    assert program.perms(share).summary["backend"] == program.backend
    assert program.verify(share).summary["backend"] == program.backend


# -- the environment


def test_options_are_taken_from_the_environment(program: Program, snapshots: Path) -> None:
    program.env = {
        "ARCHIPMIGRATE_GROUP": str(GID),
        "ARCHIPMIGRATE_EXCLUDE": "cache:other",
        "ARCHIPMIGRATE_NO_DEFAULT_EXCLUDES": "yes",
        "ARCHIPMIGRATE_JSON": "1",
        "ARCHIPMIGRATE_DRY_RUN": "TRUE",
        "ARCHIPMIGRATE_JOBS": "2",
        "ARCHIPMIGRATE_LIST": "on",
        "ARCHIPMIGRATE_NO_PROGRESS": "1",
    }
    before = attrs(snapshots)
    ended = program("perms", snapshots)
    assert (ended.status, ended.summary["skipped"]) == (0, 2)
    assert any(thing["type"] == "change" for thing in ended.objects)
    assert attrs(snapshots) == before
    # What is off in the environment is off, and the command line wins.
    program.env |= {"ARCHIPMIGRATE_DRY_RUN": "0", "ARCHIPMIGRATE_LIST": ""}
    ended = program("perms", "--group", GID + 1, "--exclude", "d", snapshots)
    assert (ended.status, ended.summary["skipped"]) == (0, 1)
    assert not any(thing["type"] == "change" for thing in ended.objects)
    assert drift(snapshots, GID + 1)
    assert b"file" not in drift(snapshots, GID + 1)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("JOBS", "0", "give a number from 1 to 1,024, or auto, not '0'"),
        ("JOBS", "many", "give a number from 1 to 1,024, or auto, not 'many'"),
        ("MAX_OPS", "-5", "give a number from 1 to 1,000,000,000, not '-5'"),
        ("BACKEND", "rust", "choose from auto, native, python, nfs"),
        ("HARD_LINKS", "follow", "choose from change, skip"),
        ("JSON", "perhaps", "give 1 or 0"),
    ],
)
def test_bad_value_in_the_environment_is_a_usage_error(
    program: Program, share: Path, name: str, value: str, why: str
) -> None:
    before = attrs(share)
    program.env = {f"ARCHIPMIGRATE_{name}": value}
    ended = program("perms", "--group", GID, share)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"archipmigrate: ARCHIPMIGRATE_{name}={value}: {why}\n"
    assert attrs(share) == before


# -- usage


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("permissions", "."),
        ("perms",),
        ("perms", "a", "b"),
        ("perms", "--grou", "root", "."),
        ("perms", "--jobs", "0", "."),
        ("perms", "--jobs", "-3", "."),
        ("perms", "--backend", "rust", "."),
        ("verify", "--dry-run", "."),
        ("undo", "--list"),
        ("forget",),
    ],
    ids=" ".join,
)
def test_command_line_that_makes_no_sense_is_a_usage_error(
    program: Program, words: tuple[str, ...]
) -> None:
    ended = program(*words)
    assert (ended.status, ended.out) == (2, "")
    assert "usage: " in ended.err
    assert not list(program.state.iterdir())


@pytest.mark.parametrize(
    "words", [("undo",), ("resume",), ("undo", "nothing"), ("forget", "nothing")], ids=" ".join
)
def test_run_that_is_not_there_is_a_usage_error(program: Program, words: tuple[str, ...]) -> None:
    ended = program(*words)
    assert (ended.status, ended.out) == (2, "")
    assert f"in {program.state}" in ended.err
