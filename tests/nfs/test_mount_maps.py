"""mapfiles through a mount: the kernel's server, the kernel's client, a guest a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nfs.guest import Result
from tests.nfs.guest_programs import mount_maps as map_programs
from tests.nfs.test_mount import VERSIONS, done, reports

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]
Guest = Callable[..., Result]


@pytest.mark.parametrize("version", VERSIONS)
def test_volumes_of_all_kinds_are_upgraded_and_put_back(guest: Guest, version: str) -> None:
    found = reports(guest(map_programs.kinds, version, timeout=200))
    counts = {"maps": 30, "upgraded": 22, "current": 6, "locked": 2, "failed": 0}
    for name in ("local", "upgrade"):
        summary = found[name]["summary"]
        assert {key: summary[key] for key in counts} == counts, found[name]
    assert found["dry run"]["summary"]["would_upgrade"] == counts["upgraded"]
    assert found["untouched"] is True
    assert found["as local"] is True
    assert done(found["undo"], "undo")["changed"] == counts["upgraded"]
    assert found["as before"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_survey_costs_one_small_read_a_map(guest: Guest, version: str) -> None:
    """A map costs GETATTR, ACCESS, READ; on v4 OPEN, READ, CLOSE. Blocks cost nothing."""
    volumes = 200
    found = reports(guest(map_programs.costs, version, volumes, timeout=200))
    survey = found["survey"]
    assert survey["summary"]["current"] == volumes
    made = survey["calls"]
    assert made["READ"] == volumes
    assert "WRITE" not in made
    listing = 4 * survey["directories"]
    assert sum(made.values()) <= listing + 3.1 * volumes, made
    assert found["upgrade"]["summary"]["upgraded"] == volumes


@pytest.mark.parametrize("version", VERSIONS)
def test_share_that_cannot_be_changed_stops_the_run(guest: Guest, version: str) -> None:
    found = reports(guest(map_programs.refused, version, timeout=200))
    for name, cause in (("squashed", "root_squash"), ("read-only", "read-only")):
        assert (found[name]["status"], found[name]["summary"]["status"]) == (1, "stopped"), found
        assert cause in found[name]["err"]
    assert found["untouched"] is True
