"""Whatever a record holds, a journal says that it is damaged: no other error comes of it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from archipmigrate.errors import JournalError
from archipmigrate.journal import checksummed
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import Failure, Link, Unit
from tests.support.journals import database, unseal

NUMBER = 1
LINK = Link(0, 7, 2**64 - 1)
VALUES = ("NULL", "''", "'{'", "'[]'", "'{\"run\": 1}'", "x'00'", "x'ff'", "7", "-1", "1.5", "'7'")
COLUMNS = (
    "header.format", "header.content", "scope.tally", "frontier.scope", "frontier.retries",
    "frontier.counted", "frontier.entries", "frontier.body", "batch.preimage", "batch.outcome",
    "failure.path", "failure.operation", "failure.errno", "failure.note", "failure.hint",
    "failure.scope", "link.batch",
)  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "perms-1.journal"
    made = Journal(path, new=True)
    header = RunHeader("perms-1", "perms", "fsid:1", "/share", "2026-01-01T00:00:00")
    made.commit(
        [
            lambda j: j.write_header(header),
            partial(Journal.put_unit, number=NUMBER, unit=Unit(b"body")),
            partial(
                Journal.add_batch,
                number=NUMBER,
                preimage=checksummed.pack(b"preimage"),
                links=[LINK],
            ),
            lambda j: j.add_failures(0, [Failure(b"path", "chown", 5, "note", 1)]),
            partial(Journal.set_outcome, number=NUMBER, outcome=b"outcome"),
        ]
    )
    made.close()
    return path


def read(path: Path) -> list[object]:
    """Read all that there is."""
    with closing(Journal(path, new=False)) as journal:
        journal.check()
        return [
            journal.read_header(),
            journal.tally(),
            list(journal.units()),
            journal.load_unit(NUMBER),
            journal.preimage(NUMBER),
            journal.outcome(NUMBER),
            list(journal.failures()),
            journal.claim([LINK]),
        ]


@pytest.mark.parametrize("column", COLUMNS)
def test_damaged_value_is_a_journal_error(journal: Path, column: str) -> None:
    table, _, name = column.partition(".")
    whole = journal.read_bytes()
    for value in VALUES:
        journal.write_bytes(whole)
        with database(journal) as opened:
            before = opened.execute(f"SELECT {name} FROM {table}").fetchall()
            opened.execute(f"UPDATE OR IGNORE {table} SET {name} = {value}")
            if opened.execute(f"SELECT {name} FROM {table}").fetchall() == before:
                continue
        with pytest.raises(JournalError, match=r"damaged|can read"):
            read(journal)


@pytest.mark.parametrize("column", COLUMNS)
def test_damaged_value_without_a_seal_is_a_journal_error_or_none(
    journal: Path, column: str
) -> None:
    """A value of another type, or no JSON: `read` either raises JournalError, or reads it."""
    unseal(journal)
    table, _, name = column.partition(".")
    whole = journal.read_bytes()
    for value in VALUES:
        journal.write_bytes(whole)
        with database(journal) as opened:
            opened.execute(f"UPDATE OR IGNORE {table} SET {name} = {value}")
        words = ""
        try:
            read(journal)
        except JournalError as error:
            words = str(error)
        if words:
            assert "damaged" in words or "can read" in words
            assert str(journal) in words


@pytest.mark.parametrize("table", ["header", "scope", "frontier", "batch"])
def test_missing_row_is_a_journal_error(journal: Path, table: str) -> None:
    with database(journal) as opened:
        opened.execute(f"DELETE FROM {table}")
    with pytest.raises(JournalError):
        read(journal)


def test_whole_journal_is_read(journal: Path) -> None:
    assert read(journal)[4:6] == [b"preimage", b"outcome"]
    unseal(journal)
    assert read(journal)[4:6] == [b"preimage", b"outcome"]


@pytest.mark.parametrize("table", ["frontier", "batch", "failure", "link", "scope"])
def test_row_of_another_run_or_number_is_a_journal_error(journal: Path, table: str) -> None:
    """A row that is whole, but not where it belongs: its seal is of another run."""
    other = journal.with_name("perms-2.journal")
    other.write_bytes(journal.read_bytes())
    with closing(Journal(other, new=False)) as opened:
        header = opened.read_header()
        header.run = "perms-2"
        opened.commit([lambda j: j.write_header(header)])
    with database(other) as opened:
        opened.execute("ATTACH ? AS here", (str(journal),))
        opened.execute(f"DELETE FROM main.{table}")
        opened.execute(f"INSERT INTO main.{table} SELECT * FROM here.{table}")
    with pytest.raises(JournalError, match="damaged"):
        read(other)
