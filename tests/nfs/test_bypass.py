"""Direct NFS to the server of a mounted share, bypassing the mount: a guest a test.

The guest programs are in guest_programs/bypass.py; what they must report is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.nfs.guest import Result

pytest.importorskip("archipmigrate._nfs")

from tests.nfs.guest_programs import bypass as programs
from tests.nfs.test_mount import done, reports

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]

Guest = Callable[..., Result]
LABELS = {3: "NFSv3", 4: "NFSv4.0"}


def went(ended: dict[str, Any], version: int) -> dict[str, Any]:
    """Return the summary of a session that went past the mount by this version, and said so."""
    summary: dict[str, Any] = ended["summary"]
    assert (summary["backend"], summary["nfs_version"]) == ("nfs", version), ended
    assert ended["err"].startswith(f"directly by {LABELS[version]}, past the mount")
    return summary


def stayed(ended: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the summary of a session that went through the mount, and said why."""
    summary: dict[str, Any] = ended["summary"]
    assert summary["backend"] == "native"
    assert "nfs_version" not in summary
    assert ended["err"] == f"through the mount, not directly: {why}\n"
    return summary


@pytest.mark.parametrize(("mounted", "version"), [("3", 3), ("4.2", 4)])
def test_crafted_tree_is_changed_verified_and_put_back_without_a_change_by_the_mount(
    guest: Guest, mounted: str, version: int
) -> None:
    """The mount still knows the attributes of before: verify and undo must not believe it."""
    found = reports(guest(programs.crafted_trees, mounted))
    local = done(found["local"], "perms")
    for name in ("dry run", "perms"):
        went(found[name], version)
        summary = done(found[name], "perms")
        for count in ("entries", "changed", "compliant", "hard_linked", "failed"):
            assert summary[count] == local[count], (name, count)
    assert found["untouched"] is True
    assert found["unlike"] == {}
    went(found["verify"], version)
    assert done(found["verify"], "verify")["drift"] == 0
    went(found["undo"], version)
    back = found["undo"]["summary"]  # of some files set-id bits stay off
    assert (found["undo"]["status"], back["failed"]) == (3, 0), found["undo"]
    assert back["changed"] + back["skipped"] == local["changed"]
    assert found["not back"] == {}
    assert found["SETATTR"] == 0
    assert f", directly by {LABELS[version]}; nothing was changed" in found["words"]
    assert (found["by the mount"]["summary"]["backend"], found["by the mount"]["err"]) == (
        "native",
        "",
    )
    assert ", through the mount; nothing was changed" in found["by the mount, words"]


def test_mount_is_used_where_it_must_not_be_passed_and_says_why(guest: Guest) -> None:
    found = reports(guest(programs.refusals))
    stayed(found["not root"], "not root")
    stayed(found["below"], "something is mounted on /run/bed/mount/share/blocks")
    stayed(found["read-only"], "mounted read-only")
    assert found["demanded"]["status"] == 1
    assert found["demanded"]["err"].endswith("through the mount: mounted read-only\n")
    went(found["demanded elsewhere"], 4)
    went(found["beside"], 4)
    for name, ended in found["forced"].items():
        assert (ended["summary"]["backend"], ended["err"].startswith("directly")) == (name, False)


def test_bind_mount_of_a_part_is_a_share_of_its_own(guest: Guest) -> None:
    found = reports(guest(programs.bound))
    changed = went(found["perms"], 4)["changed"]
    assert changed > 0
    assert found["drift"] == 0
    assert found["rest"] == found["rest before"] - changed


def test_root_is_found_by_the_path_of_version_4_or_by_its_handle_or_by_mountd(
    guest: Guest,
) -> None:
    found = reports(guest(programs.versions_3_and_4))
    went(found["no such path"], 3)
    went(found["same path"], 4)
    went(found["other path"], 3)
    went(found["without port mapper"], 3)
    went(found["by handle"], 3)
    refused = "NFSv4.0 shows another inode; NFSv3: mount: Connection refused"
    stayed(found["nothing left"], refused)


def test_server_of_version_3_needs_neither_mountd_nor_port_mapper(guest: Guest) -> None:
    found = reports(guest(programs.without_version_4))
    assert went(found["perms"], 3)["changed"] > 0
    assert found["drift"] == 0
    assert went(found["undo"], 3)["changed"] == found["perms"]["summary"]["changed"]


def test_runs_are_resumed_and_undone_the_other_way(guest: Guest) -> None:
    """Through the mount only when that has forgotten what was done past it."""
    found = reports(guest(programs.both_ways, "3", timeout=200))
    entries = found["size"]["entries"]
    for second in ("auto", "native"):
        seen = found[second]
        assert 0 < seen["half"] < entries
        resumed = done(seen["resume"], "perms")
        assert (resumed["resumed"], resumed["changed"]) == (True, entries)
        assert seen["drift"] == 0
        assert done(seen["undo"], "undo")["changed"] == entries
        assert seen["not back"] == {}
        by_mount = seen["undo" if second == "auto" else "resume"]
        assert by_mount["err"].startswith("waiting ")
        went(seen["resume" if second == "auto" else "undo"], 3)
