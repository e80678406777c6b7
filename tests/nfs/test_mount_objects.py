"""relocate through a mount: the kernel's server, the kernel's client, a guest a test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from tests.nfs.guest import Result
from tests.nfs.guest_programs import mount_objects as programs
from tests.nfs.test_mount import VERSIONS, done, reports

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(400)]
Guest = Callable[..., Result]
OBJECTS = 736  # 46 in each of 16 directories: 3 million in 65,536


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


@pytest.mark.parametrize("version", VERSIONS)
def test_object_costs_few_calls(guest: Guest, version: str) -> None:
    """Its old directory is read, the new one made, and it is linked; the rest is mostly ACCESS."""
    names = list(islice(close_names(), OBJECTS))
    found = reports(guest(programs.costs, version, names, timeout=200))["relocate"]
    assert found["summary"]["changed"] == OBJECTS + 6
    made = found["calls"]
    assert sum(made.values()) <= 8.0 * OBJECTS, {
        name: round(number / OBJECTS, 2) for name, number in made.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_directories_are_read_anew_that_the_client_has_seen_before(
    guest: Guest, version: str
) -> None:
    """In one that is there, in a new one, and in a new one of the first level."""
    digits = "0" * 58
    names, late = [f"archip_abcdef{digits}"], [
        f"archip_{place}{digits[1:]}1" for place in ("abcdef", "abcdee", "cccccc")
    ]  # fmt: skip
    found = reports(guest(programs.seen_before, version, names, late, timeout=200))
    assert found["before"]["summary"]["changed"] == 7
    if version == "3":  # without what relocate does the test would show nothing
        assert found["shown"] is False
    assert done(found["relocate"], "relocate")["changed"] == 10
    assert found["moved"] is True


def close_names() -> Iterator[str]:
    """Yield names of blocks of which old and new places lie close together.

    In 16 directories of the second level, with as many objects in each, and in each of their
    leaves, as there are where 65,536 hold millions.
    """
    for number in count():
        name = f"archip_abc{hashlib.sha256(b'%d' % number).hexdigest()[3:]}"
        if hashlib.sha256(name.encode()).hexdigest().startswith("abc"):
            yield name
