"""The table of a run over locks, in its journal: what is shown of each.

Rows have natural keys, so repeating a killed session's writes changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..model import JobTables

SCHEMA = """CREATE TABLE IF NOT EXISTS found_lock (
    path BLOB PRIMARY KEY, volume BLOB NOT NULL, kind INTEGER NOT NULL, holder BLOB NOT NULL,
    written INTEGER NOT NULL, note TEXT NOT NULL, goes INTEGER NOT NULL, seal INTEGER) WITHOUT ROWID
"""
COLUMNS = "path, volume, kind, holder, written, note, goes"
SEVEN = "?1, ?2, ?3, ?4, ?5, ?6, ?7"
PUT = f"INSERT OR REPLACE INTO found_lock VALUES ({SEVEN}, sealed('found_lock', {SEVEN}))"  # noqa: S608


@dataclass(frozen=True, slots=True)
class LockRow:
    """A lock as it is shown.

    `kind` is a `lock.Kind`, `written` when it was (ns), `goes` whether it was removed, or (in a dry
    run) would be.
    """

    path: bytes
    volume: bytes
    kind: int
    holder: bytes
    written: int
    note: str = ""
    goes: bool = False


def prepare_tables(journal: JobTables) -> None:
    """Make the table if it is missing. Raises JournalError if a row is damaged."""
    journal.execute(SCHEMA)
    journal.check_seals("found_lock", COLUMNS)


def put_locks(journal: JobTables, rows: Iterable[LockRow]) -> None:
    """Add locks, or replace their rows."""
    journal.execute_many(
        PUT,
        [(r.path, r.volume, r.kind, r.holder, r.written, r.note, int(r.goes)) for r in rows],
    )


def forget_locks(journal: JobTables, paths: Iterable[bytes]) -> None:
    """Forget what is known of locks that are looked at again, but for those that were removed."""
    rows = [(path,) for path in paths]
    journal.execute_many("DELETE FROM found_lock WHERE path = ? AND goes = 0", rows)


def found_locks(journal: JobTables, *, left: bool = False) -> Iterator[LockRow]:
    """Yield locks by kind and path; with *left* only those that do not go."""
    rows = journal.select(
        f"SELECT {COLUMNS} FROM found_lock WHERE goes = 0 OR ? ORDER BY kind, path",  # noqa: S608
        int(not left),
    )
    return (_row(row) for row in rows)


def widest(journal: JobTables) -> tuple[int, int]:
    """Return the bytes of the longest volume and of the longest holder."""
    query = "SELECT max(length(volume)), max(length(holder)) FROM found_lock"
    ((volume, holder),) = journal.select(query)
    return volume or 0, holder or 0


def lock_counts(journal: JobTables, *, goes: bool) -> dict[int, int]:
    """Return how many locks go, or stay, of each kind."""
    if next(journal.select("SELECT 1 FROM sqlite_schema WHERE name = 'found_lock'"), None) is None:
        return {}  # killed before the table was there
    query = "SELECT kind, count(*) FROM found_lock WHERE goes = ? GROUP BY kind ORDER BY kind"
    return dict(journal.select(query, int(goes)))


def _row(row: Sequence[object]) -> LockRow:
    path, volume, kind, holder, written, note, goes = row
    return LockRow(  # the columns have these types: see SCHEMA
        path,  # type: ignore[arg-type]
        volume,  # type: ignore[arg-type]
        kind,  # type: ignore[arg-type]
        holder,  # type: ignore[arg-type]
        written,  # type: ignore[arg-type]
        note,  # type: ignore[arg-type]
        bool(goes),
    )
