"""Groups entries by a cause that they share: a count and a few examples, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import Examples

# Causes beyond this number are counted as one: "other causes".
MOST_CAUSES = 200
OTHER = "other causes"


class Causes:
    """Counts entries by cause."""

    def __init__(self) -> None:
        self._by_name: dict[str, Examples] = {}

    def add(self, name: str, path: bytes) -> None:
        """Count one entry."""
        if name not in self._by_name and len(self._by_name) >= MOST_CAUSES:
            name = OTHER
        self._by_name.setdefault(name, Examples()).add(path)

    def drop(self, operations: tuple[str, ...]) -> None:
        """Forget causes that begin with one of *operations*: they are shown in another way."""
        for name in [name for name in self._by_name if name.startswith(operations)]:
            del self._by_name[name]

    def __iter__(self) -> Iterator[tuple[str, Examples]]:
        """Yield causes, the most frequent first."""
        return iter(sorted(self._by_name.items(), key=lambda item: -item[1].count))

    def __bool__(self) -> bool:
        return bool(self._by_name)
