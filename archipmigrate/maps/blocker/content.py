"""The whole content of a volume, as v0.3 or v0.4 serves it: streamed, its digest taken.

Which of the two is asked follows from the map: a v1 map at v0.3's place is v0.3's to read, with all
objects where v0.3 looks; every other one is v0.4's. Reads objects and changes nothing. What is not
stored is zeros: entries of zeros, holes, and all after the end of an object's file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ...layout.names import is_digest, shown
from ...layout.placement import Placement, pithos_dir_of_v03, placement_of, placements, v03_dir
from ...tree.beneath import open_beneath
from ...tree.files import FILE, DirPath, Tree, read_pieces
from ..format import v1
from ..format.codec import Codec
from ..format.head import Head
from ..format.v2 import ENTRY, LONGEST_NAME, EntryFlag
from ..format.verdict import Result
from .entries import ENTRIES, BadEntry, read_entries
from .volume_files import VolumeFile, VolumeFiles

ZEROS = bytes(1 << 20)
NO_CONTENT = (Result.INVALID, Result.CONFLICT, Result.LEFTOVER)


class NoContent(Exception):
    """There is no content to a volume: its map is deleted, or not one that is served; says why."""


class MissingObject(Exception):
    """An object is nowhere where whoever serves the volume looks; the text names it."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where objects lie: the blocker's directory, and Pithos' own tree, which only v0.3 reads."""

    blocker: Tree
    pithos: Tree | None = None

    def open(self, name: bytes, *, by_v03: bool) -> int:
        """Open an object where v0.3, or v0.4, looks for it; the descriptor is the caller's.

        Raises MissingObject, OSError.
        """
        for tree, parent in self._v03_places(name) if by_v03 else self._v04_places(name):
            fd = -1
            with suppress(FileNotFoundError, NotADirectoryError):
                fd = open_beneath(tree.root, b"/".join((*parent, name)), os.O_RDONLY | FILE)
            if fd < 0:
                continue
            found = os.fstat(fd)
            # v0.3 makes an empty file of a block of Pithos that it does not find.
            is_stray = by_v03 and tree is self.blocker and is_digest(name)
            if stat.S_ISREG(found.st_mode) and (found.st_size or not is_stray):
                return fd
            os.close(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, f"{shown(name)} is no regular file")
        is_pithos = by_v03 and self.pithos is None and is_digest(name)
        hint = " (--pithos-blocks names Pithos' own tree)" if is_pithos else ""
        raise MissingObject(f"object {shown(name)} is missing{hint}")

    def _v04_places(self, name: bytes) -> Iterator[tuple[Tree, DirPath]]:
        for rule, parent in placements(name):
            if rule is not Placement.V03:
                yield self.blocker, parent

    def _v03_places(self, name: bytes) -> Iterator[tuple[Tree, DirPath]]:
        if self.pithos is not None and (parent_there := pithos_dir_of_v03(name)) is not None:
            yield self.pithos, parent_there
        if (parent_here := v03_dir(name)) is not None:
            yield self.blocker, parent_here


def content_map(files: VolumeFiles) -> tuple[VolumeFile, Head]:
    """Return the map by which the content of a volume is served. Raises NoContent."""
    verdict = files.verdict
    head = verdict.head
    if verdict.result in NO_CONTENT or head is None or head.version is None or head.is_deleted:
        raise NoContent(verdict.reason or "it is marked deleted")
    return files.of_name(prefixed=files.volume.plain.head is not head)[0], head


def volume_sha256(
    maps: Tree,
    file: VolumeFile,
    head: Head,
    codec: Codec,
    blocks: Blocks,
    seen: Callable[[int], None] = lambda _: None,
) -> str:
    """Return the sha256, in hex, of the content of the volume whose map is in *file*.

    Hashes all of its `head.size` bytes, reads what is stored of them, and keeps 1 MiB of entries in
    memory. *seen* is told how many bytes were hashed, at most 1 MiB at a time; what it raises ends
    this. Raises MissingObject, BadEntry, OSError.
    """
    digest = hashlib.sha256()
    by_v03 = head.version == v1.VERSION and placement_of(file.name, file.parent) is Placement.V03
    for number, (flags, name) in enumerate(_entries(maps, file, head, codec)):
        length = min(head.block_size, head.size - number * head.block_size)
        fd = None if flags & EntryFlag.ZERO else blocks.open(name, by_v03=by_v03)
        for piece in _zeros(length) if fd is None else _object(fd, length):
            digest.update(piece)
            seen(len(piece))
    return digest.hexdigest()


def _entries(maps: Tree, file: VolumeFile, head: Head, codec: Codec) -> Iterator[tuple[int, bytes]]:
    for at in range(0, head.objects, ENTRIES):
        count = min(ENTRIES, head.objects - at)
        raw = read_entries(maps, file, head, at, count, codec)
        for flags, length, name in ENTRY.iter_unpack(raw):
            if length > LONGEST_NAME:
                raise BadEntry("an entry has a name longer than an entry")
            yield flags, name[:length]


def _object(fd: int, length: int) -> Iterator[bytes]:
    """Yield the first *length* bytes of an object, and close it."""
    try:
        at = 0
        for start, end in _stored(fd, min(length, os.fstat(fd).st_size)):
            yield from _zeros(start - at)
            at = start
            for piece in read_pieces(fd, start, end):
                yield piece
                at += len(piece)
        yield from _zeros(length - at)
    finally:
        os.close(fd)


def _stored(fd: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the extents of data before *end*; all in one where the filesystem cannot tell."""
    at = 0
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            yield at, end
            return
        if start >= end:
            return
        at = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        yield start, at


def _zeros(length: int) -> Iterator[bytes]:
    for at in range(0, length, len(ZEROS)):
        yield ZEROS[: length - at]
