"""What a run over mapfiles knows: the files that its survey found, then every volume's result.

Two tables in the run's journal, and a mark that says whether the survey still has to be judged. All
is keyed by what it is about, so what a killed session had written is only written again. A file
leaves the journal once it is judged, unless it has to be listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
"""
# What was upgraded in this run stays so, whatever a later look says.
PUT = """
INSERT INTO volume VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
    result = excluded.result, reason = excluded.reason, plan = excluded.plan,
    map_name = excluded.map_name, keeps = excluded.keeps, version = excluded.version,
    objects = excluded.objects, size = excluded.size, epoch = excluded.epoch
WHERE volume.result != 'upgraded'
"""
MOST_KEPT = 1 << 50  # bytes of one volume: more than any disk for journals has
# What stands for the lock directory in paths: no directory of the maps can be called so.
LOCKS = b"\0locks"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as the survey found it.

    `role` and `place` are `mapfile.names.Role` and `mapfile.placement.Place`; `path` is relative to
    its tree, and empty where the place says it; `content` is what was read of it, as its reader
    packed it; `listed` is why it is shown to the user ("": not).
    """

    volume: bytes
    role: int
    prefixed: bool
    number: int
    place: int
    path: bytes
    inode: int
    length: int
    content: str = ""
    listed: str = ""


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A volume and its result; what is not known is None. `plan` is what its upgrade is to do.

    `map_name` is the name of the map that decided; `keeps` how many bytes its upgrade will keep.
    """

    name: bytes
    result: str
    reason: str = ""
    plan: str = ""
    map_name: bytes = b""
    keeps: int = 0
    version: int | None = None
    objects: int | None = None
    size: int | None = None
    epoch: int | None = None


def prepare_tables(journal: JobTables) -> None:
    """Make the tables, unless they are there."""
    for statement in SCHEMA.split(";"):
        journal.execute(statement)
    if not next(journal.select("SELECT count(*) FROM mark"))[0]:
        journal.execute("INSERT INTO mark VALUES (1)")


def put_files(journal: JobTables, files: Sequence[FoundFile]) -> None:
    """Add files; what is known of them already is replaced. The survey has to be judged (again)."""
    journal.execute("UPDATE mark SET surveying = 1 WHERE NOT surveying")
    journal.execute_many(
        "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, files)
    )


def is_surveying(journal: JobTables) -> bool:
    """Whether the survey has not been judged yet."""
    return bool(next(journal.select("SELECT surveying FROM mark"))[0])


def found_files(journal: JobTables) -> Iterator[FoundFile]:
    """Yield the files by volume, and in the order of `Role` and number in each."""
    rows = journal.select(
        # Numbers above 63 bits seem negative and come first: no map has that many blocks.
        "SELECT * FROM file ORDER BY volume, role, prefixed, number, place, path"
    )
    return (_file(row) for row in rows)


def list_file(journal: JobTables, file: FoundFile, why: str) -> None:
    """Have a file listed."""
    journal.execute(
        "UPDATE file SET listed = ? WHERE volume = ? AND role = ? AND prefixed = ? AND number = ? "
        "AND place = ? AND path = ?",
        why,
        *_row(file)[:6],
    )


def begin_survey(journal: JobTables) -> None:
    """Forget all that was found, but for what was upgraded: everything is looked at again."""
    journal.execute("DELETE FROM file")
    journal.execute("DELETE FROM volume WHERE result != 'upgraded'")
    journal.execute("UPDATE mark SET surveying = 1")


def end_survey(journal: JobTables) -> None:
    """Note that all volumes have been judged, and let go of the files that need not be listed."""
    journal.execute("DELETE FROM file WHERE listed = ''")
    journal.execute("UPDATE mark SET surveying = 0")


def bytes_to_keep(journal: JobTables) -> int:
    """Return how many bytes of old maps the upgrades to come take away, at most."""
    query = "SELECT total(keeps) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def listed_files(journal: JobTables) -> Iterator[FoundFile]:
    """Yield the files that the user is to see."""
    rows = journal.select("SELECT * FROM file WHERE listed != '' ORDER BY path")
    return (_file(row) for row in rows)


def put_volumes(journal: JobTables, rows: Iterable[VolumeRow]) -> None:
    """Set the results of volumes; one that was upgraded in this run stays `upgraded`."""
    journal.execute_many(PUT, map(_volume_row, rows))


def drop_volumes(journal: JobTables, names: Sequence[bytes]) -> None:
    """Forget volumes that are gone."""
    rows = [(name,) for name in names]
    journal.execute_many("DELETE FROM volume WHERE name = ?", rows)


def wait_again(journal: JobTables, results: Sequence[str]) -> None:
    """Let volumes with one of these results have none yet, and their plan be seen anew."""
    rows = [(result,) for result in results]
    journal.execute_many(
        "UPDATE volume SET result = 'pending', plan = '', reason = '' WHERE result = ?", rows
    )


def pending_volumes(journal: JobTables, most: int = -1) -> Iterator[VolumeRow]:
    """Yield volumes that have no result yet, *most* of them at most (below 0: all)."""
    query = "SELECT * FROM volume WHERE result = 'pending' ORDER BY name LIMIT ?"
    return (_volume(row) for row in journal.select(query, most))


def pending_count(journal: JobTables) -> int:
    """Return how many volumes have no result yet."""
    query = "SELECT count(*) FROM volume WHERE result = 'pending'"
    return int(next(journal.select(query))[0])


def volumes(journal: JobTables) -> Iterator[VolumeRow]:
    """Yield all volumes that have a result, by name."""
    query = "SELECT * FROM volume WHERE result != 'pending' ORDER BY name"
    return (_volume(row) for row in journal.select(query))


def result_counts(journal: JobTables) -> dict[str, int]:
    """Return how many volumes have which result, those without one (`pending`) too."""
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
        file.place,
        file.path,
        signed(file.inode),
        file.length,
        file.content,
        file.listed,
    )


def _file(row: Sequence[object]) -> FoundFile:
    volume, role, prefixed, number, place, path, inode, length, content, listed = row
    return FoundFile(  # the columns have these types: see SCHEMA
        volume,  # type: ignore[arg-type]
        role,  # type: ignore[arg-type]
        bool(prefixed),
        unsigned(number),  # type: ignore[arg-type]
        place,  # type: ignore[arg-type]
        path,  # type: ignore[arg-type]
        unsigned(inode),  # type: ignore[arg-type]
        length,  # type: ignore[arg-type]
        content,  # type: ignore[arg-type]
        listed,  # type: ignore[arg-type]
    )


def _volume_row(row: VolumeRow) -> tuple[Column, ...]:
    """Sizes and epochs have 64 bits: as text they fit."""
    wide = (None if n is None else str(n) for n in (row.objects, row.size, row.epoch))
    texts = (row.name, row.result, row.reason, row.plan, row.map_name)
    return (*texts, min(row.keeps, MOST_KEPT), row.version, *wide)


def _volume(row: Sequence[str | None]) -> VolumeRow:
    *first, objects, size, epoch = row
    numbers = (None if text is None else int(text) for text in (objects, size, epoch))
    return VolumeRow(*first, *numbers)  # type: ignore[arg-type]
