"""Transactions of a journal, and the tables that a job has in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archipmigrate.errors import JournalError
from archipmigrate.journal.integers import signed, unsigned
from archipmigrate.journal.store import Journal
from archipmigrate.model import JobTables


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "run.journal", new=True)) as journal:
        journal.commit([make_table])
        yield journal


def make_table(tables: JobTables) -> None:
    tables.execute("CREATE TABLE thing (name BLOB PRIMARY KEY, number INTEGER)")


def put_things(tables: JobTables) -> None:
    tables.execute_many("INSERT INTO thing VALUES (?, ?)", [(b"a", 1), (b"b", 2)])


def test_job_reads_what_it_wrote(journal: Journal) -> None:
    journal.commit([put_things])
    query = "SELECT name FROM thing WHERE number > ? AND number < ?"
    assert list(journal.select(query, 1, 3)) == [(b"b",)]


def test_write_outside_a_transaction_is_refused(journal: Journal) -> None:
    with pytest.raises(RuntimeError, match="in transactions only"):
        put_things(journal)
    assert not list(journal.select("SELECT * FROM thing"))


class Broken(Exception):
    pass


def break_off(tables: JobTables) -> None:
    del tables
    raise Broken


def fail(tables: JobTables) -> None:
    tables.execute("INSERT INTO absent VALUES (1)")


@pytest.mark.parametrize(("write", "error"), [(break_off, Broken), (fail, JournalError)])
def test_transaction_in_which_a_write_fails_leaves_nothing(
    journal: Journal, write: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        journal.commit([put_things, write])  # type: ignore[list-item]
    assert not list(journal.select("SELECT * FROM thing"))
    journal.commit([put_things])


def test_query_of_a_missing_table_is_a_journal_error(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no such table"):
        next(journal.select("SELECT * FROM absent"))


@pytest.mark.parametrize("number", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_64_bit_number_comes_back(journal: Journal, number: int) -> None:
    journal.commit(
        [lambda j: j.execute_many("INSERT INTO thing VALUES (?, ?)", [(b"n", signed(number))])]
    )
    ((stored,),) = journal.select("SELECT number FROM thing")
    assert unsigned(stored) == number
