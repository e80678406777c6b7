"""What lanes read of a run's tables, through a connection of their own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import JournalError
from .tables import Linked, loaded

TAIL = b"\xff" * 32


class Known:
    """The blocks that have both names, and the files that are listed. Serves all lanes.

    Without a journal (a dry run of a new one) nothing is known. Every method raises JournalError.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db = None
        if path is not None:
            self._db = sqlite3.connect(
                f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
            )

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()

    def below(self, prefix: bytes) -> dict[bytes, int]:
        """Return the inodes of the blocks whose digests begin with *prefix*, by digest."""
        return {row.digest: row.inode for row in self._range(prefix)}

    def has(self, digest: bytes) -> bool:
        """Whether a block has both names."""
        return bool(self._rows("SELECT 1 FROM object WHERE digest = ?", digest))

    def is_listed(self, path: bytes) -> bool:
        """Whether a file is listed, by the path that is shown."""
        return bool(self._rows("SELECT 1 FROM found WHERE path = ?", path))

    def _range(self, prefix: bytes) -> Iterator[Linked]:
        query = "SELECT digest, inode FROM object WHERE digest BETWEEN ? AND ?"
        for digest, inode in self._rows(query, prefix, prefix + TAIL):
            yield Linked(digest, loaded(inode))

    def _rows(self, query: str, *values: bytes) -> list[tuple[bytes, int]]:
        if self._db is None:
            return []
        with self._lock, self._readable():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self._path} cannot be read: {error}") from None
