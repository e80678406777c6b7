"""perms, verify and undo through a mount: the kernel's server, the kernel's client, a guest a test.

The guest programs are in guest_programs/mount.py; what they must report is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.nfs.guest import Result
from tests.nfs.guest_programs import mount as programs
from tests.support import compiled, thinned

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]

VERSIONS = ("3", "4.2")
ACTED_ON = 500  # entries, in all runs under attack together
Guest = Callable[..., Result]


def reports(result: Result) -> dict[str, Any]:
    """Return what a program reported; it must have ended with status 0."""
    assert result.status == 0, result.err
    return result.reports


def done(ended: dict[str, Any], job: str) -> dict[str, Any]:
    """Return the summary of a session that ended well."""
    assert (ended["status"], ended["summary"].get("status")) == (0, "done"), ended
    assert ended["summary"]["job"] == job
    summary: dict[str, Any] = ended["summary"]
    return summary


# -- what it costs: the counts are exact


@pytest.mark.parametrize("backend", ["native", "python"])
@pytest.mark.parametrize("version", VERSIONS)
def test_calls_are_at_the_floor_in_the_filed_layout(
    guest: Guest, version: str, backend: str
) -> None:
    """Two SETATTR an entry; a directory is GETATTR, ACCESS, READDIR, and on v4 one more."""
    found = reports(guest(programs.counts, version, backend, "filed", 800, timeout=300))
    entries = found["size"]["entries"]
    directories = found["size"]["directories"] / entries
    floor = {
        "perms": 2 + (3 if version == "3" else 4) * directories,
        "compliant": 3 * directories,
        "verify": 3 * directories,
    }
    for name, calls in floor.items():
        summary = done(found[name], name.replace("compliant", "perms"))
        assert summary["entries"] == entries
        made = sum(found[name]["calls"].values()) / entries
        assert made <= calls + 0.1, (name, made, calls, found[name]["calls"])
    assert found["perms"]["calls"]["SETATTR"] == 2 * entries
    assert "SETATTR" not in found["compliant"]["calls"]
    assert found["drift"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_are_at_the_floor_in_one_wide_directory(guest: Guest, version: str) -> None:
    """Names come with their attributes also where a listing takes many calls.

    On v4, perms changes a wide directory before its entries, and then looks each name up again.
    """
    found = reports(
        guest(programs.counts, version, "native", "flat", thinned.fewer(12_000), timeout=300)
    )
    entries = found["size"]["entries"]
    for name in ("compliant", "verify"):
        made = sum(found[name]["calls"].values()) / entries
        assert made <= 0.1, (name, made, found[name]["calls"])
    assert found["perms"]["calls"]["SETATTR"] == 2 * entries
    if version == "3":
        assert found["perms"]["calls"]["LOOKUP"] <= 0.01 * entries
    assert found["drift"] == 0


# -- what comes of it

MOUNTS = [
    ("3", "hard"),
    ("4.2", "hard"),
    ("3", "nordirplus"),
    ("4.2", "noac"),
    ("3", "soft,timeo=50"),
]


@pytest.mark.parametrize(("version", "options"), MOUNTS, ids=[" ".join(m) for m in MOUNTS])
def test_crafted_tree_is_changed_verified_and_put_back_as_on_a_disk(
    guest: Guest, version: str, options: str
) -> None:
    backends = ["native", "python"]
    found = reports(guest(programs.crafted_trees, version, options, backends, timeout=200))
    local = done(found["local"], "perms")
    for backend in backends:
        seen = found[backend]
        summary = done(seen["perms"], "perms")
        for count in ("entries", "changed", "compliant", "hard_linked", "failed"):
            assert summary[count] == local[count], count
        assert seen["unlike"] == {}
        assert done(seen["verify"], "verify")["drift"] == 0
        back = seen["undo"]["summary"]  # of some files set-id bits stay off
        assert (seen["undo"]["status"], back["failed"]) == (3, 0), seen["undo"]
        assert back["changed"] + back["skipped"] == local["changed"]
        assert seen["not back"] == {}


def test_share_that_cannot_be_changed_stops_the_run_with_its_cause(guest: Guest) -> None:
    """root_squash and a read-only export; then, without them, a file linked in from elsewhere."""
    found = reports(guest(programs.refused, "4.2", timeout=200))
    for name, cause in (("root_squash", "root_squash"), ("ro", "the share is read-only here")):
        ended = found[name]
        assert (ended["status"], ended["summary"]["status"]) == (1, "stopped")
        assert ended["summary"]["changed"] == 0
        assert cause in ended["err"]
        # It does not try every entry before it says so.
        assert ended["summary"]["failed"] < 2000
    assert found["touched"] == {}
    assert done(found["allowed"], "perms")["skipped"] == 1
    assert found["secret"] == [0o600, 0]
    assert found["drift"] == ["blocks/innocent"]


# -- what goes wrong meanwhile


@pytest.mark.parametrize(("version", "backend"), [("3", "native"), ("4.2", "python")])
def test_directories_that_another_client_made_anew_are_changed_too(
    guest: Guest, version: str, backend: str
) -> None:
    found = reports(guest(programs.recreated, version, backend, timeout=200))
    assert found["result"] == ["done", "", []]
    assert found["tally"]["failed"] == 0
    assert found["lost"] == []
    assert found["drift"] == []


@pytest.mark.parametrize(
    ("version", "options", "backend"),
    [("3", "hard", "python"), ("4.2", "hard", "native"), ("3", "soft,timeo=600", "native")],
)
def test_run_outlives_a_restart_of_the_server(
    guest: Guest, version: str, options: str, backend: str
) -> None:
    found = reports(guest(programs.restarted, version, options, backend, timeout=200))
    assert found["while away"] is None
    assert found["perms"]["status"] == 0, found["perms"]
    assert '"status": "done"' in found["perms"]["out"][0]
    assert f'"changed": {found["size"]["entries"]},' in found["perms"]["out"][0]
    assert found["drift"] == 0


@pytest.mark.parametrize(("version", "backend"), [("3", "native"), ("4.2", "python")])
def test_killed_run_resumes_after_a_mount_under_another_path(
    guest: Guest, version: str, backend: str
) -> None:
    found = reports(guest(programs.killed, version, backend, timeout=200))
    entries = found["size"]["entries"]
    assert 0 < found["half"] < entries
    resumed = done(found["resume"], "perms")
    assert (resumed["resumed"], resumed["entries"], resumed["changed"]) == (True, entries, entries)
    assert found["drift"] == 0
    assert done(found["verify"], "verify")["drift"] == 0
    assert done(found["undo"], "undo")["changed"] == entries
    assert found["not back"] == {}


def test_run_on_a_soft_mount_whose_server_vanished_ends_and_resumes(guest: Guest) -> None:
    found = reports(guest(programs.vanished, "native", timeout=200))
    entries = found["size"]["entries"]
    assert found["perms"]["status"] in (1, 130), found["perms"]
    assert found["not yet"]["status"] == 1
    assert "the share does not answer (Input/output error)" in found["not yet"]["err"]
    resumed = done(found["resume"], "perms")
    assert (resumed["entries"], resumed["changed"], resumed["failed"]) == (entries, entries, 0)
    assert found["drift"] == 0


def test_victim_never_changes_under_attack_from_the_server(guest: Guest) -> None:
    attacker = compiled.program("attacker")
    found = reports(guest(programs.attacked, "3", ACTED_ON, str(attacker), timeout=200))
    assert found["victim"] is True
    assert found["done"] >= ACTED_ON


# -- how many lanes


@pytest.mark.parametrize("version", VERSIONS)
def test_wide_directory_is_worked_by_all_lanes(guest: Guest, version: str) -> None:
    found = reports(guest(programs.wide, version, 5_000, 16, 0.01, timeout=300))
    done(found["perms"], "perms")
    assert found["drift"] == 0
    assert found["in flight"][0] > 8


@pytest.mark.alone
@pytest.mark.long  # it measures rates; test_controllers has the decisions without a machine
def test_auto_finds_a_good_number_of_lanes_in_ten_seconds(guest: Guest) -> None:
    """At this round trip the rate grows up to 64 lanes (see bench_lanes): each lane only waits."""
    found = reports(guest(programs.lanes, "3", 20_000, 0.005, timeout=200, memory="2G"))
    lanes = re.search(r"lanes \d+/(\d+)", found["status"])
    assert lanes, found
    assert int(lanes[1]) in (32, 64), found
