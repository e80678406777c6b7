"""In what two plans differ, in bounded memory: a temporary database sorts them by path."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple

from ..errors import FatalError
from ..packed.changes import Change
from .plan import Plan

# All fields of a change but those that say where it is in its buffer: `index` and `offset`.
FIELDS = ("path", "directory", "flags", "mode", "new_mode", "uid", "gid", "new_uid", "new_gid",
          "inode", "within", "size", "mtime")  # fmt: skip
TABLE = f"""CREATE TABLE {{name}} (path BLOB PRIMARY KEY, {", ".join(FIELDS[1:])}) WITHOUT ROWID"""
# What makes two changes different: what an entry is, and what it becomes.
SAME = " AND ".join(
    f"a.{name} = b.{name}"
    for name in ("directory", "mode", "new_mode", "uid", "gid", "new_uid", "new_gid", "inode")
)
COLUMNS = ", ".join(f"{table}.{name}" for table in "ab" for name in FIELDS)
QUERY = f"""SELECT a.path, {COLUMNS} FROM a LEFT JOIN b USING (path)
        WHERE b.path IS NULL OR NOT ({SAME})
    UNION ALL SELECT b.path, {COLUMNS} FROM b LEFT JOIN a USING (path) WHERE a.path IS NULL
    ORDER BY 1"""  # noqa: S608 -- of constants


class Differences:
    """The differences, by path: a change of either plan, or of both. Raises UsageError."""

    def __init__(self, a: Plan, b: Plan) -> None:
        """Read both plans into a temporary file (SQLITE_TMPDIR, TMPDIR, or /var/tmp)."""
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            self._database.execute("PRAGMA temp_store = FILE")
            for name, plan in (("a", a), ("b", b)):
                self._database.execute(TABLE.format(name=name))
                self._database.execute("BEGIN")
                marks = ", ".join("?" * len(FIELDS))
                insert = f"INSERT OR REPLACE INTO {name} VALUES ({marks})"  # noqa: S608 -- a or b
                self._database.executemany(insert, map(_row, plan.changes()))
                self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            raise FatalError(f"the plans cannot be compared in a temporary file: {error}") from None
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[tuple[Change | None, Change | None]]:
        """Yield (the first plan's change, the second's) of each entry that differs."""
        for _, *row in self._database.execute(QUERY):
            yield _change(row[: len(FIELDS)]), _change(row[len(FIELDS) :])

    def close(self) -> None:
        """Remove the temporary file."""
        self._database.close()


def _row(change: Change) -> tuple[object, ...]:
    """Return the fields; sqlite has no unsigned integers of 64 bits."""
    fields = astuple(change)[2:]
    return tuple(_signed(value) if isinstance(value, int) else value for value in fields)


def _change(row: Sequence[object]) -> Change | None:
    if row[0] is None:
        return None
    values = dict(zip(FIELDS, row, strict=True))
    values["directory"] = bool(values["directory"])
    values["inode"] = int(str(values["inode"])) % 2**64
    return Change(0, 0, **values)  # type: ignore[arg-type]


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else int(number)
