"""The tables of a run of relocate, in its journal: what the survey found, and how far the run is.

found     files that are listed, by the path that is shown, with class and note
waiting   packed moves (`packed.moves`), those of one unit of the survey a row
volume    maps whose objects are to be looked for, once all is moved
class     how many files there are of each class that are not listed
stage     what the job does: survey, move, check
crossing  how many objects, and bytes of them, are to be copied: from and to which filesystem
copy      the inode at the new place of each object that was carried, or copied, there
original  the attrs of each object that was carried: undo makes a file with these
allowed   has a row once objects may be moved by copying them
refusal   why the run stopped, or one that is no dry run would stop, before it touched anything
upgraded  v2 maps that named objects of v0.3 before the run began: its undo does not mind them

A row of `waiting` is deleted in the transaction that finishes the first unit made of it, a row of
`volume` when its map was read to the end; what was found has natural keys. So a kill repeats work,
but counts and moves nothing twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..journal.integers import TOP_BIT, signed
from ..model import JobTables, Remade
from ..packed.moves import Root
from .copying import Seen

SCHEMA = """
CREATE TABLE IF NOT EXISTS found (
    path BLOB PRIMARY KEY, class TEXT NOT NULL, note TEXT NOT NULL, volume BLOB NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY, body BLOB NOT NULL, moves INTEGER NOT NULL,
    blocks INTEGER NOT NULL, maps INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS volume (
    name BLOB PRIMARY KEY, directory BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS class (name TEXT PRIMARY KEY, files INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stage (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS crossing (
    source BLOB NOT NULL, target BLOB NOT NULL, moved INTEGER NOT NULL, objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY (source, target, moved)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copy (path BLOB PRIMARY KEY, inode BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS original (
    path BLOB PRIMARY KEY, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS allowed (what TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusal (why TEXT NOT NULL);
"""
INODE = struct.Struct("<Q")  # SQLite's integers have a sign
SURVEY, MOVE, CHECK = "survey", "move", "check"


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is listed. `volume` is whose object it is, if that is known."""

    path: bytes
    kind: str
    note: str = ""
    volume: bytes = b""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Packed moves that wait, and their number.

    `blocks` and `maps` are how many directories they need below each root.
    """

    body: bytes
    moves: int
    blocks: int = 0
    maps: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class MapToCheck:
    """A v1 map: its name, and the directory in which it was found."""

    name: bytes
    directory: bytes


@dataclass(frozen=True, slots=True)
class Crossing:
    """Objects that are to be copied, and the bytes of their data.

    `source` and `target` are directories on the two filesystems, as they are shown. `moved`: the
    originals are to go.
    """

    source: bytes
    target: bytes
    moved: bool
    objects: int = 0
    bytes: int = 0


def prepare_tables(journal: JobTables) -> None:
    """Make the tables that are missing. A new journal begins with the survey."""
    for statement in SCHEMA.split(";"):
        journal.execute(statement)
    if not next(journal.select("SELECT count(*) FROM stage"))[0]:
        journal.execute("INSERT INTO stage VALUES (?)", SURVEY)


def stage_of(journal: JobTables) -> str:
    """Return what the job does."""
    return str(next(journal.select("SELECT name FROM stage"))[0])


def set_stage(journal: JobTables, stage: str) -> None:
    """Note what the job does from now on."""
    journal.execute("UPDATE stage SET name = ?", stage)


# -- what the survey writes


def put_found(journal: JobTables, found: Iterable[Found]) -> None:
    """Add files that are listed, or replace their rows; the volume stays once it is known."""
    rows = [(row.path, row.kind, row.note, row.volume) for row in found]
    journal.execute_many(
        "INSERT INTO found VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
        "class = excluded.class, note = excluded.note, "
        "volume = CASE excluded.volume WHEN x'' THEN found.volume ELSE excluded.volume END",
        rows,
    )


def forget_found(journal: JobTables, paths: Iterable[bytes]) -> None:
    """Forget what is known of files that are looked at again."""
    journal.execute_many("DELETE FROM found WHERE path = ?", [(path,) for path in paths])


def put_waiting(journal: JobTables, waiting: Waiting) -> None:
    """Add moves that wait."""
    row = (waiting.body, waiting.moves, waiting.blocks, waiting.maps)
    journal.execute("INSERT INTO waiting VALUES (NULL, ?, ?, ?, ?)", *row)


def put_volumes(journal: JobTables, maps: Iterable[MapToCheck]) -> None:
    """Add maps whose objects are to be looked for."""
    rows = [(row.name, row.directory) for row in maps]
    journal.execute_many("INSERT OR REPLACE INTO volume VALUES (?, ?)", rows)


def add_counts(journal: JobTables, counts: Iterable[tuple[str, int]]) -> None:
    """Add to the numbers of files of classes."""
    journal.execute_many(
        "INSERT INTO class VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET "
        "files = files + excluded.files",
        list(counts),
    )


def add_crossings(journal: JobTables, crossings: Iterable[Crossing]) -> None:
    """Add to the numbers of objects that are to be copied."""
    rows = [(row.source, row.target, row.moved, row.objects, row.bytes) for row in crossings]
    journal.execute_many(
        "INSERT INTO crossing VALUES (?, ?, ?, ?, ?) ON CONFLICT (source, target, moved) DO UPDATE "
        "SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes",
        rows,
    )


def put_copies(journal: JobTables, copies: Iterable[tuple[bytes, int]]) -> None:
    """Keep the inodes of objects at their new places, by the paths that they had."""
    rows = [(path, INODE.pack(inode)) for path, inode in copies]
    journal.execute_many("INSERT OR REPLACE INTO copy VALUES (?, ?)", rows)


def put_originals(journal: JobTables, originals: Iterable[tuple[bytes, Seen]]) -> None:
    """Keep the attrs of objects that were carried, by the paths that they had."""
    rows = [
        (path, was.mode, was.uid, was.gid, was.size, signed(was.mtime % (2 * TOP_BIT)))
        for path, was in originals
    ]
    journal.execute_many("INSERT OR REPLACE INTO original VALUES (?, ?, ?, ?, ?, ?)", rows)


# -- copies


def _has_table(journal: JobTables, name: str) -> bool:
    row = journal.select("SELECT 1 FROM sqlite_schema WHERE name = ?", name)
    return next(row, None) is not None


def knows_upgraded(journal: JobTables) -> bool:
    """Whether `note_upgraded` was called; earlier versions did not."""
    return _has_table(journal, "upgraded")


def note_upgraded(journal: JobTables, names: Iterable[bytes]) -> None:
    """Keep which v2 maps name objects of v0.3, before anything is moved."""
    journal.execute("CREATE TABLE upgraded (name BLOB PRIMARY KEY) WITHOUT ROWID")
    for name in names:
        journal.execute("INSERT OR IGNORE INTO upgraded VALUES (?)", name)


def upgraded_before(journal: JobTables) -> set[bytes]:
    """Return what `note_upgraded` kept."""
    if not knows_upgraded(journal):
        return set()
    return {bytes(name) for (name,) in journal.select("SELECT name FROM upgraded")}


def has_originals(journal: JobTables) -> bool:
    """Whether attrs of objects that were carried are kept; earlier versions kept none."""
    if not _has_table(journal, "original"):
        return False
    return next(journal.select("SELECT 1 FROM original LIMIT 1"), None) is not None


def original_of(journal: JobTables, path: bytes, inode: int) -> Remade | None:
    """Return what the undo makes again in place of an object that was carried: its *inode* then.

    None if its attrs were not kept.
    """
    query = "SELECT mode, uid, gid, size, mtime FROM original WHERE path = ?"
    row = next(journal.select(query, path), None)
    return None if row is None else Remade(inode, *row)


def copy_of(journal: JobTables, path: bytes) -> int | None:
    """Return the inode of an object at its new place; None if it was not carried there."""
    row = next(journal.select("SELECT inode FROM copy WHERE path = ?", path), None)
    return None if row is None else int(INODE.unpack(row[0])[0])


def crossings_of(journal: JobTables) -> list[Crossing]:
    """Return which objects are to be copied, by the two filesystems."""
    rows = journal.select("SELECT source, target, moved, objects, bytes FROM crossing")
    return [
        Crossing(source, target, bool(moved), objects, size)
        for source, target, moved, objects, size in rows
    ]


def allow_copies(journal: JobTables) -> None:
    """Note that objects may be moved by copying them."""
    journal.execute("INSERT OR IGNORE INTO allowed VALUES ('copy')")


def may_copy(journal: JobTables) -> bool:
    """Whether objects may be moved by copying them."""
    return next(journal.select("SELECT 1 FROM allowed WHERE what = 'copy'"), None) is not None


def note_refusal(journal: JobTables, why: str) -> None:
    """Note why a run stops, or would stop, before it touched anything; "" if it does not."""
    journal.execute("DELETE FROM refusal")
    if why:
        journal.execute("INSERT INTO refusal VALUES (?)", why)


def refusal_of(journal: JobTables) -> str:
    """Return why a run stopped, or would stop, before it touched anything; "" if it did not."""
    return next((str(why) for (why,) in journal.select("SELECT why FROM refusal")), "")


# -- what the job works off


def waiting_moves(journal: JobTables, most: int) -> Iterator[Waiting]:
    """Yield the rows of moves that wait, oldest first, at most *most* moves (but one row)."""
    query = "SELECT id, body, moves, blocks, maps FROM waiting ORDER BY id"
    total = 0
    for row, body, moves, blocks, maps in journal.select(query):
        if total and total + moves > most:
            return
        total += moves
        yield Waiting(body, moves, blocks, maps, row)


def end_waiting(journal: JobTables, row: int) -> None:
    """Forget a row of moves: units in the frontier stand for it now."""
    journal.execute("DELETE FROM waiting WHERE id = ?", row)


def waiting_counts(journal: JobTables) -> dict[Root, int]:
    """Return how many directories the moves that wait need, by root."""
    ((blocks, maps),) = journal.select("SELECT total(blocks), total(maps) FROM waiting")
    return {Root.BLOCKS: int(blocks), Root.MAPS: int(maps)}


def moves_left(journal: JobTables) -> int:
    """Return how many moves wait."""
    return int(next(journal.select("SELECT total(moves) FROM waiting"))[0])


def volumes_to_check(journal: JobTables, most: int) -> list[MapToCheck]:
    """Return maps whose objects were not all looked for yet, by name, at most *most*."""
    rows = journal.select("SELECT name, directory FROM volume ORDER BY name LIMIT ?", most)
    return [MapToCheck(name, directory) for name, directory in rows]


def end_volumes(journal: JobTables, names: Sequence[bytes]) -> None:
    """Forget maps whose objects were all looked for."""
    journal.execute_many("DELETE FROM volume WHERE name = ?", [(name,) for name in names])


# -- what users see


def found_files(journal: JobTables) -> Iterator[Found]:
    """Yield the files that are listed, by class and path."""
    rows = journal.select("SELECT path, class, note, volume FROM found ORDER BY class, path")
    return (Found(*row) for row in rows)


def found_paths(journal: JobTables, kind: str, most: int) -> list[bytes]:
    """Return the paths of the files of a class that is listed, at most *most*."""
    query = "SELECT path FROM found WHERE class = ? LIMIT ?"
    return [path for (path,) in journal.select(query, kind, most)]


def class_counts(journal: JobTables) -> dict[str, int]:
    """Return how many files there are of each class."""
    if next(journal.select("SELECT 1 FROM sqlite_schema WHERE name = 'found'"), None) is None:
        return {}  # killed before the tables were there
    counts = dict(journal.select("SELECT name, files FROM class"))
    counts.update(journal.select("SELECT class, count(*) FROM found GROUP BY class"))
    return counts


def name_volume(journal: JobTables, named: Iterable[tuple[bytes, bytes]]) -> None:
    """Note of which volume the objects of these paths are."""
    rows = [(volume, path) for path, volume in named]
    journal.execute_many("UPDATE found SET volume = ? WHERE path = ?", rows)
