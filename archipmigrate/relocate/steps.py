"""How far an object is on its way, and why it may not go on."""

from __future__ import annotations

from enum import Enum


class Different(Exception):
    """Something else lies at one of the places: somebody changed it since it was looked at."""


class Gone(Exception):
    """The object is at neither place."""


class Step(Enum):
    """How far an object is, before old names are removed."""

    NOT_BEGUN = "not begun"
    HALF_DONE = "half done"  # both names are there: the old one is to be removed
    MADE = "made"  # it has just got to its place
    ALREADY = "already"  # it was there
