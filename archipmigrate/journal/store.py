"""One run's journal: an SQLite database that holds all that a resumed run, or an undo, needs.

Invariant: a pre-image is durable before its change is made (WAL, synchronous=FULL, and the caller
waits for `commit`). Everything else may lag behind the filesystem, but never contradicts itself: a
unit leaves the frontier in the same transaction in which what it found and counted comes in.

Called from one thread at a time; `commit` is the only way to write.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..model import Column, Failure, Link, Tally, Unit
from .checksummed import check_seal, seal, unseal
from .integers import signed
from .location import sync_directory

SUFFIX = ".journal"
FORMAT = 1
SCHEMA = """
CREATE TABLE header (format INTEGER NOT NULL, content TEXT NOT NULL);
CREATE TABLE frontier (
    id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, retries INTEGER NOT NULL,
    counted INTEGER NOT NULL, entries INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE batch (id INTEGER PRIMARY KEY, preimage BLOB NOT NULL, outcome BLOB);
CREATE INDEX unsettled ON batch (id) WHERE outcome IS NULL;
CREATE TABLE link (
    device INTEGER, inode INTEGER, batch INTEGER NOT NULL, PRIMARY KEY (device, inode)
) WITHOUT ROWID;
CREATE TABLE scope (id INTEGER PRIMARY KEY, body BLOB, tally TEXT NOT NULL);
CREATE TABLE failure (
    path BLOB NOT NULL, operation TEXT NOT NULL, errno INTEGER NOT NULL, note TEXT NOT NULL,
    hint INTEGER NOT NULL, scope INTEGER NOT NULL);
"""
UNFINISHED = ("running", "interrupted", "stopped")


@dataclass(slots=True)
class RunHeader:
    """What a run is. `status`: running until it ends, then done, failures, stopped, interrupted.

    `settings` is what must be the same for a run to be resumed; `began` is when the latest session
    did, `seconds` counts those before it. `undone` names the undo run that took this run back, or
    is at it; `superseded` the run that was begun in place of this one; `host` is where it began.
    `roots` are identities and paths of what the job works on beside the share; most have none.
    """

    run: str
    job: str
    share: str
    path: str
    created: str
    settings: dict[str, object] = field(default_factory=dict)
    backend: str = ""
    status: str = "running"
    sessions: int = 0
    began: str = ""
    seconds: float = 0.0
    undone: str = ""
    superseded: str = ""
    host: str = ""
    roots: dict[str, str] = field(default_factory=dict)

    @property
    def is_unfinished(self) -> bool:
        """Whether the run was cut off and may be resumed."""
        return self.status in UNFINISHED and not self.undone and not self.superseded


Write = Callable[["Journal"], None]


class Journal:
    """The journal of one run; see the module."""

    def __init__(self, path: Path | None, *, new: bool) -> None:
        """Open or make the database at *path*; None: a temporary one, for jobs that only look.

        Raises JournalError.
        """
        self.path = path
        self._held: set[tuple[int, int]] = set()  # links claimed by batches not yet finished
        self._tallies: dict[int, Tally] = {}
        self._dirty: set[int] = set()
        try:
            if path and new:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            name = f"{path.as_uri()}?mode=rw" if path else ""
            self._db = sqlite3.connect(
                name, isolation_level=None, check_same_thread=False, uri=bool(path)
            )
            if path:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            else:
                self._db.execute("PRAGMA synchronous = OFF")
                self._db.execute("PRAGMA journal_mode = OFF")
            if new:
                self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
                self._db.execute("INSERT INTO scope VALUES (0, NULL, '{}')")
                if path:
                    sync_directory(path.parent)
            self._load_tallies()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path or 'temporary journal'}: {error}") from None

    def _load_tallies(self) -> None:
        for scope, text in self._db.execute("SELECT id, tally FROM scope"):
            self._tallies[scope] = Tally.from_dict(json.loads(text))

    # -- transactions

    def commit(self, writes: Sequence[Write]) -> None:
        """Carry out *writes* in one transaction, durable on return. Raises JournalError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in writes:
                write(self)
            self._db.executemany(
                "UPDATE scope SET tally = ? WHERE id = ?",
                [(json.dumps(self._tallies[s].as_dict()), s) for s in self._dirty],
            )
            self._dirty.clear()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise JournalError(
                f"the journal {self.path} cannot be written ({error}); nothing was changed that it "
                "does not hold: make room there and resume"
            ) from None

    # -- tables of jobs (`model.JobTables`)

    def execute(self, statement: str, *values: Column) -> int:
        """Change tables; return how many rows changed. Only for writes in `commit`."""
        self._check_committing()
        return self._db.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Sequence[Column]]) -> None:
        """Change tables once for each row of values. Only for writes in `commit`."""
        self._check_committing()
        self._db.executemany(statement, rows)

    def _check_committing(self) -> None:
        if not self._db.in_transaction:  # each statement would be a transaction of its own
            raise RuntimeError("the journal is written in `commit` only")

    def select(self, query: str, *values: Column) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds. Raises JournalError."""
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} cannot be read: {error}") from None

    def close(self, *, fold: bool = True) -> None:
        """Close the database, its write-ahead log folded in unless it is only looked at."""
        if fold:
            # What is committed and cannot be folded in now is read from the log next time.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    # -- the header

    def write_header(self, header: RunHeader) -> None:
        """Replace the header."""
        self._db.execute("DELETE FROM header")
        kept = asdict(header)
        if not header.roots:
            del kept["roots"]
        content = json.dumps(kept, ensure_ascii=True)
        self._db.execute("INSERT INTO header VALUES (?, ?)", (FORMAT, content))

    def read_header(self) -> RunHeader:
        """Return the header. Raises JournalError if this is no journal of ours."""
        try:
            row = self._db.execute("SELECT format, content FROM header").fetchone()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}") from None
        if row is None or row[0] != FORMAT:
            raise JournalError(f"{self.path} is not a journal that this version can read")
        return RunHeader(**json.loads(row[1]))

    # -- the frontier

    def put_unit(self, number: int, unit: Unit) -> None:
        """Add a unit to the frontier, or replace it."""
        self._db.execute(
            "INSERT OR REPLACE INTO frontier VALUES (?, ?, ?, ?, ?, ?)",
            (number, unit.scope, unit.retries, unit.counted, unit.entries, unit.body),
        )

    def remove_unit(self, number: int) -> None:
        """Take a finished unit out of the frontier."""
        self._db.execute("DELETE FROM frontier WHERE id = ?", (number,))

    def load_unit(self, number: int) -> Unit:
        """Read a unit back."""
        return next(unit for _, unit in self._units("WHERE id = ?", number))

    def units(self) -> Iterator[tuple[int, Unit]]:
        """Yield the frontier, oldest first."""
        return self._units("ORDER BY id")

    def _units(self, condition: str, *values: int) -> Iterator[tuple[int, Unit]]:
        rows = self.select(
            "SELECT id, scope, retries, counted, entries, body FROM frontier "  # noqa: S608
            + condition,  # one of two literals above
            *values,
        )
        for number, scope, retries, counted, entries, body in rows:
            yield number, Unit(body, entries, retries, bool(counted), None, scope)

    def last_number(self) -> int:
        """Return the highest number that a unit, batch or scope has had so far."""
        query = (
            "SELECT max((SELECT coalesce(max(id), 0) FROM frontier), "
            "(SELECT coalesce(max(id), 0) FROM batch), (SELECT coalesce(max(id), 0) FROM scope))"
        )
        return int(next(self.select(query))[0])

    # -- pre-images and outcomes

    def add_batch(self, number: int, preimage: bytes, links: Iterable[Link] = ()) -> None:
        """Add a sealed pre-image, and hold the linked inodes that it covers for it."""
        self._db.execute("INSERT INTO batch VALUES (?, ?, NULL)", (number, preimage))
        self._db.executemany(
            "INSERT OR IGNORE INTO link VALUES (?, ?, ?)",
            [(link.device, signed(link.inode), number) for link in links],
        )

    def add_unfinished(self, preimage: bytes) -> None:
        """Add a sealed pre-image that a later session is to settle: its batch has another outcome.

        Its number is below all others, so that no number in use is taken.
        """
        self._db.execute(
            "INSERT INTO batch SELECT min(coalesce(min(id), 0), 0) - 1, ?, NULL FROM batch",
            (preimage,),
        )

    def set_outcome(self, number: int, outcome: bytes) -> None:
        """Add the outcome of a batch, sealed here."""
        self._db.execute("UPDATE batch SET outcome = ? WHERE id = ?", (seal(outcome), number))

    def unsettled(self) -> list[int]:
        """Return the batches that have no outcome, oldest first."""
        rows = self.select("SELECT id FROM batch WHERE outcome IS NULL ORDER BY id")
        return [number for (number,) in rows]

    def batches(self) -> Iterator[int]:
        """Yield the numbers of all batches, oldest first."""
        return (number for (number,) in self.select("SELECT id FROM batch ORDER BY id"))

    def preimage(self, number: int) -> bytes:
        """Return the changes of a batch. Raises JournalError if they are damaged."""
        return unseal(next(self.select("SELECT preimage FROM batch WHERE id = ?", number))[0])

    def outcome(self, number: int) -> bytes:
        """Return the outcome of a settled batch. Raises JournalError if it is damaged."""
        return unseal(next(self.select("SELECT outcome FROM batch WHERE id = ?", number))[0])

    def check(self) -> None:
        """See that all pre-images and outcomes are whole. Raises JournalError."""
        for preimage, outcome in self.select("SELECT preimage, outcome FROM batch"):
            check_seal(preimage)
            if outcome is not None:
                check_seal(outcome)

    # -- files with several links

    def claim(self, links: Sequence[Link]) -> list[Link]:
        """Claim linked inodes for a batch to come; return those that another batch has claimed."""
        taken = []
        for link in links:
            key = (link.device, link.inode)
            known = self._db.execute(
                "SELECT 1 FROM link WHERE device = ? AND inode = ?",
                (link.device, signed(link.inode)),
            ).fetchone()
            if key in self._held or known:
                taken.append(link)
            else:
                self._held.add(key)
        return taken

    def remember_links(self, links: Iterable[Link]) -> None:
        """Keep claims that no batch stands for (a dry run)."""
        self.release_links(links, ())
        self._db.executemany(
            "INSERT OR IGNORE INTO link VALUES (?, ?, 0)",
            [(link.device, signed(link.inode)) for link in links],
        )

    def release_links(self, links: Iterable[Link], unchanged: Iterable[int]) -> None:
        """End the claims of a finished batch; the inodes of *unchanged* offsets are free again."""
        free = set(unchanged)
        for link in links:
            self._held.discard((link.device, link.inode))
            if link.offset in free:
                self._db.execute(
                    "DELETE FROM link WHERE device = ? AND inode = ?",
                    (link.device, signed(link.inode)),
                )

    def release_inodes(self, batch: int, inodes: Iterable[int]) -> None:
        """Free inodes that a batch, settled now, claimed and did not change."""
        self._db.executemany(
            "DELETE FROM link WHERE batch = ? AND inode = ?",
            [(batch, signed(inode)) for inode in inodes],
        )

    # -- tallies and scopes

    def add_tally(self, scope: int, tally: Tally) -> None:
        """Add counts to those of a scope (0: the run)."""
        self._tallies[scope].add(tally)
        self._dirty.add(scope)

    def tally(self) -> Tally:
        """Return the counts of all scopes together."""
        total = Tally()
        for tally in self._tallies.values():
            total.add(tally)
        return total

    def open_scope(self, scope: int, body: bytes) -> None:
        """Begin to count a wide directory apart, so that a later session can read it again."""
        self._db.execute("INSERT INTO scope VALUES (?, ?, '{}')", (scope, body))
        self._tallies[scope] = Tally()

    def close_scope(self, scope: int) -> None:
        """Make the counts of a wide directory, now read to its end, the run's."""
        self.add_tally(0, self._tallies.pop(scope))
        self._dirty.discard(scope)
        self._db.execute("DELETE FROM scope WHERE id = ?", (scope,))
        self._db.execute("UPDATE frontier SET scope = 0 WHERE scope = ?", (scope,))
        self._db.execute("UPDATE failure SET scope = 0 WHERE scope = ?", (scope,))

    def reopen_scopes(self) -> None:
        """Put wide directories that were cut off back into the frontier, to be read again.

        What was counted in them is forgotten, but for the changes made: those entries, and the
        directory itself, will be found compliant, and must not be counted twice. A scope's number
        becomes that of the unit: a new one could be given out again by a frontier made before.
        """
        rows = self._db.execute("SELECT id, body FROM scope WHERE id != 0").fetchall()
        for scope, body in rows:
            changed = self._tallies.pop(scope).changed
            self._dirty.discard(scope)
            self._db.execute("DELETE FROM scope WHERE id = ?", (scope,))
            self._db.execute("DELETE FROM frontier WHERE scope = ?", (scope,))
            self._db.execute("DELETE FROM failure WHERE scope = ?", (scope,))
            self.add_tally(0, Tally(changed=changed, compliant=-changed - 1))
            self.put_unit(scope, Unit(body, counted=True))

    # -- failures

    def add_failures(self, scope: int, failures: Iterable[Failure]) -> None:
        """Add failures."""
        self._db.executemany(
            "INSERT INTO failure VALUES (?, ?, ?, ?, ?, ?)",
            [(f.path, f.operation, f.errno, f.note, f.hint, scope) for f in failures],
        )

    def failures(self) -> Iterator[Failure]:
        """Yield the failures."""
        rows = self.select("SELECT path, operation, errno, note, hint FROM failure")
        return (Failure(*row) for row in rows)

    def forgive(self, path: bytes) -> None:
        """Remove the failures of something that went well after all."""
        removed = self._db.execute("DELETE FROM failure WHERE path = ? AND hint != 0", (path,))
        self.add_tally(0, Tally(failed=-removed.rowcount))

    def take_failures(self) -> list[Failure]:
        """Remove and return the failures that can be tried again."""
        taken = [failure for failure in self.failures() if failure.hint]
        self._db.execute("DELETE FROM failure WHERE hint != 0")
        return taken
