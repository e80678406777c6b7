"""An SQLite file that is changed in durable transactions only, and may be a temporary one.

WAL with synchronous=FULL: a commit is on disk when it returns. SQLite's other level, NORMAL, syncs
at checkpoints only (sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..model import Column
from .location import sync_directory


class Database:
    """The file and its one connection; used by one thread at a time.

    `execute`, `execute_many` and `select` are `model.JobTables`.
    """

    def __init__(self, path: Path | None, schema: str = "") -> None:
        """Open the file at *path*, or make it with a *schema*, durably.

        With None it is temporary, and nothing is synced. Raises JournalError.
        """
        self.path = path
        try:
            if path and schema:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            name = f"{path.as_uri()}?mode=rw" if path else ""
            self._db = sqlite3.connect(
                name, isolation_level=None, check_same_thread=False, uri=bool(path)
            )
            if path:
                if schema:  # the file keeps it; another file must not be written to here
                    self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            else:
                self._db.execute("PRAGMA synchronous = OFF")
                self._db.execute("PRAGMA journal_mode = OFF")
            if schema:
                self._db.executescript(f"BEGIN; {schema} COMMIT;")
                if path:
                    sync_directory(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path or 'temporary journal'}: {error}") from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is executed inside one transaction, durable on return. Raises JournalError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            raise JournalError(
                f"the journal {self.path} cannot be written ({error}); nothing was changed that it "
                "does not hold: make room there and resume"
            ) from None

    def execute(self, statement: str, *values: Column) -> int:
        """Change tables; return how many rows changed. Only inside a transaction."""
        self._check_transaction()
        return self._db.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Sequence[Column]]) -> None:
        """Change tables once for each row of values. Only inside a transaction."""
        self._check_transaction()
        self._db.executemany(statement, rows)

    def select(self, query: str, *values: Column) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds. Raises JournalError."""
        try:
            # Not `yield from`: that closes the cursor, maybe long after the database, which fails.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} cannot be read: {error}") from None

    def close(self, *, fold: bool = True) -> None:
        """Close the file; *fold* writes the write-ahead log into it (not after only reading)."""
        if fold:
            # If it cannot be folded in now, what is committed is read from the log next time.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _check_transaction(self) -> None:
        if not self._db.in_transaction:  # SQLite would make each statement one of its own
            raise RuntimeError("a journal is written in transactions only")
