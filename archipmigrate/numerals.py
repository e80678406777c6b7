"""Numbers as people write them in options, URLs and the environment. Pure."""

from __future__ import annotations

MOST_DIGITS = 100  # a float holds it, too, and int() refuses only far more


def read_number(text: str) -> int | None:
    """Return the number from 0 on that *text* is in ASCII digits, or None if it is none.

    int() also takes the digits of other scripts, spaces, underscores and signs: a group called by
    an Arabic digit would become the gid of that value.
    """
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return int(text)
    return None
