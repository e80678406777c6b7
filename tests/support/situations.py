"""Controls of tests that are expected to fail: a situation that was not made is an error.

A test marked xfail would also "fail" where nothing was tried at all. Such tests are marked with
`raises=AssertionError`, and see by `made` that what they are about really is there.
"""

from __future__ import annotations


class NotMade(Exception):
    """The situation that a test is about is not there."""


def made(is_there: object, situation: str) -> None:
    """Raise NotMade unless the situation is there."""
    if not is_there:
        raise NotMade(situation)
