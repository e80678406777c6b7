"""Finds entries that an undo does not find under their names any more, by their inodes.

An entry is sought only if its identity is known: that and the inode show that it is the one that
the run changed, whatever its name is now. Journals of earlier versions have no identities: there it
must have been born before the run's changes. What is to be sought is noted in a table of the undo's
journal. Once all else is done it becomes units, each a walk of the share.
Of an entry that the run retried all attempts are sought.

    body        MARK, then parts (see `retried`): the changes whose entries are sought
    pre-image   u32 length, the body, then for each entry that was found u64 batch, u32 index,
                u64 inode of the directory that it is in, u64 its own, u8 whether it was made
                again, u32 length, its path now
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from ..backend.python.border import Border
from ..backend.python.identity import identity_of
from ..backend.python.statx import status as status_of
from ..journal.store import Journal
from ..model import IdentityKind, JobTables, Known, Remade, StopFlag, TablesWrite, Unit
from ..packed.changes import Change, ChangeWriter, Flag
from ..tree.beneath import PIN, open_beneath
from .retried import Part, parts_of, read_parts

MARK = Part((1 << 64) - 1, frozenset()).pack()
LENGTH = struct.Struct("<I")
FOUND = struct.Struct("<QIQQ?I")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Entries that are sought in one walk; each takes some 500 bytes of memory.
AT_ONCE = 500_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS lost (
    batch INTEGER, change INTEGER, seal INTEGER, PRIMARY KEY (batch, change)
) WITHOUT ROWID
"""
SEALED = ("lost", "batch, change")


@dataclass(frozen=True, slots=True)
class Found:
    """Where the entry of a change is now; `within` is the inode of the directory that it is in."""

    batch: int
    index: int
    within: int
    path: bytes
    inode: int
    is_remade: bool = False  # a file that was made again: it has another identity


# -- the journal


def note_lost(lost: Sequence[tuple[int, int]]) -> TablesWrite:
    """Return the write that notes what to seek: batches, and indices in them."""

    def write(journal: JobTables) -> None:
        journal.execute(SCHEMA)
        journal.add_seals(*SEALED)
        journal.execute_many("REPLACE INTO lost VALUES (?1, ?2, sealed('lost', ?1, ?2))", lost)

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
    journal.check_seals(*SEALED)
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
        FOUND.pack(one.batch, one.index, one.within, one.inode, one.is_remade, len(one.path))
        + one.path
        for one in found
    )


def read_found(packed: bytes) -> Iterator[Found]:
    """Yield what `pack_found` packed."""
    at = 0
    while at < len(packed):
        batch, index, within, inode, is_remade, length = FOUND.unpack_from(packed, at)
        at += FOUND.size
        yield Found(batch, index, within, packed[at : at + length], inode, is_remade)
        at += length


# -- the share


def tells_inodes_apart(root: int, known: Known, index: int) -> bool:
    """Say whether the entry of a change can be told from others, wherever it is in the share.

    *root* is a descriptor of the share's root, or -1.
    """
    if root < 0:
        return False
    status = status_of(root)
    if known.kind in (IdentityKind.BIRTH, IdentityKind.HANDLE) and known.identity(index):
        return identity_of(known.kind, root, status) != 0
    return status.born != 0


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


def is_entry(root: int, path: bytes, known: Known, index: int) -> bool:
    """Say whether what is at a path, which has the inode number of a change's entry, is that one.

    For what `tells_inodes_apart`. Of an entry on another device than the root, a layer of an
    overlay, nothing is known.
    """
    try:
        fd = open_beneath(root, path, PIN)
    except OSError:
        return False
    try:
        if os.fstat(fd).st_dev != os.fstat(root).st_dev:
            return False
        status = status_of(fd)
    except OSError:
        return False
    else:
        if known.kind in (IdentityKind.BIRTH, IdentityKind.HANDLE) and known.identity(index):
            return identity_of(known.kind, fd, status) == known.identity(index)
        return 0 < status.born < known.born_before
    finally:
        os.close(fd)


def find_remade(root: int, change: Change, files: Sequence[Remade]) -> tuple[int, int] | None:
    """Return the inodes of a change's directory and of its file, if that is one of *files*."""
    if not files or change.directory:
        return None
    try:
        fd = open_beneath(root, change.path, PIN)
    except OSError:
        return None
    try:
        now = os.fstat(fd)
        attrs = now.st_mode, now.st_uid, now.st_gid, now.st_size, now.st_mtime_ns
        if attrs not in {(f.mode, f.uid, f.gid, f.size, f.mtime) for f in files}:
            return None
        directory = open_beneath(root, change.path.rpartition(b"/")[0], DIRECTORY)
    except OSError:
        return None
    finally:
        os.close(fd)
    try:
        return os.fstat(directory).st_ino, now.st_ino
    finally:
        os.close(directory)


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


def moved_changes(moved: Sequence[tuple[Change, Found]]) -> bytes:
    """Pack changes of one run for the paths that their entries have now, in that order."""
    first = moved[0][0]
    writer = ChangeWriter(first.new_gid, first.new_uid)
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
            found.inode,
            written,
        )
        writer.leave()
    return writer.finish()
