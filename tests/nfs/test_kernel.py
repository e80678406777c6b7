"""The nfs backend and the kernel's NFS server, in a guest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nfs import fake
from tests.nfs.guest import Result

pytest.importorskip("archipmigrate._nfs")

from tests.nfs.guest_programs import direct

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]

Guest = Callable[..., Result]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_end_states_are_those_of_the_native_backend_and_go_back(
    guest: Guest, filesystem: str, version: int
) -> None:
    found = guest(direct.crafted_tree, filesystem, version).reports
    for name, status in (("perms", 0), ("verify", 0), ("undo", 3)):
        assert (found[name]["status"], found[name]["err"]) == (status, ""), found[name]
    after = found["after"]
    assert after == found["expected"]
    assert found["undone"] == {
        path: [mode & (after[path][0] | ~0o6000), *ids]
        for path, (mode, *ids) in found["before"].items()
    }
    for count in ("entries", "changed", "compliant", "hard_linked"):
        assert found["perms"]["summary"][count] == found["native"]["summary"][count]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "mounted"), [(3, "3"), (4, "4.2")])
def test_owner_is_given_and_taken_back_directly_and_through_a_mount(
    guest: Guest, version: int, mounted: str
) -> None:
    found = guest(direct.owner, 54322, version, mounted).reports
    changed = found["native"]["summary"]["changed"]
    assert found["native"]["status"] == 0
    for way in ("mount", "direct"):
        run, undo = found[way]["run"], found[way]["undo"]
        assert (run["status"], run["summary"]["changed"], found[way]["unlike"]) == (0, changed, [])
        assert (undo["status"], undo["summary"]["failed"], found[way]["not back"]) == (3, 0, [])
    if version == 3:
        assert found["direct"]["run"]["calls"][fake.SETATTR] == changed


@pytest.mark.parametrize("version", [3, 4])
def test_refusals_stop_the_run(guest: Guest, version: int) -> None:
    found = guest(direct.refusals, version).reports
    for name in ("squashed", "read-only"):
        assert (found[name]["status"], found[name]["summary"]["status"]) == (1, "stopped")
        assert found[name]["summary"]["changed"] == 0


@pytest.mark.parametrize("version", [3, 4])
def test_calls_of_the_filed_layout(guest: Guest, version: int) -> None:
    found = guest(direct.rate, 1000, 2.5, version).reports
    entries, calls = found["entries"], found["perms"]["calls"]
    directories = found["perms"]["summary"]["directories"]
    assert found["perms"]["summary"]["changed"] == entries
    together = 1 if version == 3 else 16  # of 50 operations
    # Units end by time: the slower the machine, the more calls with few changes at their ends, and
    # the more directories that are changed after what is in them, by a LOOKUP and a GETATTR each.
    assert entries / together <= calls[fake.SETATTR] <= (1 / together + 0.2) * entries
    assert sum(calls) <= entries / together + directories + 0.4 * entries
    assert sum(found["verify"]["calls"]) <= directories + 0.05 * entries


@pytest.mark.parametrize("version", [3, 4])
def test_group_whose_quota_is_used_up_is_a_failure_that_can_be_resumed(
    guest: Guest, version: int
) -> None:
    files, room = 40, 15
    found = guest(direct.quota, version, files, room).reports
    full = found["full"]
    assert (full["status"], full["summary"]["status"]) == (3, "failures"), full
    assert full["summary"]["changed"] == room
    assert full["summary"]["failed"] == found["drift"] == files - room
    if version == 3:  # where a change is a call: they were tried again three times
        assert full["calls"][fake.SETATTR] == room + 4 * (files - room)
    resumed = found["resume"]
    assert (resumed["status"], resumed["summary"]["changed"]) == (0, files), resumed
    assert found["drift after"] == 0
    undo, again = found["undo"], found["undo again"]
    assert undo["status"] == 3, undo
    counted = [undo["summary"][name] for name in ("entries", "changed", "compliant", "failed")]
    assert counted == [files, room, 0, files - room]
    assert again["status"] == 0, again
    counted = [again["summary"][name] for name in ("entries", "changed", "compliant", "failed")]
    assert counted == [files, files - room, room, 0]
    assert not found["not back"]
