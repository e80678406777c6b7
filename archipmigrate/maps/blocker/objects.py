"""Where the objects of a volume lie: where v0.4 looks for them, or where v0.3 left them.

A volume whose map is v2 while its objects lie at v0.3's places opens, and no data of it can be
read; the first write to an object then hides the old one. So whoever upgrades a map looks first.

Some objects stand for all: the first, the last, and a few chosen by the volume's name. Entries of
zeros are not stored. Objects are asked for by name: no directory is listed. Reads only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ...layout.names import is_digest
from ...layout.placement import Placement, placements
from ...tree.files import DirPath, Tree, same_content
from ..format.codec import Codec
from ..format.head import Head
from ..format.v2 import ENTRY, ENTRY_SIZE, LONGEST_NAME, EntryFlag
from .entries import ENTRIES, read_entries
from .volume_files import VolumeFile

CHOSEN = 4  # beside the first and the last
WINDOW = 64  # entries that are read at first to find one that is not of zeros
WHOLE = 1024  # a map of no more entries is read in one piece, once
ZERO = int(EntryFlag.ZERO)  # `&` of an IntFlag takes ten times as long


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object's file: whose rule its place follows, its path, and its status."""

    placement: Placement
    path: DirPath
    status: os.stat_result


@dataclass(slots=True)
class Whereabouts:
    """Where the objects that were looked at lie.

    `misplaced` is the first one found where v0.4 does not look, or (where all are looked for) that
    one of another content hides there; with that the looking ends.
    `missing` were found nowhere, `first_missing` is the name of the first of them.
    """

    looked: int = 0
    misplaced: FoundObject | None = None
    missing: int = 0
    first_missing: bytes = b""


@dataclass(frozen=True, slots=True)
class Objects:
    """The blocker's directory of objects; with `every`, all are looked for, not only some."""

    tree: Tree
    every: bool

    def look(self, maps: Tree, file: VolumeFile, head: Head, codec: Codec) -> Whereabouts:
        """Look for objects that the map in *file* names. Raises OSError."""
        entries = _Entries(maps, file, head, codec)
        where = Whereabouts()
        for name in entries.all_names() if self.every else entries.some_names():
            where.looked += 1
            found = find_object(self.tree, name)
            if found is None:
                where.first_missing = where.first_missing or name
                where.missing += 1
            elif found.placement is Placement.V03:
                where.misplaced = found
            elif self.every:
                where.misplaced = hidden_object(self.tree, name, found)
            if where.misplaced is not None:
                break
        return where


def find_object(tree: Tree, name: bytes) -> FoundObject | None:
    """Find an object where v0.4 looks for it, else where v0.3 put it. Raises OSError.

    An empty file of 64 hex digits at v0.3's place is none: v0.3 makes one of what it only reads.
    """
    if b"/" in name or b"\0" in name:
        return None
    for placement, parent in placements(name):
        path = (*parent, name)
        found = tree.status(path)
        if found is None:
            continue
        if placement is not Placement.V03 or found.st_size or not is_digest(name):
            return FoundObject(placement, path, found)
    return None


def hidden_object(tree: Tree, name: bytes, found: FoundObject) -> FoundObject | None:
    """Return a file of an object's name and other content where v0.3 put it; None if there is none.

    *found*, where v0.4 looks, hides it: a guest wrote under v0.4 before the object was moved.
    Raises OSError.
    """
    for placement, parent in placements(name):
        path = (*parent, name)
        if placement is not Placement.V03 or path == found.path:
            continue
        other = tree.status(path)
        if other is None or os.path.samestat(other, found.status):
            continue
        if is_digest(name) and not other.st_size:
            continue
        with tree.directory(parent) as old, tree.directory(found.path[:-1]) as new:
            if not same_content(old, new, name):
                return FoundObject(placement, path, other)
    return None


class _Entries:
    """The entries of one map, with the names of objects that are stored."""

    def __init__(self, tree: Tree, file: VolumeFile, head: Head, codec: Codec) -> None:
        self._source = tree, file, head
        self._codec, self._whole = codec, b""
        self._name, self._total = file.name, head.objects
        if self._total <= WHOLE:
            self._whole = self._read(0, self._total)

    def all_names(self) -> Iterator[bytes]:
        for at in range(0, self._total, ENTRIES):
            for _, name in self._window(at, ENTRIES):
                yield name

    def some_names(self) -> Iterator[bytes]:
        """Yield the first, the last and a few more."""
        first = self._first()
        if first is None:
            return
        some = dict([first, self._last()])
        for number in range(CHOSEN):
            digest = hashlib.sha256(b"%s %d" % (self._name, number)).digest()
            window = self._window(int.from_bytes(digest[:8], "big") % self._total, WINDOW)
            some.update(islice(window, 1))
        yield from some.values()

    def _first(self) -> tuple[int, bytes] | None:
        at, size = 0, WINDOW
        while at < self._total:
            if found := next(self._window(at, size), None):
                return found
            at, size = at + size, min(2 * size, ENTRIES)
        return None

    def _last(self) -> tuple[int, bytes]:
        """Return the last one; there is a first one."""
        end, size = self._total, WINDOW
        while not (found := list(self._window(max(end - size, 0), min(size, end)))):
            end, size = end - size, min(2 * size, ENTRIES)
        return found[-1]

    def _window(self, start: int, count: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and name of each stored object of *count* entries from *start* on."""
        raw = self._read(start, min(count, self._total - start))
        for number, (flags, length, name) in enumerate(ENTRY.iter_unpack(raw), start):
            if not flags & ZERO and length <= LONGEST_NAME:
                yield number, name[:length]

    def _read(self, start: int, count: int) -> bytes:
        if self._whole:
            return self._whole[start * ENTRY_SIZE : (start + count) * ENTRY_SIZE]
        return read_entries(*self._source, start, count, self._codec)
