"""The tables of a run over maps: the files that its survey found, then every volume's result.

They lie in the run's journal, with a mark that says whether the survey still has to be judged. The
rows have natural keys, so repeating a killed session's writes changes nothing. Once the survey is
judged, only files that are to be listed stay.

Rows are sealed (see `model.JobTables`). A session checks all seals when it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...journal.integers import signed, unsigned
from ...model import Column, JobTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    volume BLOB NOT NULL, role INTEGER NOT NULL, prefixed INTEGER NOT NULL, number INTEGER NOT NULL,
    place INTEGER NOT NULL, path BLOB NOT NULL, inode INTEGER NOT NULL, length INTEGER NOT NULL,
    content TEXT NOT NULL, listed TEXT NOT NULL, seal INTEGER,
    PRIMARY KEY (volume, role, prefixed, number, place, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS volume (
    name BLOB PRIMARY KEY, result TEXT NOT NULL, reason TEXT NOT NULL, plan TEXT NOT NULL,
    map_name BLOB NOT NULL, keeps INTEGER NOT NULL,
    version INTEGER, objects TEXT, size TEXT, epoch TEXT, seal INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON volume (name) WHERE result = 'pending';
CREATE TABLE IF NOT EXISTS mark (surveying INTEGER NOT NULL, seal INTEGER);
CREATE TABLE IF NOT EXISTS warning (
    volume BLOB PRIMARY KEY, text TEXT NOT NULL, seal INTEGER) WITHOUT ROWID;
"""
FILE = "volume, role, prefixed, number, place, path, inode, length, content, listed"
VOLUME = "name, result, reason, plan, map_name, keeps, version, objects, size, epoch"
SEALED = {"file": FILE, "volume": VOLUME, "mark": "surveying", "warning": "volume, text"}
TEN = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10"
PUT_FILE = f"INSERT OR REPLACE INTO file VALUES ({TEN}, sealed('file', {TEN}))"  # noqa: S608
PLAIN = "?1, ?2, ?3, ?4, ?5, x'', ?6, ?7, ?8, ''"
PUT_PLAIN = f"INSERT OR REPLACE INTO file VALUES ({PLAIN}, sealed('file', {PLAIN}))"  # noqa: S608
LIST_FILE = """
UPDATE file SET listed = ?1, seal = sealed(
    'file', volume, role, prefixed, number, place, path, inode, length, content, ?1)
WHERE volume = ?2 AND role = ?3 AND prefixed = ?4 AND number = ?5 AND place = ?6 AND path = ?7
"""
# A volume that was upgraded in this run stays so, whatever a later scan finds.
PUT = f"""
INSERT INTO volume VALUES ({TEN}, sealed('volume', {TEN})) ON CONFLICT (name) DO UPDATE SET
    result = excluded.result, reason = excluded.reason, plan = excluded.plan,
    map_name = excluded.map_name, keeps = excluded.keeps, version = excluded.version,
    objects = excluded.objects, size = excluded.size, epoch = excluded.epoch,
    seal = excluded.seal
WHERE volume.result != 'upgraded'
"""  # noqa: S608
AGAIN = """
UPDATE volume SET result = 'pending', plan = '', reason = '', seal = sealed(
    'volume', name, 'pending', '', '', map_name, keeps, version, objects, size, epoch)
WHERE result = ?
"""
SURVEYING = "UPDATE mark SET surveying = ?1, seal = sealed('mark', ?1) WHERE surveying != ?1"
MOST_KEPT = 1 << 50  # bytes of one volume: more than any disk for journals has
# Stands for the lock directory in paths: no directory of the maps can have this name.
LOCKS = b"\0locks"

# A file whose place its name and its placement say, and that is not listed: volume, role, prefixed,
# number (signed), placement, inode (signed), length, content; see `FoundFile`.
PlainFile = tuple[bytes, int, int, int, int, int, int, str]
# The columns of a row, as FILE has them.
FileRow = tuple[bytes, int, int, int, int, bytes, int, int, str, str]


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
    """Make the tables that are missing, and check those that are there.

    A new journal begins with the survey. Raises JournalError if a row is damaged.
    """
    for statement in SCHEMA.split(";"):
        journal.execute(statement)
    for table, columns in SEALED.items():
        journal.add_seals(table, columns)
        journal.check_seals(table, columns)
    if not next(journal.select("SELECT count(*) FROM mark"))[0]:
        journal.execute("INSERT INTO mark VALUES (1, sealed('mark', 1))")


def put_files(journal: JobTables, files: Sequence[FoundFile]) -> None:
    """Add files, or replace their rows. The survey has to be judged (again)."""
    journal.execute(SURVEYING, 1)
    journal.execute_many(PUT_FILE, map(_row, files))


def put_plain_files(journal: JobTables, files: Sequence[PlainFile]) -> None:
    """Do what `put_files` does, for plain files."""
    if files:
        journal.execute(SURVEYING, 1)
        journal.execute_many(PUT_PLAIN, files)


def is_surveying(journal: JobTables) -> bool:
    """Whether the survey has not been judged yet."""
    return bool(next(journal.select("SELECT surveying FROM mark"))[0])


def found_rows(journal: JobTables) -> Iterator[FileRow]:
    """Yield the files as rows, ordered by volume, and within each by role and number."""
    # Numbers above 63 bits seem negative and come first: no map has that many blocks.
    return journal.select(
        f"SELECT {FILE} FROM file ORDER BY volume, role, prefixed, number, place, path"  # noqa: S608
    )


def found_file(row: FileRow) -> FoundFile:
    """Return the file that a row is of."""
    volume, role, prefixed, number, placement, path, inode, length, content, listed = row
    number, inode = unsigned(number), unsigned(inode)
    return FoundFile(
        volume, role, bool(prefixed), number, placement, path, inode, length, content, listed
    )


def list_file(journal: JobTables, file: FoundFile, why: str) -> None:
    """Mark a file to be listed, and say why."""
    journal.execute(LIST_FILE, why, *_row(file)[:6])


def begin_survey(journal: JobTables) -> None:
    """Forget all files and volumes, except those that were upgraded, and survey again."""
    journal.execute("DELETE FROM file")
    journal.execute("DELETE FROM volume WHERE result != 'upgraded'")
    journal.execute(SURVEYING, 1)


def end_survey(journal: JobTables) -> None:
    """Note that the survey is judged; forget the files that need not be listed."""
    if next(listed_files(journal), None) is None:
        journal.execute("DELETE FROM file")  # this way SQLite looks at no row
    else:
        journal.execute("DELETE FROM file WHERE listed = ''")
    journal.execute(SURVEYING, 0)


def bytes_to_keep(journal: JobTables) -> int:
    """Return how many bytes of old maps the upgrades to come will keep, at most."""
    query = "SELECT total(keeps) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def listed_files(journal: JobTables) -> Iterator[FoundFile]:
    """Yield the files that the user has to see."""
    rows = journal.select(f"SELECT {FILE} FROM file WHERE listed != '' ORDER BY path")  # noqa: S608
    return map(found_file, rows)


def put_volumes(journal: JobTables, rows: Iterable[VolumeRow]) -> None:
    """Set the results of volumes; one that was upgraded in this run stays `upgraded`."""
    journal.execute_many(PUT, map(_volume_row, rows))


def put_warnings(journal: JobTables, warnings: Mapping[bytes, str]) -> None:
    """Set what the user should know of volumes ("": nothing), in place of what was set before."""
    journal.execute_many("DELETE FROM warning WHERE volume = ?", [(name,) for name in warnings])
    rows = [(name, text) for name, text in warnings.items() if text]
    journal.execute_many("INSERT INTO warning VALUES (?1, ?2, sealed('warning', ?1, ?2))", rows)


def drop_volumes(journal: JobTables, names: Sequence[bytes]) -> None:
    """Forget volumes that vanished."""
    rows = [(name,) for name in names]
    journal.execute_many("DELETE FROM volume WHERE name = ?", rows)


def make_pending(journal: JobTables, results: Sequence[str]) -> None:
    """Make volumes with one of these results pending again, without a plan."""
    journal.execute_many(AGAIN, [(result,) for result in results])


def pending_volumes(journal: JobTables, most: int = -1) -> Iterator[VolumeRow]:
    """Yield pending volumes by name, at most *most* of them (below 0: all)."""
    query = f"SELECT {VOLUME} FROM volume WHERE result = 'pending' ORDER BY name LIMIT ?"  # noqa: S608
    return (_volume(row) for row in journal.select(query, most))


def pending_count(journal: JobTables) -> int:
    """Return the number of pending volumes."""
    query = "SELECT count(*) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def volumes(journal: JobTables) -> Iterator[VolumeRow]:
    """Yield all volumes that have a result, by name."""
    return _volumes(journal, "result != 'pending'")


def volumes_to_see(journal: JobTables) -> Iterator[VolumeRow]:
    """Yield those that are neither `upgraded` nor `current`, and those with a warning."""
    good = "result IN ('pending', 'upgraded', 'current', 'would-upgrade')"
    return _volumes(journal, f"result != 'pending' AND (text IS NOT NULL OR NOT {good})")


def _volumes(journal: JobTables, condition: str) -> Iterator[VolumeRow]:
    rows = journal.select(f"""SELECT {VOLUME}, coalesce(text, '') FROM volume
        LEFT JOIN warning ON warning.volume = name
        WHERE {condition} ORDER BY name""")  # noqa: S608
    return (_volume(row, warning) for *row, warning in rows)


def result_counts(journal: JobTables) -> dict[str, int]:
    """Return the number of volumes by result, pending ones included. Raises JournalError."""
    tables = journal.select("SELECT 1 FROM sqlite_schema WHERE name = 'volume'")
    if next(tables, None) is None:  # killed before the tables were there
        return {}
    journal.check_seals("volume", VOLUME)
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


def _volume_row(row: VolumeRow) -> tuple[Column, ...]:
    """Return a row for SQLite. Sizes and epochs have 64 bits, which fit as text."""
    wide = (None if n is None else str(n) for n in (row.objects, row.size, row.epoch))
    texts = (row.name, row.result, row.reason, row.plan, row.map_name)
    return (*texts, min(row.kept_bytes, MOST_KEPT), row.version, *wide)


def _volume(row: Sequence[str | None], warning: str = "") -> VolumeRow:
    *first, objects, size, epoch = row
    numbers = (None if text is None else int(text) for text in (objects, size, epoch))
    return VolumeRow(*first, *numbers, warning=warning)  # type: ignore[arg-type, misc]
