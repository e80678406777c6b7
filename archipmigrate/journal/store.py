"""One run's journal: an SQLite database that holds all that a resumed run, or an undo, needs.

Invariant: a pre-image is durable before its change is made (the caller waits for `commit`).
Everything else may lag behind the share, but never contradicts itself: a unit leaves the frontier
in the transaction that adds its results and counts.

Every row of these tables has a seal: a checksum of what it holds, and of what it belongs to, which
is the run, the table and the row's number. So neither a damaged row nor one from elsewhere is taken
for what it is not. Journals of the format before have no seals, and get none.

Called from one thread at a time; `commit` is the only way to write. A job may have tables of its
own in the same database (`model.JobTables`), with seals of the same kind.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

from ..errors import JournalError
from ..model import DEFERRED, Column, Examples, Failure, Link, Notice, Tally, Unit
from . import checksummed, counting
from .database import Database
from .integers import signed
from .location import remove_durably

SUFFIX = ".journal"
# Beside the journal of a run that can not be resumed: who looks for unfinished runs passes it over.
OVER_SUFFIX = f"{SUFFIX}-over"
FORMAT = 2
UNSEALED = 1  # the format before; such a journal stays what it is
SCHEMA = """
CREATE TABLE header (format INTEGER NOT NULL, content TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE frontier (
    id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, retries INTEGER NOT NULL,
    counted INTEGER NOT NULL, entries INTEGER NOT NULL, body BLOB NOT NULL,
    seal INTEGER NOT NULL);
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, preimage BLOB NOT NULL, outcome BLOB,
    seal INTEGER NOT NULL, outcome_seal INTEGER);
CREATE INDEX unsettled ON batch (id) WHERE outcome IS NULL;
CREATE TABLE link (
    device INTEGER, inode INTEGER, batch INTEGER NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (device, inode)
) WITHOUT ROWID;
CREATE TABLE scope (
    id INTEGER PRIMARY KEY, body BLOB, tally TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE failure (
    path BLOB NOT NULL, operation TEXT NOT NULL, errno INTEGER NOT NULL, note TEXT NOT NULL,
    hint INTEGER NOT NULL, scope INTEGER NOT NULL, seal INTEGER NOT NULL);
"""
# Made with the first notice: journals of earlier versions, and of most jobs, have none.
NOTICE = """
CREATE TABLE IF NOT EXISTS notice (
    scope INTEGER, kind TEXT, count INTEGER NOT NULL, paths BLOB NOT NULL{seal},
    PRIMARY KEY (scope, kind)
) WITHOUT ROWID
"""
# What a table that has no seals has in that place.
NO_SEAL = {"seal": "NULL", "outcome_seal": "NULL"}
# Of the fields of a header; of all others it is str.
TYPES: dict[str, Any] = {
    "settings": dict,
    "sessions": int,
    "seconds": (int, float),
    "roots": dict,
    "places": list,
}
RESUMABLE = ("running", "interrupted", "stopped")


@dataclass(slots=True)
class RunHeader:
    """What a run is, and how its latest session ended.

    `status` is `running` until a session ends, then `done`, `failures`, `stopped` or `interrupted`.
    A run is resumed only with the same `settings`. `began` is when the latest session began;
    `seconds` is the time of those before it. `undone` names the undo of this run, begun or done;
    `superseded` names the run that was begun in place of this one. `host` is where it began.
    `roots` maps identities to paths of what the job works on beside the share; most have none.
    `places` are those of all its roots (see `share.places`); earlier versions noted none.
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
    places: list[str] = field(default_factory=list)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunHeader:
        """Return the header that `asdict` gave *content* for. Raises TypeError, ValueError."""
        header = cls(**dict(content))
        for name, value in asdict(header).items():
            if not isinstance(value, TYPES.get(name, str)):
                raise TypeError(f"{name} is {value!r}")
        if header.began:
            datetime.fromisoformat(header.began)
        return header

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
        self._bodies: dict[int, bytes | None] = {}  # of scopes
        self._run = ""  # that all rows are sealed for
        self._has_written_header = False
        self._format = FORMAT
        # No other session reads a temporary journal: its many rows of a job's tables need no seals.
        self._db.create_function("sealed", -1, self._seal if path else _no_seal)
        try:
            if new:
                with self.transaction():
                    self._insert("INSERT", "scope", 0, None, "{}")
            else:
                self._format = FORMAT if self._has_seals() else UNSEALED
                self._run = self.read_header().run if self._has_header() else ""
            self._load_scopes()
        except JournalError:
            self.close(fold=False)
            raise

    # -- seals

    def _has_seals(self) -> bool:
        return self._has_column("frontier", "seal")

    def _has_header(self) -> bool:
        return next(self.select("SELECT 1 FROM header"), None) is not None

    def _seal(self, table: str, *values: Column) -> int:
        """Return the seal of a row: a checksum of what it holds, and of what it belongs to."""
        parts = [f"{self._run} {table}".encode()]
        for value in values:
            kind, packed = _packed(value)
            parts.append(b"%b%d:%b" % (kind, len(packed), packed))
        return signed(xxh3_64_intdigest(b"".join(parts)))

    def _verify(self, seal: object, table: str, *values: Column) -> None:
        """Check the seal of a row. Raises JournalError."""
        if self._format != UNSEALED and seal != self._seal(table, *values):
            raise JournalError("its seal is wrong")

    def _insert(self, verb: str, table: str, *values: Column) -> None:
        """Insert a row, sealed."""
        if self._format != UNSEALED:
            values = (*values, self._seal(table, *values))
        marks = ", ".join("?" * len(values))
        self.execute(f"{verb} INTO {table} VALUES ({marks})", *values)

    def _rows(self, columns: str, rest: str, *values: Column) -> Iterator[tuple[Any, ...]]:
        """Select columns, all literals of this module; seals that there are not are NULL."""
        if self._format == UNSEALED:
            columns = ", ".join(NO_SEAL.get(name, name) for name in columns.split(", "))
        return self.select(f"SELECT {columns} FROM {rest}", *values)  # noqa: S608

    # -- seals of a job's tables

    def add_seals(self, table: str, columns: str) -> None:
        """Give a table that has none a column of seals (see `JobTables`)."""
        if not self._has_column(table, "seal"):
            self.execute(f"ALTER TABLE {table} ADD COLUMN seal INTEGER")
            self.execute(f"UPDATE {table} SET seal = sealed('{table}', {columns})")  # noqa: S608

    def check_seals(self, table: str, columns: str) -> None:
        """Check the seals of a table, if it has any (see `JobTables`). Raises JournalError."""
        if not self._has_column(table, "seal"):
            return
        wrong = f"SELECT 1 FROM {table} WHERE seal IS NOT sealed('{table}', {columns})"  # noqa: S608
        with self._decoding(f"the table {table}"):
            if next(self.select(wrong), None) is not None:
                raise JournalError("a seal is wrong")

    def _has_column(self, table: str, column: str) -> bool:
        query = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
        return next(self.select(query, table, column), None) is not None

    # -- opening

    def _load_scopes(self) -> None:
        rows = list(self._rows("id, body, tally, seal", "scope ORDER BY id"))
        with self._decoding("the table of counts"):
            for scope, body, text, seal in rows:
                self._verify(seal, "scope", scope, body, text)
                self._bodies[scope] = body
                counts = dict(json.loads(text))
                if not all(type(number) is int for number in counts.values()):
                    raise ValueError(f"no counts: {text}")
                self._tallies[scope] = Tally.from_dict(counts)
            if 0 not in self._tallies:
                raise LookupError("those of the run are missing")

    def commit(self, writes: Sequence[Write]) -> None:
        """Carry out *writes* in one transaction, durable on return. Raises JournalError."""
        with self.transaction():
            for write in writes:
                write(self)
            for scope in self._dirty:
                tally = json.dumps(self._tallies[scope].as_dict())
                self._insert("REPLACE", "scope", scope, self._bodies[scope], tally)
            self._dirty.clear()

    @contextlib.contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        """Turn errors of decoding a record into JournalError, which says which record it is."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            raise JournalError(f"{self.path}: {what} is damaged ({error!r})") from None
        except JournalError as error:
            raise JournalError(f"{self.path}: {what} is damaged ({error})") from None

    # -- the header

    def close(self, *, fold: bool = True) -> None:
        """Close the journal; if its run has come to an end since it was opened, note that."""
        if fold and self.path and self._has_written_header:
            with contextlib.suppress(JournalError, OSError):  # it only spares others a look
                if not self.read_header().is_resumable:
                    self.path.with_suffix(OVER_SUFFIX).touch(0o600)
        super().close(fold=fold)

    def write_header(self, header: RunHeader) -> None:
        """Replace the header."""
        self._has_written_header = True
        if self.path and header.is_resumable:
            remove_durably(self.path.with_suffix(OVER_SUFFIX))
        self.execute("DELETE FROM header")
        fields = asdict(header)
        for name in ("roots", "places"):
            if not fields[name]:
                del fields[name]  # earlier versions do not know them
        content = json.dumps(fields, ensure_ascii=True)
        if self._run != header.run:  # of a new journal
            self._run = header.run
            self._dirty.update(self._tallies)
        self._insert("INSERT", "header", self._format, content)

    def read_header(self) -> RunHeader:
        """Return the header. Raises JournalError if this is no journal of this version."""
        row = next(self._rows("format, content, seal", "header"), None)
        if row is None or row[0] != self._format:
            raise JournalError(f"{self.path} is not a journal that this version can read")
        with self._decoding("the header"):
            header = RunHeader.from_dict(json.loads(row[1]))
            self._run = header.run
            self._verify(row[2], "header", *row[:2])
            return header

    # -- the frontier

    def put_unit(self, number: int, unit: Unit) -> None:
        """Add a unit to the frontier, or replace it."""
        self._insert("REPLACE", "frontier", *_unit_row(number, unit))

    def remove_unit(self, number: int) -> None:
        """Remove a finished unit from the frontier."""
        self.execute("DELETE FROM frontier WHERE id = ?", number)

    def load_unit(self, number: int) -> Unit:
        """Read a unit back."""
        for _, unit in self._units("WHERE id = ?", number):
            return unit
        raise JournalError(f"{self.path}: unit {number} is missing")

    def units(self) -> Iterator[tuple[int, Unit]]:
        """Yield the frontier, oldest first."""
        return self._units("ORDER BY id")

    def _units(self, condition: str, *values: int) -> Iterator[tuple[int, Unit]]:
        columns = "id, scope, retries, counted, entries, body, seal"
        rows = self._rows(columns, f"frontier {condition}", *values)
        for number, scope, retries, counted, entries, body, seal in rows:
            with self._decoding(f"unit {number}"):
                self._verify(seal, "frontier", number, scope, retries, counted, entries, body)
                is_known = scope in self._tallies or scope == DEFERRED
                if not is_known or not isinstance(body, bytes):
                    raise ValueError("it is of no scope, or has no body")
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
        self._add_preimage(number, preimage)
        self._add_links(links, number)

    def _add_preimage(self, number: int, preimage: bytes) -> None:
        if self._format == UNSEALED:
            self.execute("INSERT INTO batch VALUES (?, ?, NULL)", number, preimage)
            return
        seal = self._seal("preimage", number, preimage)
        self.execute("INSERT INTO batch VALUES (?, ?, NULL, ?, NULL)", number, preimage, seal)

    def _add_links(self, links: Iterable[Link], batch: int) -> None:
        for link in links:
            self._insert("INSERT OR IGNORE", "link", link.device, signed(link.inode), batch)

    def add_unsettled(self, preimage: bytes) -> None:
        """Add a checksummed pre-image, part of a batch that has an outcome, for later settling.

        Its number is below all others, so that no number in use is taken.
        """
        ((number,),) = self.select("SELECT min(coalesce(min(id), 0), 0) - 1 FROM batch")
        self._add_preimage(number, preimage)

    def set_outcome(self, number: int, outcome: bytes) -> None:
        """Add the outcome of a batch."""
        blob = checksummed.pack(outcome)
        if self._format == UNSEALED:
            self.execute("UPDATE batch SET outcome = ? WHERE id = ?", blob, number)
            return
        statement = "UPDATE batch SET outcome = ?, outcome_seal = ? WHERE id = ?"
        self.execute(statement, blob, self._seal("outcome", number, blob), number)

    def unsettled(self) -> list[int]:
        """Return the batches that have no outcome, oldest first."""
        rows = self.select("SELECT id FROM batch WHERE outcome IS NULL ORDER BY id")
        return [number for (number,) in rows]

    def batches(self) -> Iterator[int]:
        """Yield the numbers of all batches, oldest first."""
        return (number for (number,) in self.select("SELECT id FROM batch ORDER BY id"))

    def preimage(self, number: int) -> bytes:
        """Return the pre-image of a batch. Raises JournalError if it is damaged."""
        with self._decoding(f"the pre-image of batch {number}"):
            return checksummed.unpack(self._blob("preimage", "seal", number))

    def outcome(self, number: int) -> bytes:
        """Return the outcome of a settled batch. Raises JournalError if it is damaged."""
        with self._decoding(f"the outcome of batch {number}"):
            return checksummed.unpack(self._blob("outcome", "outcome_seal", number))

    def _blob(self, kind: str, seal: str, number: int) -> bytes:
        """Return a column of a batch. Raises LookupError if that is missing, JournalError."""
        for blob, found in self._rows(f"{kind}, {seal}", "batch WHERE id = ?", number):
            if isinstance(blob, bytes):
                self._verify(found, kind, number, blob)
                return blob
        raise LookupError("it is missing")

    def check(self) -> None:
        """Verify the checksums and seals of all pre-images and outcomes. Raises JournalError."""
        rows = self._rows("id, preimage, outcome, seal, outcome_seal", "batch")
        for number, preimage, outcome, seal, outcome_seal in rows:
            with self._decoding(f"batch {number}"):
                checksummed.verify(preimage)
                self._verify(seal, "preimage", number, preimage)
                if outcome is not None:
                    checksummed.verify(outcome)
                    self._verify(outcome_seal, "outcome", number, outcome)
                elif outcome_seal is not None:
                    raise LookupError("its outcome is missing")

    # -- files with several links

    def claim(self, links: Sequence[Link]) -> tuple[list[Link], list[Link]]:
        """Claim linked inodes for a batch to come; return those that it does not get.

        Those that a finished batch has changed, and those of a batch that is not finished. The
        latter may be those of an earlier one of *links*, too.
        """
        covered, pending = [], []
        for link in links:
            key = (link.device, link.inode)
            if key in self._claimed:
                pending.append(link)
            elif self._is_claimed(link):
                covered.append(link)
            else:
                self._claimed.add(key)
        return covered, pending

    def _is_claimed(self, link: Link) -> bool:
        inode = signed(link.inode)
        rest = "link WHERE device = ? AND inode = ?"
        for batch, seal in self._rows("batch, seal", rest, link.device, inode):
            with self._decoding(f"a claim of batch {batch}"):
                self._verify(seal, "link", link.device, inode, batch)
            return True
        return False

    def remember_links(self, links: Iterable[Link]) -> None:
        """Keep claims without a batch (of a dry run)."""
        self.release_links(links, ())
        self._add_links(links, 0)

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

    def deferred(self) -> int:
        """Return how many directories are deferred: `tally` counts them as compliant."""
        query = "SELECT coalesce(sum(entries), 0) FROM frontier WHERE scope = ?"
        return int(next(self.select(query, DEFERRED))[0])

    def open_scope(self, scope: int, body: bytes) -> None:
        """Begin to count a wide directory apart, so that a later session can read it again."""
        self._insert("INSERT", "scope", scope, body, "{}")
        self._tallies[scope] = Tally()
        self._bodies[scope] = body

    def close_scope(self, scope: int) -> None:
        """Add the counts of a wide directory, now read to its end, to the run's."""
        waiting = [n for (n,) in self.select("SELECT id FROM frontier WHERE scope = ?", scope)]
        for number in waiting:  # one body in memory at a time
            self.put_unit(number, replace(self.load_unit(number), scope=0))
        failures = list(self._failures("WHERE scope = ?", scope))
        self.execute("DELETE FROM failure WHERE scope = ?", scope)
        self.add_failures(0, failures)
        notices = list(self._notices("WHERE scope = ?", scope))
        self._delete_notices(scope)
        self._merge_notices(0, notices)
        self.add_tally(0, self._tallies.pop(scope))
        self._bodies.pop(scope)
        self._dirty.discard(scope)
        self.execute("DELETE FROM scope WHERE id = ?", scope)

    def reopen_scopes(self) -> None:
        """Put wide directories that were cut off back into the frontier, to be read again.

        The unit's number is that of the scope: a new one might be given out again by a frontier
        that was made before.
        """
        for scope, body in list(self._bodies.items()):
            if body is None:
                continue
            forgotten = self._tallies.pop(scope)
            self._bodies.pop(scope)
            self._dirty.discard(scope)
            self.execute("DELETE FROM scope WHERE id = ?", scope)
            self.execute("DELETE FROM frontier WHERE scope = ?", scope)
            self.execute("DELETE FROM failure WHERE scope = ?", scope)
            self._delete_notices(scope)
            self.add_tally(0, counting.read_again(forgotten))
            self.put_unit(scope, Unit(body, counted=True))

    # -- notices: how many of each kind, and the first few

    def add_notices(self, scope: int, notices: Iterable[Notice]) -> None:
        """Add notices."""
        added: dict[str, Examples] = {}
        for notice in notices:
            added.setdefault(notice.kind, Examples()).add(notice.path)
        self._merge_notices(scope, added.items())

    def notices(self) -> dict[str, Examples]:
        """Return the notices by kind."""
        total: dict[str, Examples] = {}
        for kind, found in self._notices("ORDER BY kind, scope"):
            total.setdefault(kind, Examples()).merge(found)
        return total

    def _merge_notices(self, scope: int, added: Iterable[tuple[str, Examples]]) -> None:
        self.execute(
            NOTICE.format(seal="" if self._format == UNSEALED else ", seal INTEGER NOT NULL")
        )
        known = dict(self._notices("WHERE scope = ?", scope))
        for kind, found in added:
            total = known.setdefault(kind, Examples())
            total.merge(found)
            self._insert("REPLACE", "notice", scope, kind, total.count, b"\0".join(total.paths))

    def _notices(self, condition: str, *values: int) -> Iterator[tuple[str, Examples]]:
        if not self._has_notices():
            return
        rows = self._rows("scope, kind, count, paths, seal", f"notice {condition}", *values)
        for scope, kind, count, paths, seal in rows:
            with self._decoding("the table of notices"):
                self._verify(seal, "notice", scope, kind, count, paths)
            yield kind, Examples(count, paths.split(b"\0"))

    def _delete_notices(self, scope: int) -> None:
        if self._has_notices():
            self.execute("DELETE FROM notice WHERE scope = ?", scope)

    def _has_notices(self) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE name = 'notice'"
        return next(self.select(query), None) is not None

    # -- failures

    def add_failures(self, scope: int, failures: Iterable[Failure]) -> None:
        """Add failures."""
        for f in failures:
            row = (f.path, f.operation, int(f.errno), f.note, int(f.hint), scope)
            self._insert("INSERT", "failure", *row)

    def failures(self) -> Iterator[Failure]:
        """Yield the failures."""
        return self._failures("ORDER BY rowid")

    def _failures(self, condition: str, *values: int) -> Iterator[Failure]:
        columns = "path, operation, errno, note, hint, scope, seal"
        for *row, seal in self._rows(columns, f"failure {condition}", *values):
            with self._decoding("a failure"):
                self._verify(seal, "failure", *row)
            yield Failure(*row[:5])

    def forgive(self, path: bytes) -> None:
        """Remove the failures of an entry that was put right after all."""
        removed = self.execute("DELETE FROM failure WHERE path = ? AND hint != 0", path)
        self.add_tally(0, counting.retried(removed))

    def take_failures(self) -> list[Failure]:
        """Remove and return the failures that can be retried: those with a hint."""
        taken = [failure for failure in self.failures() if failure.hint]
        self.execute("DELETE FROM failure WHERE hint != 0")
        return taken


def _unit_row(number: int, unit: Unit) -> tuple[int, int, int, int, int, bytes]:
    return number, unit.scope, unit.retries, int(unit.counted), unit.entries, unit.body


def _no_seal(*_: Column) -> int:
    return 0


def _packed(value: Column) -> tuple[bytes, bytes]:
    """Return the kind of a value, one byte, and the value as bytes."""
    if isinstance(value, str):
        return b"s", value.encode(errors="surrogatepass")
    if value is None or isinstance(value, int | float):
        return b"n", str(value).encode()
    return b"b", value
