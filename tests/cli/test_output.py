"""What scripts and people read: JSON lines, listings, warnings, help."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.program import GID, Cli, drift

SUMMARY = [
    *("type", "job", "run", "share", "backend", "status", "entries", "directories", "files"),
    *("others", "changed", "compliant", "skipped", "vanished", "failed", "hard_linked"),
    *("seconds", "resumed"),
]


@pytest.fixture
def filled(share: Path) -> Path:
    for name in (".snapshot", ".zfs", "kept", "plain"):
        (share / name).mkdir(mode=0o700)
        (share / name / "file").touch(mode=0o600)
    (share / "plain" / ".zfs").touch(mode=0o600)  # a file of that name is no snapshot directory
    return share


def names(paths: list[bytes]) -> set[str]:
    return {os.fsdecode(path) for path in paths}


@pytest.mark.privileged
def test_hard_links_are_counted_and_warned_of(cli: Cli, share: Path) -> None:
    (share / "one").touch(mode=0o600)
    os.link(share / "one", share / "two")
    ended = cli("perms", "--group", GID, share)
    assert "2 files with more than one name" in ended.out


def test_path_that_is_no_share_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, says in (("file", "Not a directory"), ("missing", "No such file")):
        ended = cli("perms", "--group", GID, tmp_path / path)
        assert ended.status == 1
        assert says in ended.err


@pytest.mark.privileged
def test_json_has_the_version_first_and_the_summary_last(cli: Cli, filled: Path) -> None:
    ended = cli.perms(filled, "--list")
    first, *middle, last = ended.objects
    assert first["type"] == "version"
    changed = [thing for thing in middle if thing["type"] == "change"]
    skipped = [thing for thing in middle if thing["type"] == "skipped"]
    assert len(changed) + len(skipped) == len(middle)
    assert {thing["path"] for thing in skipped} == {".snapshot", ".zfs"}
    assert set(SUMMARY) <= set(last)
    assert last["entries"] == last["directories"] + last["files"] + last["others"]
    done = sum(last[name] for name in ("changed", "compliant", "skipped", "vanished", "failed"))
    assert last["directories"] + last["files"] == done
    assert (len(changed), len(skipped)) == (last["changed"], last["skipped"])


@pytest.mark.privileged
def test_json_path_of_a_strange_name_has_its_bytes(cli: Cli, share: Path) -> None:
    (share / os.fsdecode(b"caf\xe9\n")).touch(mode=0o600)
    things = cli.perms(share, "--list").objects
    (strange,) = [thing for thing in things if "path_b64" in thing]
    assert strange["path"] == "caf\ufffd\n"
    assert strange["path_b64"] == "Y2Fm6Qo="
    listed = cli("undo", "--json").summary
    assert listed["changed"] == 2


@pytest.mark.privileged
def test_list_of_the_dry_run_is_that_of_the_run(cli: Cli, filled: Path) -> None:
    os.link(filled / "kept" / "file", filled / "plain" / "linked")
    (filled / "odd\nname").touch(mode=0o4755)
    dry = cli("perms", "-q", "-n", "--list", "--group", GID, filled)
    assert len(drift(filled)) > 5
    real = cli("perms", "-q", "--list", "--group", GID, filled)

    def lines(text: str) -> list[str]:
        """One inode has several names, and either may be listed."""
        return sorted(line.replace("plain/linked", "kept/file") for line in text.splitlines())

    assert lines(dry.out) == lines(real.out)
    assert f"f 4755 root -> 0775 {GID}  odd\\nname" in dry.out.splitlines()


def test_help_of_every_command_has_examples(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.status == 0
    for command in ("perms", "verify", "undo", "status", "resume", "forget", "testshare"):
        assert command in ended.out
        assert f"archipmigrate {command}" in cli(command, "--help").out


def test_version_names_the_backends(cli: Cli) -> None:
    assert f"{cli.backend}" in cli("--version").out
