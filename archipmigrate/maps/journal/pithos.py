"""Names of Pithos' maps and sizes of their volumes, from CSV or from Pithos' database.

Yields rows one by one, for `Sizes.load`. SQLAlchemy is an extra, imported only here and only when
it is needed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import FatalError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import ColumnClause
    from sqlalchemy.engine import URL, Engine

HEADER = ["mapfile", "size"]
NAME = re.compile(r"[0-9a-f]{64}")
NUMBER = re.compile(r"[0-9]{1,19}")
LARGEST = 2**63 - 1  # that SQLite can store; `versions.size` is a BIGINT, too
ROWS_AT_ONCE = 10_000  # of 80 bytes, in flight from the server
INSTALL = "pip install sqlalchemy"


def read_sizes_csv(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the rows of a CSV file `mapfile,size`, with or without these words as its first line.

    Skips blank lines. Raises UsageError if the file cannot be read, and, with the line's number, if
    a row is not a name of 64 lowercase hex digits and a number of bytes below 2**63.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            reader = csv.reader(file, strict=True)
            first = True
            try:
                for row in reader:
                    if not row or (len(row) == 1 and not row[0].strip()):
                        continue
                    if not (first and row == HEADER):
                        yield _sized(row)
                    first = False
            except (csv.Error, ValueError) as error:
                raise UsageError(f"{path}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _sized(row: list[str]) -> tuple[str, int]:
    """Return a row, checked. Raises ValueError with what is wrong with it."""
    if len(row) != len(HEADER):
        raise ValueError(f"not a mapfile and a size, but {len(row)} fields")
    name, size = row
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!a} is no name of 64 lowercase hex digits")
    if not NUMBER.fullmatch(size) or int(size) > LARGEST:
        raise ValueError(f"{size!a} is no size from 0 to 2**63 - 1 bytes")
    return name, int(size)


def read_pithos_db(url: str) -> Iterator[tuple[str, int]]:
    """Yield the maps of a Pithos database and their sizes, from the table `versions`.

    *url* is one of SQLAlchemy's. Skips maps whose names are not 64 lowercase hex digits: they are
    not v0 maps. Raises UsageError if SQLAlchemy or the database's driver is missing, and FatalError
    if the URL is wrong, the connection fails or the table is missing. No message has a password in
    it.
    """
    try:
        import sqlalchemy  # noqa: PLC0415 -- an extra, and 0.3 s of start-up
        from sqlalchemy import exc  # noqa: PLC0415 -- the same
    except ImportError:
        raise UsageError(f"reading a database takes SQLAlchemy: {INSTALL}") from None
    try:
        address = sqlalchemy.engine.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise FatalError(
            "this is no database URL; one looks like postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    shown = _shown(address)
    if _is_missing_file(address):
        raise FatalError(f"{shown}: there is no such file")  # SQLite would make it
    try:
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
    except ImportError as error:
        raise UsageError(
            f"{shown}: its driver {error.name} is missing: {INSTALL} and that driver"
        ) from None
    except (exc.SQLAlchemyError, TypeError, ValueError) as error:
        raise FatalError(f"{shown}: {_reason(error, address)}") from None
    try:
        yield from _versions(engine)
    except exc.SQLAlchemyError as error:
        raise FatalError(f"{shown}: {_reason(error, address)}") from None
    finally:
        engine.dispose()


def _versions(engine: Engine) -> Iterator[tuple[str, int]]:
    """Yield the rows of `versions` that have a v0 map, as the server sends them."""
    import sqlalchemy  # noqa: PLC0415 -- the caller has it

    mapfile: ColumnClause[Any] = sqlalchemy.column("mapfile")
    size: ColumnClause[Any] = sqlalchemy.column("size")
    versions = sqlalchemy.table("versions", mapfile, size)
    query = sqlalchemy.select(mapfile, size).select_from(versions).where(mapfile.is_not(None))
    with engine.connect() as connection:
        streaming = connection.execution_options(stream_results=True)
        for name, number in streaming.execute(query).yield_per(ROWS_AT_ONCE):
            if isinstance(name, str) and NAME.fullmatch(name) and 0 <= int(number) <= LARGEST:
                yield name, int(number)


def _is_missing_file(url: URL) -> bool:
    file = url.database or ""
    if url.get_backend_name() != "sqlite" or file in ("", ":memory:") or file.startswith("file:"):
        return False
    return not Path(file).is_file()


def _shown(url: URL) -> str:
    """Return the database for messages: without user, password and options."""
    return f"Pithos' database {url.drivername}://{url.host or ''}/{url.database or ''}"


def _reason(error: Exception, url: URL) -> str:
    """Return the driver's words, unless a secret is in them."""
    words = str(getattr(error, "orig", None) or error).strip()
    secrets = [str(url.password or "")]
    for option in url.query.values():  # psycopg2, for one, takes a password there
        secrets += [option] if isinstance(option, str) else option
    if any(secret and secret in words for secret in secrets):
        return f"{type(error).__name__} (the driver's words hold a password: not shown)"
    return words
