"""relocate --prelink through a mount: the kernel's server, the kernel's client, a guest a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.nfs.guest import Result
from tests.nfs.guest_programs import mount_prelink as programs
from tests.nfs.test_mount import VERSIONS, reports

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]
Guest = Callable[..., Result]


@pytest.mark.parametrize("version", VERSIONS)
def test_share_goes_the_whole_way_and_another_one_back(guest: Guest, version: str) -> None:
    """Of `onward` one object is a conflict: it was written after another node had deleted it."""
    found = reports(guest(programs.whole_way, version, "auto", timeout=200))
    for name, conflicts in (("onward", 1), ("return", 0)):
        bad = 3 if conflicts else 0
        ends = {
            "link": (0, "link"),
            "link again": (0, "link"),
            "switch": (bad, "linked"),
            "drop": (bad, "dropped"),
        }
        for step, end in ends.items():
            assert ended(found[f"{name}: {step}"]) == end, found[f"{name}: {step}"]["text"]
        assert found[f"{name}: link"]["summary"]["linked"] == 12
        classes = found[f"{name}: switch"]["summary"]["classes"]
        deleted = 3 + 2 + 3 - conflicts
        assert classes.get("conflict", 0) == conflicts
        assert (classes["deleted_v03"], classes["remade"]) == (deleted, 1)
        assert found[f"{name}: kept"] == {"deleted-v03": deleted, "remade": 1}
        assert found[f"{name}: perms"]["status"] == 0
        assert found[f"{name}: v0.4"] is found[f"{name}: v0.4 alone"] is True
        assert found[f"{name}: old names"] == 0
    assert ended(found["onward: refused"]) == (1, "linked"), found["onward: refused"]["text"]
    assert ended(found["return: back"]) == (0, "link"), found["return: back"]["text"]
    assert found["return: v0.3"] is True
    assert (found["left by NFS"], found["left by us"]) == ([], [])


def ended(found: dict[str, Any]) -> tuple[int, str]:
    """Return the exit status and the phase of a session."""
    return found["status"], found["summary"].get("phase", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_survey_costs_two_calls_a_block_that_has_not_changed(guest: Guest, version: str) -> None:
    """ACCESS to its directory, LOOKUP of its old name. A directory that is read costs some, too."""
    tops, leaves = 5, 40
    found = reports(guest(programs.costs, version, tops, leaves, timeout=200))["survey"]
    assert ended(found) == (0, "linked"), found["text"]
    objects, read = tops * leaves, found["directories"]
    assert found["summary"]["linked"] == objects
    made = found["calls"]
    once = 256 + 20  # each name of the first level; the clock, directories of maps
    assert made["LOOKUP"] + made["ACCESS"] <= 2 * objects + read + once, made
    assert sum(made.values()) <= 2 * objects + 3 * read + once, made
