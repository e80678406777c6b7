"""One run's journal: an SQLite database that holds all that a resumed run, or an undo, needs.

Invariant: a pre-image is durable before its change is made (the caller waits for `commit`).
Everything else may lag behind the share, but never contradicts itself: a unit leaves the frontier
in the transaction that adds its results and counts.

Called from one thread at a time; `commit` is the only way to write. A job may have tables of its
own in the same database (`model.JobTables`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import JournalError
from ..model import Failure, Link, Tally, Unit
from . import checksummed, counting
from .database import Database
from .integers import signed

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
INSERT INTO scope VALUES (0, NULL, '{}');
"""
RESUMABLE = ("running", "interrupted", "stopped")


@dataclass(slots=True)
class RunHeader:
    """What a run is, and how its latest session ended.

    `status` is `running` until a session ends, then `done`, `failures`, `stopped` or `interrupted`.
    A run is resumed only with the same `settings`. `began` is when the latest session began;
    `seconds` is the time of those before it. `undone` names the undo of this run, begun or done;
    `superseded` names the run that was begun in place of this one. `host` is where it began.
    `roots` maps identities to paths of what the job works on beside the share; most have none.
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
    def is_resumable(self) -> bool:
        """Whether the run was cut off, and neither undone nor superseded."""
        return self.status in RESUMABLE and not self.undone and not self.superseded


# A part of a transaction.
Write = Callable[["Journal"], None]


class Journal(Database):
    """The journal of one run; see the module."""

    def __init__(self, path: Path | None, *, new: bool) -> None:
        """Open or make the journal at *path*; None: a temporary one, for a dry run.

        Raises JournalError.
        """
        super().__init__(path, SCHEMA if new else "")
        self._claimed: set[tuple[int, int]] = set()  # by units that are not finished
        self._tallies: dict[int, Tally] = {}
        self._dirty: set[int] = set()  # scopes whose counts are not in the database yet
        for scope, text in self.select("SELECT id, tally FROM scope"):
            self._tallies[scope] = Tally.from_dict(json.loads(text))

    def commit(self, writes: Sequence[Write]) -> None:
        """Carry out *writes* in one transaction, durable on return. Raises JournalError."""
        with self.transaction():
            for write in writes:
                write(self)
            self.execute_many(
                "UPDATE scope SET tally = ? WHERE id = ?",
                [(json.dumps(self._tallies[s].as_dict()), s) for s in self._dirty],
            )
            self._dirty.clear()

    # -- the header

    def write_header(self, header: RunHeader) -> None:
        """Replace the header."""
        self.execute("DELETE FROM header")
        fields = asdict(header)
        if not header.roots:
            del fields["roots"]  # earlier versions do not know them
        content = json.dumps(fields, ensure_ascii=True)
        self.execute("INSERT INTO header VALUES (?, ?)", FORMAT, content)

    def read_header(self) -> RunHeader:
        """Return the header. Raises JournalError if this is no journal of this version."""
        row = next(self.select("SELECT format, content FROM header"), None)
        if row is None or row[0] != FORMAT:
            raise JournalError(f"{self.path} is not a journal that this version can read")
        return RunHeader(**json.loads(row[1]))

    # -- the frontier

    def put_unit(self, number: int, unit: Unit) -> None:
        """Add a unit to the frontier, or replace it."""
        self.execute(
            "INSERT OR REPLACE INTO frontier VALUES (?, ?, ?, ?, ?, ?)",
            *(number, unit.scope, unit.retries, unit.counted, unit.entries, unit.body),
        )

    def remove_unit(self, number: int) -> None:
        """Remove a finished unit from the frontier."""
        self.execute("DELETE FROM frontier WHERE id = ?", number)

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
        """Add a pre-image, checksummed by the caller, and its claims of linked inodes."""
        self.execute("INSERT INTO batch VALUES (?, ?, NULL)", number, preimage)
        self.execute_many(
            "INSERT OR IGNORE INTO link VALUES (?, ?, ?)",
            [(link.device, signed(link.inode), number) for link in links],
        )

    def add_unsettled(self, preimage: bytes) -> None:
        """Add a checksummed pre-image, part of a batch that has an outcome, for later settling.

        Its number is below all others, so that no number in use is taken.
        """
        self.execute(
            "INSERT INTO batch SELECT min(coalesce(min(id), 0), 0) - 1, ?, NULL FROM batch",
            preimage,
        )

    def set_outcome(self, number: int, outcome: bytes) -> None:
        """Add the outcome of a batch."""
        blob = checksummed.pack(outcome)
        self.execute("UPDATE batch SET outcome = ? WHERE id = ?", blob, number)

    def unsettled(self) -> list[int]:
        """Return the batches that have no outcome, oldest first."""
        rows = self.select("SELECT id FROM batch WHERE outcome IS NULL ORDER BY id")
        return [number for (number,) in rows]

    def batches(self) -> Iterator[int]:
        """Yield the numbers of all batches, oldest first."""
        return (number for (number,) in self.select("SELECT id FROM batch ORDER BY id"))

    def preimage(self, number: int) -> bytes:
        """Return the pre-image of a batch. Raises JournalError if it is damaged."""
        row = next(self.select("SELECT preimage FROM batch WHERE id = ?", number))
        return checksummed.unpack(row[0])

    def outcome(self, number: int) -> bytes:
        """Return the outcome of a settled batch. Raises JournalError if it is damaged."""
        row = next(self.select("SELECT outcome FROM batch WHERE id = ?", number))
        return checksummed.unpack(row[0])

    def check(self) -> None:
        """Verify the checksums of all pre-images and outcomes. Raises JournalError."""
        for preimage, outcome in self.select("SELECT preimage, outcome FROM batch"):
            checksummed.verify(preimage)
            if outcome is not None:
                checksummed.verify(outcome)

    # -- files with several links

    def claim(self, links: Sequence[Link]) -> list[Link]:
        """Claim linked inodes for a batch to come; return those that another batch has claimed."""
        taken = []
        for link in links:
            key = (link.device, link.inode)
            known = self.select(
                "SELECT 1 FROM link WHERE device = ? AND inode = ?",
                link.device,
                signed(link.inode),
            )
            if key in self._claimed or next(known, None):
                taken.append(link)
            else:
                self._claimed.add(key)
        return taken

    def remember_links(self, links: Iterable[Link]) -> None:
        """Keep claims without a batch (of a dry run)."""
        self.release_links(links, ())
        self.execute_many(
            "INSERT OR IGNORE INTO link VALUES (?, ?, 0)",
            [(link.device, signed(link.inode)) for link in links],
        )

    def release_links(self, links: Iterable[Link], unchanged: Iterable[int]) -> None:
        """End the claims of a finished batch; the inodes of *unchanged* offsets are free again."""
        free = set(unchanged)
        for link in links:
            self._claimed.discard((link.device, link.inode))
            if link.offset in free:
                self.execute(
                    "DELETE FROM link WHERE device = ? AND inode = ?",
                    link.device,
                    signed(link.inode),
                )

    def release_inodes(self, batch: int, inodes: Iterable[int]) -> None:
        """Free inodes that a batch, now settled, has claimed and not changed."""
        self.execute_many(
            "DELETE FROM link WHERE batch = ? AND inode = ?",
            [(batch, signed(inode)) for inode in inodes],
        )

    # -- counts and scopes (the rule: `counting`)

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
        self.execute("INSERT INTO scope VALUES (?, ?, '{}')", scope, body)
        self._tallies[scope] = Tally()

    def close_scope(self, scope: int) -> None:
        """Add the counts of a wide directory, now read to its end, to the run's."""
        self.add_tally(0, self._tallies.pop(scope))
        self._dirty.discard(scope)
        self.execute("DELETE FROM scope WHERE id = ?", scope)
        self.execute("UPDATE frontier SET scope = 0 WHERE scope = ?", scope)
        self.execute("UPDATE failure SET scope = 0 WHERE scope = ?", scope)

    def reopen_scopes(self) -> None:
        """Put wide directories that were cut off back into the frontier, to be read again.

        The unit's number is that of the scope: a new one might be given out again by a frontier
        that was made before.
        """
        for scope, body in list(self.select("SELECT id, body FROM scope WHERE id != 0")):
            forgotten = self._tallies.pop(scope)
            self._dirty.discard(scope)
            self.execute("DELETE FROM scope WHERE id = ?", scope)
            self.execute("DELETE FROM frontier WHERE scope = ?", scope)
            self.execute("DELETE FROM failure WHERE scope = ?", scope)
            self.add_tally(0, counting.read_again(forgotten))
            self.put_unit(scope, Unit(body, counted=True))

    # -- failures

    def add_failures(self, scope: int, failures: Iterable[Failure]) -> None:
        """Add failures."""
        self.execute_many(
            "INSERT INTO failure VALUES (?, ?, ?, ?, ?, ?)",
            [(f.path, f.operation, f.errno, f.note, f.hint, scope) for f in failures],
        )

    def failures(self) -> Iterator[Failure]:
        """Yield the failures."""
        rows = self.select("SELECT path, operation, errno, note, hint FROM failure")
        return (Failure(*row) for row in rows)

    def forgive(self, path: bytes) -> None:
        """Remove the failures of an entry that was put right after all."""
        removed = self.execute("DELETE FROM failure WHERE path = ? AND hint != 0", path)
        self.add_tally(0, counting.retried(removed))

    def take_failures(self) -> list[Failure]:
        """Remove and return the failures that can be retried: those with a hint."""
        taken = [failure for failure in self.failures() if failure.hint]
        self.execute("DELETE FROM failure WHERE hint != 0")
        return taken
