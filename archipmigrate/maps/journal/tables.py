"""The tables of a run over maps: the files that its survey found, then every volume's result.

They lie in the run's journal, with a mark that says whether the survey still has to be judged. The
rows have natural keys, so repeating a killed session's writes changes nothing. Once the survey is
judged, only files that are to be listed stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...journal.integers import signed, unsigned
from ...model import Column, JobTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    volume BLOB NOT NULL, role INTEGER NOT NULL, prefixed INTEGER NOT NULL, number INTEGER NOT NULL,
    place INTEGER NOT NULL, path BLOB NOT NULL, inode INTEGER NOT NULL, length INTEGER NOT NULL,
    content TEXT NOT NULL, listed TEXT NOT NULL,
    PRIMARY KEY (volume, role, prefixed, number, place, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS volume (
    name BLOB PRIMARY KEY, result TEXT NOT NULL, reason TEXT NOT NULL, plan TEXT NOT NULL,
    map_name BLOB NOT NULL, keeps INTEGER NOT NULL,
    version INTEGER, objects TEXT, size TEXT, epoch TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON volume (name) WHERE result = 'pending';
CREATE TABLE IF NOT EXISTS mark (surveying INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS warning (volume BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""
# A volume that was upgraded in this run stays so, whatever a later scan finds.
PUT = """
INSERT INTO volume VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
    result = excluded.result, reason = excluded.reason, plan = excluded.plan,
    map_name = excluded.map_name, keeps = excluded.keeps, version = excluded.version,
    objects = excluded.objects, size = excluded.size, epoch = excluded.epoch
WHERE volume.result != 'upgraded'
"""
MOST_KEPT = 1 << 50  # bytes of one volume: more than any disk for journals has
# Stands for the lock directory in paths: no directory of the maps can have this name.
LOCKS = b"\0locks"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as the survey found it.

    `role` and `placement` are a `layout.names.Role` and a `layout.placement.Placement`. `path` is
    the path from the maps directory (or `LOCKS`), empty if the placement says it. `length` is in
    bytes, -1 if this is no regular file. `content` is a map's packed head. `listed` is the reason
    why the user has to see the file ("": it is not listed).
    """

    volume: bytes
    role: int
    prefixed: bool
    number: int
    placement: int
    path: bytes
    inode: int
    length: int
    content: str = ""
    listed: str = ""


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A volume and its result, or its plan while that is pending. Unknown numbers are None.

    `plan` is a `format.verdict.Plan`, or `survey.judge.CHECK`. `map_name` is the name of the map
    that decided, `kept_bytes` how much the upgrade will keep at most, `size` in bytes. `warning` is
    what the user should know of the volume; only `put_warnings` sets it.
    """

    name: bytes
    result: str
    reason: str = ""
    plan: str = ""
    map_name: bytes = b""
    kept_bytes: int = 0
    version: int | None = None
    objects: int | None = None
    size: int | None = None
    epoch: int | None = None
    warning: str = ""


def prepare_tables(journal: JobTables) -> None:
    """Make the tables that are missing. A new journal begins with the survey."""
    for statement in SCHEMA.split(";"):
        journal.execute(statement)
    if not next(journal.select("SELECT count(*) FROM mark"))[0]:
        journal.execute("INSERT INTO mark VALUES (1)")


def put_files(journal: JobTables, files: Sequence[FoundFile]) -> None:
    """Add files, or replace their rows. The survey has to be judged (again)."""
    journal.execute("UPDATE mark SET surveying = 1 WHERE NOT surveying")
    journal.execute_many(
        "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, files)
    )


def is_surveying(journal: JobTables) -> bool:
    """Whether the survey has not been judged yet."""
    return bool(next(journal.select("SELECT surveying FROM mark"))[0])


def found_files(journal: JobTables) -> Iterator[FoundFile]:
    """Yield the files ordered by volume, and within each by role and number."""
    rows = journal.select(
        # Numbers above 63 bits seem negative and come first: no map has that many blocks.
        "SELECT * FROM file ORDER BY volume, role, prefixed, number, place, path"
    )
    return (_file(row) for row in rows)


def list_file(journal: JobTables, file: FoundFile, why: str) -> None:
    """Mark a file to be listed, and say why."""
    journal.execute(
        "UPDATE file SET listed = ? WHERE volume = ? AND role = ? AND prefixed = ? AND number = ? "
        "AND place = ? AND path = ?",
        why,
        *_row(file)[:6],
    )


def begin_survey(journal: JobTables) -> None:
    """Forget all files and volumes, except those that were upgraded, and survey again."""
    journal.execute("DELETE FROM file")
    journal.execute("DELETE FROM volume WHERE result != 'upgraded'")
    journal.execute("UPDATE mark SET surveying = 1")


def end_survey(journal: JobTables) -> None:
    """Note that the survey is judged; forget the files that need not be listed."""
    journal.execute("DELETE FROM file WHERE listed = ''")
    journal.execute("UPDATE mark SET surveying = 0")


def bytes_to_keep(journal: JobTables) -> int:
    """Return how many bytes of old maps the upgrades to come will keep, at most."""
    query = "SELECT total(keeps) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def listed_files(journal: JobTables) -> Iterator[FoundFile]:
    """Yield the files that the user has to see."""
    rows = journal.select("SELECT * FROM file WHERE listed != '' ORDER BY path")
    return (_file(row) for row in rows)


def put_volumes(journal: JobTables, rows: Iterable[VolumeRow]) -> None:
    """Set the results of volumes; one that was upgraded in this run stays `upgraded`."""
    journal.execute_many(PUT, map(_volume_row, rows))


def put_warnings(journal: JobTables, warnings: Mapping[bytes, str]) -> None:
    """Set what the user should know of volumes ("": nothing), in place of what was set before."""
    journal.execute_many("DELETE FROM warning WHERE volume = ?", [(name,) for name in warnings])
    rows = [(name, text) for name, text in warnings.items() if text]
    journal.execute_many("INSERT INTO warning VALUES (?, ?)", rows)


def drop_volumes(journal: JobTables, names: Sequence[bytes]) -> None:
    """Forget volumes that vanished."""
    rows = [(name,) for name in names]
    journal.execute_many("DELETE FROM volume WHERE name = ?", rows)


def make_pending(journal: JobTables, results: Sequence[str]) -> None:
    """Make volumes with one of these results pending again, without a plan."""
    rows = [(result,) for result in results]
    journal.execute_many(
        "UPDATE volume SET result = 'pending', plan = '', reason = '' WHERE result = ?", rows
    )


def pending_volumes(journal: JobTables, most: int = -1) -> Iterator[VolumeRow]:
    """Yield pending volumes by name, at most *most* of them (below 0: all)."""
    query = "SELECT * FROM volume WHERE result = 'pending' ORDER BY name LIMIT ?"
    return (_volume(row) for row in journal.select(query, most))


def pending_count(journal: JobTables) -> int:
    """Return the number of pending volumes."""
    query = "SELECT count(*) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def volumes(journal: JobTables) -> Iterator[VolumeRow]:
    """Yield all volumes that have a result, by name."""
    query = """SELECT volume.*, coalesce(text, '') FROM volume
        LEFT JOIN warning ON warning.volume = name WHERE result != 'pending' ORDER BY name"""
    return (replace(_volume(row), warning=warning) for *row, warning in journal.select(query))


def result_counts(journal: JobTables) -> dict[str, int]:
    """Return the number of volumes by result, pending ones included."""
    tables = journal.select("SELECT 1 FROM sqlite_schema WHERE name = 'volume'")
    if next(tables, None) is None:  # killed before the tables were there
        return {}
    return dict(journal.select("SELECT result, count(*) FROM volume GROUP BY result"))


def _row(file: FoundFile) -> tuple[Column, ...]:
    return (
        file.volume,
        file.role,
        file.prefixed,
        signed(file.number),
        file.placement,
        file.path,
        signed(file.inode),
        file.length,
        file.content,
        file.listed,
    )


def _file(row: Sequence[object]) -> FoundFile:
    volume, role, prefixed, number, placement, path, inode, length, content, listed = row
    return FoundFile(  # the columns have these types: see SCHEMA
        volume,  # type: ignore[arg-type]
        role,  # type: ignore[arg-type]
        bool(prefixed),
        unsigned(number),  # type: ignore[arg-type]
        placement,  # type: ignore[arg-type]
        path,  # type: ignore[arg-type]
        unsigned(inode),  # type: ignore[arg-type]
        length,  # type: ignore[arg-type]
        content,  # type: ignore[arg-type]
        listed,  # type: ignore[arg-type]
    )


def _volume_row(row: VolumeRow) -> tuple[Column, ...]:
    """Return a row for SQLite. Sizes and epochs have 64 bits, which fit as text."""
    wide = (None if n is None else str(n) for n in (row.objects, row.size, row.epoch))
    texts = (row.name, row.result, row.reason, row.plan, row.map_name)
    return (*texts, min(row.kept_bytes, MOST_KEPT), row.version, *wide)


def _volume(row: Sequence[str | None]) -> VolumeRow:
    *first, objects, size, epoch = row
    numbers = (None if text is None else int(text) for text in (objects, size, epoch))
    return VolumeRow(*first, *numbers)  # type: ignore[arg-type]
