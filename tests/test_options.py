"""What the options mean, and what is refused before anything is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import GID, Cli, attrs, drift

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
def test_snapshot_directories_are_left_alone(cli: Cli, filled: Path) -> None:
    summary = cli.perms(filled).summary
    assert names(drift(filled)) == {".snapshot", ".snapshot/file", ".zfs", ".zfs/file"}
    assert (summary["skipped"], summary["entries"]) == (2, 8)


@pytest.mark.privileged
def test_excludes_are_added_to_the_default_ones(cli: Cli, filled: Path) -> None:
    summary = cli.perms(filled, "--exclude", "kept").summary
    assert "kept/file" in names(drift(filled))
    assert summary["skipped"] == 3


@pytest.mark.privileged
def test_default_excludes_can_be_left_out(cli: Cli, filled: Path) -> None:
    summary = cli.perms(filled, "--no-default-excludes", "--exclude", "kept").summary
    assert names(drift(filled)) == {"kept", "kept/file"}
    assert summary["skipped"] == 1


@pytest.mark.privileged
def test_hard_links_skip_leaves_files_with_several_names(cli: Cli, share: Path) -> None:
    (share / "one").touch(mode=0o600)
    os.link(share / "one", share / "two")
    (share / "single").touch(mode=0o600)
    ended = cli.perms(share, "--hard-links", "skip")
    assert (ended.summary["skipped"], ended.summary["hard_linked"]) == (2, 2)
    assert names(drift(share)) == {"one", "two"}
    assert cli("verify", "--group", GID, "--hard-links", "skip", share).status == 0


@pytest.mark.privileged
def test_hard_links_are_counted_and_warned_of(cli: Cli, share: Path) -> None:
    (share / "one").touch(mode=0o600)
    os.link(share / "one", share / "two")
    ended = cli("perms", "--group", GID, share)
    assert "2 files with more than one name" in ended.out


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("no such group", "there is no group 'no such group' on this host: make it"),
        ("4294967295", "means no group"),
        ("99999999999", "gids end at"),
        ("-1", "there is no group '-1'"),
    ],
)
def test_group_that_cannot_be_is_refused(cli: Cli, share: Path, group: str, says: str) -> None:
    before = attrs(share)
    ended = cli("perms", f"--group={group}", share)
    assert ended.status == 2
    assert says in ended.err
    assert attrs(share) == before


def test_path_that_is_no_share_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, says in (("file", "Not a directory"), ("missing", "No such file")):
        ended = cli("perms", "--group", GID, tmp_path / path)
        assert ended.status == 1
        assert says in ended.err
    for root in ("/", "/proc/self/root", "/usr/.."):
        ended = cli("perms", "-n", "--group", GID, root)
        assert ended.status == 1
        assert "is the root of this system" in ended.err


@pytest.mark.privileged
def test_path_may_be_a_link_and_is_shown_resolved(cli: Cli, share: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(share)
    summary = cli.perms(link).summary
    assert summary["share"] == str(share)
    assert not drift(share)


@pytest.mark.privileged
def test_json_has_the_version_first_and_the_summary_last(cli: Cli, filled: Path) -> None:
    ended = cli.perms(filled, "--list")
    first, *middle, last = ended.objects
    assert first["type"] == "version"
    assert {thing["type"] for thing in middle} == {"change"}
    assert set(SUMMARY) <= set(last)
    assert last["entries"] == last["directories"] + last["files"] + last["others"]
    done = sum(last[name] for name in ("changed", "compliant", "skipped", "vanished", "failed"))
    assert last["directories"] + last["files"] == done
    assert len(middle) == last["changed"]


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


@pytest.mark.privileged
def test_environment_gives_options_and_the_command_line_wins(cli: Cli, filled: Path) -> None:
    cli.env = {
        "ARCHIPMIGRATE_GROUP": str(GID),
        "ARCHIPMIGRATE_JSON": "1",
        "ARCHIPMIGRATE_EXCLUDE": "kept:plain",
        "ARCHIPMIGRATE_JOBS": "3",
    }
    summary = json.loads(cli("perms", "-n", filled).out.splitlines()[-1])
    assert (summary["changed"], summary["skipped"]) == (1, 4)
    other = cli("verify", "--group", GID + 1, filled)
    assert other.summary["drift"] == 1


@pytest.mark.parametrize(
    ("name", "value"), [("JOBS", "many"), ("JSON", "perhaps"), ("HARD_LINKS", "eat")]
)
def test_bad_environment_is_a_usage_error(cli: Cli, share: Path, name: str, value: str) -> None:
    cli.env = {f"ARCHIPMIGRATE_{name}": value}
    ended = cli("perms", "-n", "--group", GID, share)
    assert ended.status == 2
    assert f"ARCHIPMIGRATE_{name}={value}" in ended.err


@pytest.mark.parametrize(
    "words",
    [["perms"], ["perms", "--jobs", "0", "x"], ["nothing"], [], ["perms", "--exclude", "a/b", "x"]],
)
def test_bad_usage_is_status_2(cli: Cli, words: list[str]) -> None:
    assert cli(*words).status == 2


def test_help_of_every_command_has_examples(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.status == 0
    for command in ("perms", "verify", "undo", "status", "resume", "forget", "testshare"):
        assert command in ended.out
        assert f"archipmigrate {command}" in cli(command, "--help").out


def test_version_names_the_backends(cli: Cli) -> None:
    assert f"{cli.backend}" in cli("--version").out
