"""How long a session through a mount waits after a direct one."""

from __future__ import annotations

import pytest

from archipmigrate.session.reach import left_to_wait

LONGEST = 61.0
NOW = 100_000.0


@pytest.mark.parametrize(
    ("since", "age", "left"),
    [
        (0, None, 61),
        (7, None, 54),
        (61, None, 0),
        (5000, None, 0),
        (-3600, None, 61),  # the clock was set back
        (7, 5000, 54),  # the mount is older than the change
        (7, 8, 54),
        (7, 7, 54),  # the age is in whole seconds
        (7, 5, 54),
        (7, 4, 0),  # the mount is younger
        (7, 0, 0),
        (0, 0, 61),
        (-3600, 0, 61),
    ],
)
def test_mount_is_waited_for_until_it_has_forgotten_what_was_before_a_change(
    since: float, age: float | None, left: float
) -> None:
    assert left_to_wait(NOW - since, LONGEST, age, NOW) == left


def test_nothing_is_waited_for_if_nothing_was_changed() -> None:
    assert left_to_wait(0.0, LONGEST, None, NOW) == 0
