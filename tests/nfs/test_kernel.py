"""The nfs backend and the kernel's NFS server, in a guest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nfs import fake
from tests.nfs.guest import Result

pytest.importorskip("archipmigrate._nfs")

from tests.nfs import direct

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]

Guest = Callable[..., Result]


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_end_states_are_those_of_the_native_backend_and_go_back(
    guest: Guest, filesystem: str
) -> None:
    found = guest(direct.crafted_tree, filesystem).reports
    for name in ("perms", "verify", "undo"):
        assert (found[name]["status"], found[name]["err"]) == (0, ""), found[name]
    assert found["after"] == found["expected"]
    assert found["undone"] == found["before"]
    for count in ("entries", "changed", "compliant", "hard_linked"):
        assert found["perms"]["summary"][count] == found["native"]["summary"][count]


def test_refusals_stop_the_run(guest: Guest) -> None:
    found = guest(direct.refusals).reports
    for name in ("squashed", "read-only"):
        assert (found[name]["status"], found[name]["summary"]["status"]) == (1, "stopped")
        assert found[name]["summary"]["changed"] == 0


def test_calls_of_the_filed_layout(guest: Guest) -> None:
    found = guest(direct.rate, 1000, 2.5).reports
    entries, calls = found["entries"], found["perms"]["calls"]
    directories = found["perms"]["summary"]["directories"]
    assert found["perms"]["summary"]["changed"] == entries
    assert calls[fake.SETATTR] == entries
    assert sum(calls) <= entries + directories + 0.05 * entries
    assert sum(found["verify"]["calls"]) <= directories + 0.05 * entries
