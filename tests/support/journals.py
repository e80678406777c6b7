"""Journals that a test alters: as an earlier session would have left them, or a bad disk."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from archipmigrate.journal.store import Journal
from archipmigrate.model import Unit


def journal_of(state: Path, job: str = "perms") -> Path:
    """Return the path of the only journal of a job."""
    (path,) = state.glob(f"{job}-*.journal")
    return path


@contextlib.contextmanager
def reopened(path: Path) -> Iterator[Journal]:
    """Open a journal as the program does."""
    journal = Journal(path, new=False)
    try:
        yield journal
    finally:
        journal.close()


def interrupt(path: Path, *units: Unit) -> None:
    """Have a journal say that its run was interrupted, with these units left."""
    with reopened(path) as journal:
        header = journal.read_header()
        header.status = "interrupted"
        number = journal.last_number()
        for unit in units:
            number += 1
            journal.commit([partial(Journal.put_unit, number=number, unit=unit)])
        journal.commit([lambda j: j.write_header(header)])


@contextlib.contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a journal as what it is, past the program; what is done is committed."""
    opened = sqlite3.connect(path, isolation_level=None)
    try:
        yield opened
    finally:
        opened.close()


def flip_bit(path: Path, table: str, column: str, at: float = 0.5) -> None:
    """Flip a bit of the latest row's value, in the byte that is so far on in it."""
    with database(path) as opened:
        query = f"SELECT rowid, {column} FROM {table} ORDER BY rowid DESC LIMIT 1"
        row, value = opened.execute(query).fetchone()
        content = bytearray(value.encode() if isinstance(value, str) else value)
        content[int(len(content) * at)] ^= 0x04
        damaged = content.decode() if isinstance(value, str) else bytes(content)
        opened.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (damaged, row))
        assert opened.execute(query).fetchone() != (row, value)


def unseal(path: Path) -> None:
    """Make a journal of format 1 of one of format 2: as the version before would have left it."""
    with database(path) as opened:
        for table in ("header", "frontier", "batch", "link", "scope", "failure"):
            opened.execute(f"ALTER TABLE {table} DROP COLUMN seal")
        opened.execute("ALTER TABLE batch DROP COLUMN outcome_seal")
        opened.execute("UPDATE header SET format = 1")
    path.with_name(f"{path.name}-share").unlink(missing_ok=True)
