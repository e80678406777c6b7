"""The sizes of v0 maps: the table, its durable copy, and rows from CSV and from Pithos."""

from __future__ import annotations

import itertools
import random
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archipmigrate.errors import Error, FatalError, JournalError, UsageError
from archipmigrate.maps.journal.pithos import read_pithos_db, read_sizes_csv
from archipmigrate.maps.journal.sizes import Sizes

LARGEST = 2**63 - 1
MIB = 1 << 20
Load = Callable[..., Sizes]


def name(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def load() -> Iterator[Load]:
    """Make tables that are closed at the end."""
    made = []

    def make(*rows: tuple[str, int]) -> Sizes:
        made.append(Sizes.load(rows))
        return made[-1]

    yield make
    for sizes in made:
        sizes.close()


# The table


def test_table_has_its_rows(load: Load) -> None:
    sizes = load((name(1), 0), (name(2), LARGEST))
    assert sizes.of(name(1).encode()) == (0,)
    assert sizes.of(name(2).encode()) == (LARGEST,)
    assert sizes.of(name(3).encode()) == ()


@pytest.mark.parametrize("unknown", [b"", b"archip_foobar", b"\xff" * 64, b"A" * 64, b"0" * 63])
def test_table_has_no_size_of_other_names(load: Load, unknown: bytes) -> None:
    assert load(("a" * 64, 1)).of(unknown) == ()


def test_equal_rows_are_one(load: Load) -> None:
    sizes = load((name(1), 5), (name(1), 5))
    assert sizes.of(name(1).encode()) == (5,)
    assert sizes.digest == load((name(1), 5)).digest


def test_contradiction_gives_the_two_smallest_sizes(load: Load) -> None:
    sizes = load((name(1), 9), (name(1), 5), (name(2), 1), (name(1), 7))
    assert sizes.of(name(1).encode()) == (5, 7)


def test_digest_is_that_of_the_rows_in_any_order(load: Load) -> None:
    rows = [(name(1), 5), (name(1), 6), (name(2), 5)]
    digests = {load(*some).digest for some in itertools.permutations(rows)}
    assert len(digests) == 1
    others = [rows[:2], [*rows, (name(3), 0)], [(name(1), 5), (name(2), 6), (name(2), 5)]]
    assert digests.isdisjoint(load(*some).digest for some in others)


def test_empty_table_has_an_empty_digest() -> None:
    sizes = Sizes.empty()
    assert (sizes.digest, sizes.of(name(1).encode())) == ("", ())
    sizes.close()


def test_table_is_closed_when_its_rows_cannot_be_read() -> None:
    def rows() -> Iterator[tuple[str, int]]:
        yield name(1), 1
        raise UsageError("the line is wrong")

    with pytest.raises(UsageError, match="the line is wrong"):
        Sizes.load(rows())


def test_table_serves_several_threads(load: Load) -> None:
    sizes = load(*((name(number), number) for number in range(1000)))
    wanted = random.Random(0).choices(range(2000), k=5000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: sizes.of(name(number).encode()), wanted))
    assert found == [(number,) if number < 1000 else () for number in wanted]


# Saved


def test_saved_table_is_the_same_when_opened(load: Load, tmp_path: Path) -> None:
    sizes = load((name(1), 5), (name(1), 6), (name(2), LARGEST))
    path = tmp_path / "run ?#%20.sizes"
    sizes.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    opened = Sizes.open(path)
    assert opened.digest == sizes.digest
    assert opened.of(name(1).encode()) == (5, 6)
    assert opened.of(name(2).encode()) == (LARGEST,)
    opened.save(tmp_path / "copy")
    opened.close()


def test_empty_table_can_be_saved(load: Load, tmp_path: Path) -> None:
    load().save(tmp_path / "sizes")
    opened = Sizes.open(tmp_path / "sizes")
    assert opened.digest == ""
    opened.close()


def test_save_leaves_an_existing_file_alone(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    path.write_text("mine")
    with pytest.raises(JournalError, match="File exists"):
        load((name(1), 5)).save(path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_save_fails_where_there_is_no_directory(load: Load, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file or directory"):
        load().save(tmp_path / "missing" / "sizes")


def test_open_of_a_missing_file_makes_none(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="unable to open"):
        Sizes.open(tmp_path / "sizes")
    assert list(tmp_path.iterdir()) == []


def test_open_refuses_a_file_that_is_no_table_of_sizes(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("mapfile,size\n" * 100)
    with pytest.raises(JournalError, match="not a database"):
        Sizes.open(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(JournalError, match="no table of sizes"):
        Sizes.open(tmp_path / "empty")


def test_open_refuses_a_table_in_which_a_row_has_changed(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    load((name(1), 5), (name(2), 6)).save(path)
    db = sqlite3.connect(path)
    db.execute("UPDATE size SET bytes = 7 WHERE bytes = 6")
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="checksum is wrong"):
        Sizes.open(path)


# CSV


def csv_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "sizes.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"mapfile,size\n{name(1)},0\n{name(2)},{LARGEST}\n",
        f"{name(1)},0\n{name(2)},{LARGEST}",
        f"\nmapfile,size\r\n\r\n{name(1)},0\r\n  \n{name(2)},{LARGEST}\r\n\n",
        f'\ufeff"mapfile","size"\n"{name(1)}","0"\n{name(2)},{LARGEST}\n',
    ],
    ids=["header", "no-header", "blank-lines", "quotes"],
)
def test_csv_is_read(tmp_path: Path, content: str) -> None:
    rows = read_sizes_csv(csv_of(tmp_path, content.encode()))
    assert list(rows) == [(name(1), 0), (name(2), LARGEST)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"mapfile,size", "no name"),  # only the first line is a header
        (name(1).encode(), "1 fields"),
        (b"%s,1,2" % name(1).encode(), "3 fields"),
        (b"A" * 64 + b",1", "64 lowercase hex digits"),
        (b"a" * 63 + b",1", "64 lowercase hex digits"),
        (b"\xff" * 64 + b",1", "64 lowercase hex digits"),
        (b"a" * 64 + b",", "no size"),
        (b"a" * 64 + b",-1", "no size"),
        (b"a" * 64 + b",1.0", "no size"),
        (b"a" * 64 + b", 1", "no size"),
        (b"a" * 64 + b",%d" % (LARGEST + 1), "no size"),
        (b"a" * 64 + b"," + b"9" * 5000, "no size"),
        (b"a" * 64 + ",\u0661".encode(), "no size"),
        (b'"a', "end of data"),
        (b"a" * 200_000, "field larger"),
    ],
)
def test_csv_error_names_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = csv_of(tmp_path, b"mapfile,size\n\n%s,1\n%s" % (name(9).encode(), line))
    with pytest.raises(UsageError, match=rf"sizes\.csv, line 4: .*{message}"):
        list(read_sizes_csv(path))


def test_csv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.csv: No such file"):
        list(read_sizes_csv(tmp_path / "missing.csv"))
    with pytest.raises(UsageError, match="Is a directory"):
        list(read_sizes_csv(tmp_path))


# Pithos' database


@pytest.fixture
def pithos(tmp_path: Path) -> Path:
    """Make a database with Pithos' table of versions, as of its v0.16, in SQLite."""
    path = tmp_path / "pithos.db"
    db = sqlite3.connect(path)
    db.executescript(
        """
        CREATE TABLE versions (
            serial INTEGER PRIMARY KEY, node INTEGER, hash VARCHAR(256), size BIGINT NOT NULL,
            type VARCHAR(256) NOT NULL, source INTEGER, mtime DECIMAL(16, 6),
            muser VARCHAR(256) NOT NULL, uuid VARCHAR(64) NOT NULL,
            checksum VARCHAR(256) NOT NULL, cluster INTEGER NOT NULL,
            available BOOLEAN NOT NULL, map_check_timestamp DECIMAL(16, 6),
            mapfile VARCHAR(256), is_snapshot BOOLEAN NOT NULL);
        """
    )
    rows = [
        (name(1), 5 * MIB),
        (name(1), 5 * MIB),  # a version that only has other attributes
        (None, 0),  # a container
        ("archip_snf-snapshot-1", 7),
        ("A" * 64, 7),
        (name(2), 0),
        (name(3), -1),
    ]
    db.executemany(
        "INSERT INTO versions (size, type, muser, uuid, checksum, cluster, available, mapfile, "
        "is_snapshot) VALUES (?, '', '', '', '', 0, 1, ?, 0)",
        [(size, mapfile) for mapfile, size in rows],
    )
    db.commit()
    db.close()
    return path


def test_database_gives_the_maps_of_pithos_only(pithos: Path) -> None:
    rows = [(name(1), 5 * MIB), (name(1), 5 * MIB), (name(2), 0)]
    assert sorted(read_pithos_db(f"sqlite:///{pithos}")) == sorted(rows)


def test_database_fills_a_table(pithos: Path) -> None:
    sizes = Sizes.load(read_pithos_db(f"sqlite:///{pithos}"))
    assert sizes.of(name(1).encode()) == (5 * MIB,)
    sizes.close()


def test_missing_sqlalchemy_is_a_usage_error(pithos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(UsageError, match="pip install sqlalchemy"):
        list(read_pithos_db(f"sqlite:///{pithos}"))


def test_missing_driver_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in ("psycopg2", "psycopg"):  # the default until SQLAlchemy 2.1, and since
        monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(UsageError, match=r"psycopg.*pip install sqlalchemy") as no:
        list(read_pithos_db("postgresql://pithos:secret@db.example/pithos"))
    assert "secret" not in str(no.value)


def test_database_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="no such file"):
        list(read_pithos_db(f"sqlite:///{tmp_path}/pithos.db"))
    assert list(tmp_path.iterdir()) == []


def test_database_without_the_table_is_a_fatal_error(tmp_path: Path) -> None:
    (tmp_path / "other.db").touch()
    with pytest.raises(FatalError, match="no such table: versions"):
        list(read_pithos_db(f"sqlite:///{tmp_path}/other.db"))


@pytest.mark.parametrize(
    "url",
    [
        "secret",
        "",
        "postgresql//pithos:secret@db.example/pithos",
        "postgresql://pithos:secret@db.example:secret/pithos",
        "nosuchdatabase://pithos:secret@db.example/pithos",
        "nosuchdatabase://db.example/pithos?password=secret",
        "sqlite://pithos:secret@db.example/pithos",
        "sqlite:////missing/pithos.db?password=secret",
        "sqlite:///file:/missing/secret?mode=ro&uri=true&key=secret",
        "sqlite:///file:/missing/pithos?timeout=secret&uri=true",
    ],
)
def test_wrong_url_is_a_fatal_error_that_holds_no_password(url: str) -> None:
    with pytest.raises(FatalError) as failed:
        list(read_pithos_db(url))
    assert "secret" not in str(failed.value).replace("/missing/secret", "")
    assert failed.value.__context__ is None or failed.value.__suppress_context__


def test_password_in_the_drivers_words_is_not_shown(
    pithos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise sqlite3.OperationalError("no connection by user=pithos password=secret")

    monkeypatch.setattr(sqlite3.dbapi2, "connect", refuse)
    with pytest.raises(Error, match="hold a password: not shown") as failed:
        list(read_pithos_db("sqlite:///file:pithos?mode=memory&uri=true&password=secret"))
    assert "secret" not in str(failed.value)
