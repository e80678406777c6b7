"""Finds entries that an undo does not find under their names any more, by their inodes.

An entry is sought only where the filesystem tells when an inode was born: that and the inode show
that it is the one that the run changed, whatever its name is now. What is to be sought is noted in
a table of the undo's journal. Once all else is done it becomes units, each a walk of the share.
Entries that the run had to retry are not sought.

    body        MARK, then parts (see `retried`): the changes whose entries are sought
    pre-image   u32 length, the body, then for each entry that was found u64 batch, u32 index,
                u64 inode of the directory that it is in, u32 length, its path now
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from ..backend.python.border import Border
from ..backend.python.statx import birth_time
from ..journal.store import Journal
from ..model import JobTables, StopFlag, TablesWrite, Unit
from ..packed.changes import Change, ChangeWriter, Flag
from ..tree.beneath import PIN, open_beneath
from .retried import Part, parts_of, read_parts

MARK = Part((1 << 64) - 1, frozenset()).pack()
LENGTH = struct.Struct("<I")
FOUND = struct.Struct("<QIQI")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Entries that are sought in one walk; each takes some 500 bytes of memory.
AT_ONCE = 500_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS lost (
    batch INTEGER, change INTEGER, PRIMARY KEY (batch, change)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Found:
    """Where the entry of a change is now; `within` is the inode of the directory that it is in."""

    batch: int
    index: int
    within: int
    path: bytes


# -- the journal


def note_lost(lost: Sequence[tuple[int, int]]) -> TablesWrite:
    """Return the write that notes what to seek: batches, and indices in them."""

    def write(journal: JobTables) -> None:
        journal.execute(SCHEMA)
        journal.execute_many("REPLACE INTO lost VALUES (?, ?)", lost)

    return write


def end_search(parts: Sequence[Part]) -> TablesWrite:
    """Return the write that ends a search, whatever it found."""
    rows = [(part.batch, index) for part in parts for index in part.indices or ()]
    return lambda journal: journal.execute_many(
        "DELETE FROM lost WHERE batch = ? AND change = ?", rows
    )


def search_units(journal: Journal) -> list[Unit]:
    """Return a unit that seeks what was noted, if there is anything."""
    if not list(journal.select("SELECT 1 FROM sqlite_master WHERE name = 'lost'")):
        return []
    query = "SELECT batch, change FROM lost ORDER BY batch, change LIMIT ?"
    rows = list(journal.select(query, AT_ONCE))
    return [Unit(pack_search(parts_of(rows)), counted=True)] if rows else []


# -- units and pre-images


def pack_search(parts: Sequence[Part]) -> bytes:
    """Return the body of a unit that seeks the changes of *parts*."""
    return MARK + b"".join(part.pack() for part in parts)


def is_search(body: bytes) -> bool:
    """Say whether a unit seeks entries."""
    return body.startswith(MARK)


def read_search(body: bytes) -> list[Part]:
    """Return what a unit seeks."""
    return list(read_parts(body[len(MARK) :]))


def pack_found(found: Sequence[Found]) -> bytes:
    """Pack what a walk found."""
    return b"".join(
        FOUND.pack(one.batch, one.index, one.within, len(one.path)) + one.path for one in found
    )


def read_found(packed: bytes) -> Iterator[Found]:
    """Yield what `pack_found` packed."""
    at = 0
    while at < len(packed):
        batch, index, within, length = FOUND.unpack_from(packed, at)
        at += FOUND.size
        yield Found(batch, index, within, packed[at : at + length])
        at += length


# -- the share


def tells_births(root: int) -> bool:
    """Say whether entries of a share can be sought; *root* is its descriptor, or -1."""
    return root >= 0 and birth_time(root) != 0


def is_at(root: int, change: Change) -> bool:
    """Say whether the inode of a change still has its name."""
    try:
        fd = open_beneath(root, change.path, PIN)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_ino == change.inode
    finally:
        os.close(fd)


def born_before(root: int, path: bytes, time: int) -> bool:
    """Say whether an entry is known to have been born before *time*.

    Of an entry on another device than the root, a layer of an overlay, nothing is known.
    """
    try:
        fd = open_beneath(root, path, PIN)
    except OSError:
        return False
    try:
        is_apart = os.fstat(fd).st_dev != os.fstat(root).st_dev
        return not is_apart and 0 < birth_time(fd) < time
    finally:
        os.close(fd)


class SeveralDevices(Exception):
    """The share has subvolumes, which number their inodes apart: a change does not say which."""


def walk(
    root: int, wanted: Mapping[int, object], stop: StopFlag
) -> Iterator[tuple[int, int, bytes]]:
    """Yield entries with *wanted* inodes: inode, inode of the directory that it is in, path.

    Of a directory the second one is its own. Other filesystems are not entered, nor directories
    that cannot be read. Ends early once *stop* is set. Raises SeveralDevices.
    """
    border, device = Border.of(root), os.fstat(root).st_dev
    waiting = [b""]
    while waiting and not stop[0]:
        path = waiting.pop()
        with suppress(OSError):
            fd = open_beneath(root, path, DIRECTORY)
            try:
                status = os.fstat(fd)
                if border.is_outside(fd, status.st_dev):
                    continue
                if status.st_dev != device:
                    raise SeveralDevices
                if status.st_ino in wanted:
                    yield status.st_ino, status.st_ino, path
                with closing(os.scandir(fd)) as entries:
                    for entry in entries:
                        below = b"/".join((path, os.fsencode(entry.name))).lstrip(b"/")
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(below)
                        elif entry.inode() in wanted:
                            yield entry.inode(), status.st_ino, below
            finally:
                os.close(fd)


def moved_changes(new_gid: int, moved: Sequence[tuple[Change, Found]]) -> bytes:
    """Pack changes for the paths that their entries have now, in that order."""
    writer = ChangeWriter(new_gid)
    for change, found in moved:
        if stat.S_ISDIR(change.mode):
            writer.enter(found.path, change.inode)
            writer.leave((change.mode, change.new_mode, change.uid, change.gid))
            continue
        directory, _, name = found.path.rpartition(b"/")
        writer.enter(directory, found.within)
        written = (change.size, change.mtime) if change.flags & Flag.SETID else None
        writer.change(
            name,
            change.flags & Flag.SETID,
            change.mode,
            change.new_mode,
            change.uid,
            change.gid,
            change.inode,
            written,
        )
        writer.leave()
    return writer.finish()
