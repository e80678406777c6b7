"""The tables of a run of prelink, beside those of relocate: `found`, `waiting`, `class`, `volume`.

object   blocks that have both names, by digest, and their inode
map      maps that were moved, the directory in which v0.3 had them, and their inode
walk     first directories that are still to be walked, by root
undone   packed actions that failed, to be tried again
phase    the phase; when its pass, and when the latest whole pass over all blocks, began

A row of `walk` goes in the transaction that finishes the first unit made of it, a row of `object`
comes in the one that finishes, or settles, its link. What was judged waits in `waiting` before any
of it is done, and nothing is judged twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..model import JobTables
from ..packed.moves import Root
from ..relocate import tables as of_relocate
from .phases import Phase

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (digest BLOB PRIMARY KEY, inode INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS map (
    name BLOB PRIMARY KEY, directory BLOB NOT NULL, inode INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS walk (
    root INTEGER NOT NULL, name BLOB NOT NULL, PRIMARY KEY (root, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undone (body BLOB NOT NULL, actions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS phase (
    name TEXT NOT NULL, began INTEGER NOT NULL, passed INTEGER NOT NULL);
"""
# Names of the first level, in which all blocks of v0.3 lie.
TOPS = tuple(b"%02x" % number for number in range(256))
SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Linked:
    """A block that has both names."""

    digest: bytes
    inode: int


@dataclass(frozen=True, slots=True)
class MovedMap:
    """A map that was moved, and where v0.3 had it."""

    name: bytes
    directory: bytes
    inode: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run is.

    `began` is when the phase, or this pass of phase 1, began; `passed` when the latest pass that
    has come to its end began; both in ns by the clock of the filesystem. 0: none has.
    """

    phase: Phase
    began: int = 0
    passed: int = 0


def prepare_tables(journal: JobTables) -> None:
    """Make the tables that are missing. A new journal begins with a pass of phase 1."""
    of_relocate.prepare_tables(journal)
    for statement in SCHEMA.split(";"):
        journal.execute(statement)
    if not next(journal.select("SELECT count(*) FROM phase"))[0]:
        journal.execute("INSERT INTO phase VALUES (?, 0, 0)", Phase.LINK)
        put_walks(journal, Root.BLOCKS, TOPS)


def standing(journal: JobTables) -> Standing:
    """Return where a run is."""
    if not _are_prepared(journal):
        return Standing(Phase.LINK)
    ((name, began, passed),) = journal.select("SELECT name, began, passed FROM phase")
    return Standing(Phase(name), began, passed)


def set_standing(journal: JobTables, now: Standing) -> None:
    """Note where a run is from now on."""
    journal.execute(
        "UPDATE phase SET name = ?, began = ?, passed = ?", now.phase, now.began, now.passed
    )


# -- what is to be walked


def put_walks(journal: JobTables, root: Root, names: Iterable[bytes]) -> None:
    """Add first directories that are to be walked; `b""` is the root itself."""
    rows = [(int(root), name) for name in names]
    journal.execute_many("INSERT OR IGNORE INTO walk VALUES (?, ?)", rows)


def end_walk(journal: JobTables, root: Root, name: bytes) -> None:
    """Forget a directory: a unit in the frontier stands for it now."""
    journal.execute("DELETE FROM walk WHERE root = ? AND name = ?", int(root), name)


def walks(journal: JobTables) -> list[tuple[Root, bytes]]:
    """Return the directories that are to be walked."""
    return [
        (Root(r), n) for r, n in journal.select("SELECT root, name FROM walk ORDER BY root, name")
    ]


# -- what is known


def put_objects(journal: JobTables, objects: Iterable[Linked]) -> None:
    """Add blocks that have both names, or replace their inodes."""
    rows = [(row.digest, stored(row.inode)) for row in objects]
    journal.execute_many("INSERT OR REPLACE INTO object VALUES (?, ?)", rows)


def forget_objects(journal: JobTables, digests: Iterable[bytes]) -> None:
    """Forget blocks: they have not, or not for us, both names."""
    journal.execute_many("DELETE FROM object WHERE digest = ?", [(d,) for d in digests])


def put_maps(journal: JobTables, maps: Iterable[MovedMap]) -> None:
    """Add maps that were moved."""
    rows = [(row.name, row.directory, stored(row.inode)) for row in maps]
    journal.execute_many("INSERT OR REPLACE INTO map VALUES (?, ?, ?)", rows)


def forget_maps(journal: JobTables, names: Iterable[bytes]) -> None:
    """Forget maps: v0.3 has them again."""
    journal.execute_many("DELETE FROM map WHERE name = ?", [(name,) for name in names])


def moved_maps(journal: JobTables) -> Iterator[MovedMap]:
    """Yield the maps that were moved."""
    for name, directory, inode in journal.select("SELECT name, directory, inode FROM map"):
        yield MovedMap(name, directory, loaded(inode))


def linked_count(journal: JobTables) -> int:
    """Return how many blocks have both names."""
    if not _are_prepared(journal):
        return 0
    return int(next(journal.select("SELECT count(*) FROM object"))[0])


# -- what failed


def put_undone(journal: JobTables, body: bytes, actions: int) -> None:
    """Keep packed actions that failed."""
    journal.execute("INSERT INTO undone VALUES (?, ?)", body, actions)


def retry_undone(journal: JobTables) -> None:
    """Have the actions that failed wait again."""
    for body, actions in list(journal.select("SELECT body, actions FROM undone")):
        of_relocate.put_waiting(journal, of_relocate.Waiting(body, actions))
    journal.execute("DELETE FROM undone")


def forget_waiting(journal: JobTables) -> None:
    """Forget what waits: it will be judged anew."""
    journal.execute("DELETE FROM waiting")
    journal.execute("DELETE FROM undone")


def begin_walk(journal: JobTables, *, maps: bool) -> None:
    """Have all blocks, and perhaps maps, walked."""
    journal.execute("DELETE FROM walk")
    put_walks(journal, Root.BLOCKS, TOPS)
    if maps:
        put_walks(journal, Root.MAPS, [b""])


def _are_prepared(journal: JobTables) -> bool:
    """Whether the tables are there: a kill may have come first."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'phase'"
    return next(journal.select(query), None) is not None


def stored(inode: int) -> int:
    """Return an inode as SQLite can store it: its integers have a sign."""
    return inode - (inode & SIGN) * 2


def loaded(inode: int) -> int:
    """Return an inode that was stored."""
    return inode & (2 * SIGN - 1)
