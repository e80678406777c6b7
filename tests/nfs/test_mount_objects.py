"""relocate through a mount: the kernel's server, the kernel's client, a guest a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nfs.guest import Result
from tests.nfs.guest_programs import mount_objects as programs
from tests.nfs.test_mount import VERSIONS, done, reports

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]
Guest = Callable[..., Result]


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_of_all_kinds_are_moved_and_moved_back(guest: Guest, version: str) -> None:
    """By links, and nothing called .nfs... is left: it would be among the entries."""
    found = reports(guest(programs.kinds, version, timeout=200))
    assert found["relocate"]["status"] == 3, found  # the conflict
    assert found["relocate"]["summary"]["changed"] == 8
    assert found["moved"] is True
    assert done(found["undo"], "undo")["changed"] == 8
    assert found["as before"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_copied_to_the_share_and_back(guest: Guest, version: str) -> None:
    found = reports(guest(programs.copies, version, timeout=200))
    assert found["refused"]["status"] == 2, found
    assert found["untouched"] is True
    assert done(found["relocate"], "relocate")["changed"] == 9
    assert (found["left"], found["moved"]) == ([], True)
    assert done(found["undo"], "undo")["changed"] == 9
    assert found["as before"] is True


@pytest.mark.parametrize(("version", "most"), [("3", 8.6), ("4.2", 8.6)])
def test_object_costs_few_calls(guest: Guest, version: str, most: float) -> None:
    """A directory is made, the object linked to it and its old name removed; the rest is ACCESS."""
    objects = 600
    found = reports(guest(programs.costs, version, objects, timeout=200))["relocate"]
    assert found["summary"]["changed"] == objects + 6
    made = found["calls"]
    assert sum(made.values()) <= most * objects, {n: round(c / objects, 2) for n, c in made.items()}
