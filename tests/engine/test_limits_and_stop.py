"""Pure parts of the engine: when to stop early, and how large units are."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.backend.base import READ_ONLY_PART
from archipmigrate.engine.limits import FEWEST_CHANGES, FIRST_CHANGES, MOST_CHANGES, UnitSize
from archipmigrate.engine.stop import ENOUGH, EarlyStop
from archipmigrate.model import Failure, FailureKind

# -- the early stop


def refusals(number: int, error: int = errno.EPERM, note: str = "") -> list[Failure]:
    return [Failure(b"%d" % n, "chown", error, note) for n in range(number)]


def test_early_stop_waits_for_enough_refusals() -> None:
    early = EarlyStop()
    early.applied(ENOUGH - 1, 0, refusals(ENOUGH - 1))
    assert (early.reason, early.deny_limit) == ("", 1)
    early.applied(1, 0, refusals(1, errno.EACCES))
    assert "chown: EPERM" in early.reason
    assert "root_squash" in early.reason


def test_early_stop_counts_entries_that_cannot_be_scanned() -> None:
    early = EarlyStop()
    early.scanned(refusals(ENOUGH // 2, errno.EACCES))
    early.applied(ENOUGH // 2, 0, refusals(ENOUGH // 2))
    assert early.reason


def test_full_share_stops_a_job_that_must_write_even_after_a_success() -> None:
    early = EarlyStop()
    early.applied(1, 1, [])
    early.applied(1, 0, [Failure(b"entry", "chown", errno.EDQUOT)])
    assert early.reason == ""
    early.applied(1, 0, [Failure(b"volume", "upgrade", errno.ENOSPC, kind=FailureKind.NO_ROOM)])
    assert "ENOSPC" in early.reason


def test_early_stop_never_comes_after_a_success() -> None:
    early = EarlyStop()
    early.applied(3, 1, refusals(2))
    assert early.deny_limit == 0
    early.applied(5 * ENOUGH, 0, refusals(5 * ENOUGH))
    assert early.reason == early.at_end(6 * ENOUGH) == ""


@pytest.mark.parametrize(
    ("attempted", "failures", "stops"),
    [
        (3, refusals(3), True),
        (3, refusals(2), False),
        (3, refusals(3, note="immutable"), False),
        (3, refusals(3, errno.EIO), False),
        (0, [], False),
    ],
    ids=["all", "some", "protected", "broken", "nothing"],
)
def test_early_stop_at_the_end_needs_all_to_be_refused(
    attempted: int, failures: list[Failure], stops: bool
) -> None:
    early = EarlyStop()
    early.applied(attempted, 0, failures)
    assert early.reason == ""
    assert bool(early.at_end(10)) == stops


def test_early_stop_at_the_end_of_a_share_that_cannot_be_entered() -> None:
    early = EarlyStop()
    early.scanned(refusals(1, errno.EACCES))
    assert "EACCES" in early.at_end(1)


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (Failure(b"a", "chown", errno.EROFS), "read-only"),
        (Failure(b"a", "open", errno.EMFILE), "too many files are open"),
        (Failure(b"a", "open", errno.ENFILE), "too many files are open"),
        (Failure(b"a", "read back", 0, "group 65534", kind=FailureKind.MISMATCH), "group 65534"),
    ],
)
def test_early_stop_comes_at_once_where_nothing_can_work(failure: Failure, why: str) -> None:
    early = EarlyStop()
    early.applied(1, 0, [failure])
    assert why in early.reason


def test_early_stop_lets_a_read_only_part_fail() -> None:
    early = EarlyStop()
    part = [Failure(b"a", "chown", errno.EROFS, READ_ONLY_PART)] * (ENOUGH - 1)
    early.applied(len(part), 0, part)
    assert early.deny_limit == 1
    assert not early.at_end(len(part))
    early.applied(1, 0, part[:1])
    assert "read-only" in early.reason


def test_early_stop_lets_any_number_of_read_only_entries_fail_after_a_success() -> None:
    early = EarlyStop()
    part = [Failure(b"a", "chown", errno.EROFS, READ_ONLY_PART)] * (2 * ENOUGH)
    early.applied(1, 1, ())
    early.applied(len(part), 0, part)
    assert (early.deny_limit, early.at_end(len(part))) == (0, "")


# -- the size of units


def test_unit_size_grows_while_units_are_short_and_full() -> None:
    sizes = UnitSize(0.1)
    for _ in range(20):
        sizes.observe(sizes.changes, 0.01)
    assert sizes.changes == MOST_CHANGES


def test_unit_size_finds_what_fits() -> None:
    sizes = UnitSize(0.1)
    for _ in range(20):
        sizes.observe(sizes.changes, sizes.changes / 20_000)
    assert sizes.changes == pytest.approx(2000, rel=0.01)


def test_unit_size_shrinks_at_once_but_not_to_nothing() -> None:
    sizes = UnitSize(0.1)
    sizes.observe(FIRST_CHANGES, 0.4)
    assert sizes.changes == FIRST_CHANGES // 4
    sizes.observe(FIRST_CHANGES, 1000.0)
    assert sizes.changes == FEWEST_CHANGES


def test_unit_size_learns_nothing_from_a_unit_that_ended_early() -> None:
    sizes = UnitSize(0.1)
    sizes.observe(FIRST_CHANGES - 1, 0.0)
    assert sizes.changes == FIRST_CHANGES


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 10**4))))
def test_unit_size_stays_within_its_bounds(samples: list[tuple[int, float]]) -> None:
    sizes = UnitSize(0.1)
    for changes, seconds in samples:
        sizes.observe(changes, seconds)
        assert FEWEST_CHANGES <= sizes.changes <= MOST_CHANGES
