"""Moves: objects of a blocker, and the places that they go to, packed.

    move    u8 verb, u8 root, u8 directory length, u8 name length, 3 bytes place, 1 pad, u64 inode,
            directory, name; MERGE adds u64 inode, u32 mode, u32 uid, u32 gid, i64 mtime

Little-endian. `directory` is where the object lies, as a path from its root. The place is the
directory that it goes to: three names of two hex digits each, from the root of its blocker (one of
Pithos' own trees is no blocker's). What MERGE adds is the inode at the new place, and the attrs of
the old one, by which undo makes its copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

HEAD = struct.Struct("<BBBB3sxQ")
TWIN = struct.Struct("<QIIIq")


class Verb(IntEnum):
    """What happens to the two names of an object. The numbers are in journals."""

    MOVE = 1  # only the old name is there: the object gets the new one
    UNLINK = 2  # both names are of one inode: the old one goes
    MERGE = 3  # both names have the same content: the old one goes, with its inode
    CARRY = 16  # as MOVE, to where a rename may not reach: copied there, and the old name goes
    COPY = 17  # copied from Pithos' own tree, which stays as it is


class Root(IntEnum):
    """Which directory an object lies in: a blocker's, or Pithos' own. Numbers are in journals."""

    BLOCKS = 0
    MAPS = 1
    PITHOS_BLOCKS = 2
    PITHOS_MAPS = 3

    @property
    def label(self) -> bytes:
        """What paths begin with that are shown to users."""
        return LABELS[self]

    @property
    def blocker(self) -> Root:
        """The blocker's directory to which the objects of this one go."""
        return Root(self & 1)

    @property
    def pithos(self) -> Root:
        """Pithos' own directory, in which v0.3 looks before it looks in the blocker's."""
        return Root(self | 2)

    @property
    def is_pithos(self) -> bool:
        """Whether it is one of Pithos' own."""
        return self.pithos is self


LABELS = (b"blocks", b"maps", b"pithos-blocks", b"pithos-maps")
ROOTS = {root.label: root for root in Root}


@dataclass(frozen=True, slots=True)
class Twin:
    """The inode at the new place that stays, and the attrs of the old one that goes."""

    inode: int
    mode: int
    uid: int
    gid: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Move:
    """An object: where it lies, its name, its inode, and the three bytes of its new place."""

    verb: Verb
    root: Root
    directory: bytes
    name: bytes
    place: bytes
    inode: int
    twin: Twin | None = None

    @property
    def new_directory(self) -> bytes:
        """The path of the directory that it goes to, from its root."""
        return place_path(self.place)

    @property
    def path(self) -> bytes:
        """Where it lies, as it is shown."""
        return shown_path(self.root, self.directory, self.name)


def place_path(place: bytes) -> bytes:
    """Return the path of a place, from its root."""
    return b"%02x/%02x/%02x" % tuple(place)


def shown_path(root: Root, directory: bytes, name: bytes = b"") -> bytes:
    """Return the path of a name in a directory as it is shown."""
    return b"/".join(part for part in (root.label, directory, name) if part)


def pack_moves(moves: Iterable[Move]) -> bytes:
    """Pack moves. Directories and names have at most 255 bytes."""
    out = bytearray()
    for move in moves:
        directory, name = move.directory, move.name
        out += HEAD.pack(move.verb, move.root, len(directory), len(name), move.place, move.inode)
        out += directory
        out += name
        if move.twin is not None:
            twin = move.twin
            out += TWIN.pack(twin.inode, twin.mode, twin.uid, twin.gid, twin.mtime)
    return bytes(out)


def cut_moves(packed: bytes, most: int, begin: int = 0) -> tuple[int, int]:
    """Return where the first *most* moves from *begin* on end, and how many there are at most.

    Raises ValueError if they are malformed.
    """
    at = begin
    for number in range(most):
        if at >= len(packed):
            return at, number
        at = _end(packed, at)
    return at, most


def _end(packed: bytes, at: int) -> int:
    """Return where the move at *at* ends. Raises ValueError."""
    if at + HEAD.size > len(packed):
        raise ValueError(f"move cut off at {at}")
    size = HEAD.size + packed[at + 2] + packed[at + 3]
    if packed[at] == Verb.MERGE:
        size += TWIN.size
    if at + size > len(packed):
        raise ValueError(f"name of a move cut off at {at}")
    return at + size


def unpack_moves(packed: bytes, begin: int = 0) -> Iterator[Move]:
    """Yield the moves that are packed from *begin* on. Raises ValueError if it is malformed."""
    at = begin
    while at < len(packed):
        after = _end(packed, at)
        verb, root, directory_length, length, place, inode = HEAD.unpack_from(packed, at)
        name_at = at + HEAD.size + directory_length
        end = name_at + length
        twin = None
        if verb == Verb.MERGE:
            twin = Twin(*TWIN.unpack_from(packed, end))
        directory, name = packed[at + HEAD.size : name_at], packed[name_at:end]
        yield Move(Verb(verb), Root(root), directory, name, place, inode, twin)
        at = after
