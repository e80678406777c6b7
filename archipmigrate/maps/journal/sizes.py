"""The sizes of the volumes that have v0 maps, by the map's name: such a map does not tell its size.

A table in an SQLite database of its own, on disk: millions of rows take no memory but SQLite's
cache. The digest is that of the rows ordered by key, so the order in which they came does not
matter. `pithos` says where they come from.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from xxhash import xxh3_128

from ...errors import JournalError
from ...journal.location import sync_directory

FORMAT = 1
SCHEMA = """
CREATE TABLE size (
    name BLOB NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (name, bytes)
) WITHOUT ROWID;
CREATE TABLE seal (digest TEXT NOT NULL);
"""
# Rows come in no order: the more of the tree is in memory, the fewer pages are written twice. A
# million rows take 47 MB.
CACHE_KIB = 32 << 10
NAME = re.compile(rb"[0-9a-f]{64}")


class Sizes:
    """A table of sizes; see the module. Several threads may call `of` at a time."""

    def __init__(self, db: sqlite3.Connection, digest: str) -> None:
        self._db = db
        self._lock = threading.Lock()
        self.digest = digest  # xxh3-128 of the distinct rows; "" if there are none

    @classmethod
    def empty(cls) -> Self:
        """Return a table without rows."""
        return cls.load(())

    @classmethod
    def load(cls, rows: Iterable[tuple[str, int]]) -> Self:
        """Make a table of *rows*: names of maps (64 hex digits) and sizes (0 to 2**63 - 1 bytes).

        The table is temporary: closing it removes it. Raises JournalError if the disk (that of
        TMPDIR, or /var/tmp) is full, and whatever the iteration raises.
        """
        with _opened("", "the temporary table of sizes") as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.executescript(f"PRAGMA user_version = {FORMAT}; {SCHEMA} BEGIN;")
            db.executemany(
                "INSERT OR IGNORE INTO size VALUES (?, ?)",
                ((bytes.fromhex(name), size) for name, size in rows),
            )
            digest = _digest(db)
            db.execute("INSERT INTO seal VALUES (?)", (digest,))
            db.execute("COMMIT")
        return cls(db, digest)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a saved table for reading. Raises JournalError if it is missing or damaged.

        Reads every row once to verify the digest: a second for two million.
        """
        with _opened(f"{path.absolute().as_uri()}?mode=ro", str(path)) as db:
            known = db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
            digest = _digest(db) if known else ""
            intact = known and db.execute("SELECT digest FROM seal").fetchall() == [(digest,)]
        if not intact:
            db.close()
            raise JournalError(
                f"{path} is damaged: its checksum is wrong"
                if known
                else f"{path} is no table of sizes that this version can read"
            )
        return cls(db, digest)

    def of(self, name: bytes) -> tuple[int, ...]:
        """Return the sizes given for the volume of the map called *name*, in bytes.

        Empty if none is known; the two smallest ones if there are several. Raises JournalError.
        """
        if not NAME.fullmatch(name):
            return ()
        try:
            with self._lock:
                found = self._db.execute(
                    "SELECT bytes FROM size WHERE name = ? ORDER BY bytes LIMIT 2",
                    (bytes.fromhex(name.decode()),),
                ).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the table of sizes cannot be read: {error}") from None
        return tuple(size for (size,) in found)

    def save(self, path: Path) -> None:
        """Copy the table to *path*, with mode 0600; durable on return.

        *path* appears complete or not at all; a kill may leave a file with its name and a suffix.
        Raises JournalError, also if *path* exists.
        """
        try:
            fd, copy = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
            try:
                self._copy(copy)
                os.fsync(fd)
                os.link(copy, path)  # never over another file, as a rename would be
            finally:
                os.close(fd)
                os.unlink(copy)
            sync_directory(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the table of sizes cannot be saved: {path}: {error}") from None

    def _copy(self, path: str) -> None:
        target = sqlite3.connect(path)
        try:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")  # the caller syncs
            with self._lock:
                self._db.backup(target)
        finally:
            target.close()

    def close(self) -> None:
        """Close the database, and with it remove a temporary one."""
        with self._lock:
            self._db.close()


@contextlib.contextmanager
def _opened(uri: str, what: str) -> Iterator[sqlite3.Connection]:
    """Open a database, and close it if the block raises. SQLite's errors become JournalError."""
    try:
        db = sqlite3.connect(uri, isolation_level=None, check_same_thread=False, uri=True)
        with contextlib.ExitStack() as stack:
            stack.callback(db.close)
            yield db
            stack.pop_all()
    except sqlite3.Error as error:
        raise JournalError(f"{what}: {error}") from None


def _digest(db: sqlite3.Connection) -> str:
    """Return the checksum of all rows, ordered by key; "" if there are none."""
    checksum, some = xxh3_128(), False
    for name, size in db.execute("SELECT name, bytes FROM size ORDER BY name, bytes"):
        checksum.update(name)
        checksum.update(size.to_bytes(8, "little", signed=True))
        some = True
    return checksum.hexdigest() if some else ""
