"""Integers of 64 bits in SQLite, whose integers are signed."""

from __future__ import annotations

TOP_BIT = 1 << 63


def signed(number: int) -> int:
    """Return what SQLite stores for a number of 64 bits, such as an inode's."""
    return number - 2 * TOP_BIT if number >= TOP_BIT else number


def unsigned(stored: int) -> int:
    """Return the number that `signed` gave *stored* for."""
    return stored % (2 * TOP_BIT)
