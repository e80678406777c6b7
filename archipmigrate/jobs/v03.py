"""What every job says of locks that v0.3 left."""

from __future__ import annotations

from ..ui.text import count


def held_by_v03(number: int, noun: str = "lock") -> str:
    """Word that what v0.3 locked counts as held, until the user says that it runs nowhere."""
    return (
        f"held by v0.3, which never releases a lock: {count(number, noun)}. Once it is stopped on "
        "all nodes, add --v03-stopped"
    )
