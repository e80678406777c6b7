"""Actions: what is done with one object, packed.

    action   u8 verb, u8 name length, u8 directory length, 1 pad, u64 inode, u64 other inode,
             name, directory

Little-endian. Of a block the name is its digest, 32 bytes, and there is no directory: both of its
places follow from the name. `directory` is where v0.3 has a map.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from ..layout.names import PREFIX
from ..packed.moves import Root, shown_path
from ..relocate.places import sha256_directory

HEAD = struct.Struct("<BBBxQQ")
DIGEST = 32  # bytes


class Verb(IntEnum):
    """What is done. The numbers are in journals."""

    LINK = 1  # a block gets its second name, at its new place
    REMAKE = 2  # a block that was made again takes the new place of `other`, which is kept aside
    ASIDE = 3  # a block that v0.3 has deleted leaves its new place, and is kept aside
    MAP = 4  # a map is copied, then moved
    DROP = 5  # the old name goes; if it is the last one, it is kept aside
    RELINK = 6  # a block gets its old name again
    MAP_BACK = 7  # a map returns, or its copy
    UNNAME = 8  # the second name goes; if it is the last one, it is kept aside


@dataclass(frozen=True, slots=True)
class Action:
    """What is done with one object; `inode` is the one that is meant."""

    verb: Verb
    key: bytes  # a digest, or the name of a map
    inode: int
    other: int = 0
    directory: bytes = b""

    @property
    def root(self) -> Root:
        """The blocker's directory that the object lies in."""
        return Root.MAPS if self.verb in (Verb.MAP, Verb.MAP_BACK) else Root.BLOCKS

    @property
    def name(self) -> bytes:
        """The name of the file."""
        return self.key if self.root is Root.MAPS else block_name(self.key)

    @property
    def old(self) -> bytes:
        """The directory in which v0.3 looks for it."""
        return self.directory if self.root is Root.MAPS else block_directory(self.key)

    @property
    def new(self) -> bytes:
        """The directory in which v0.4 looks for it."""
        return sha256_directory(self.name)

    @property
    def path(self) -> bytes:
        """Where it lies, as it is shown."""
        return shown_path(self.root, self.old, self.name)


def block_name(digest: bytes) -> bytes:
    """Return the name of a block."""
    return PREFIX + digest.hex().encode()


def block_directory(digest: bytes) -> bytes:
    """Return the directory in which v0.3 puts a block: the bytes 7 to 12 of its name."""
    return b"%02x/%02x/%02x" % tuple(digest[:3])


def pack_actions(actions: Iterable[Action]) -> bytes:
    """Pack actions. Names and directories have at most 255 bytes."""
    out = bytearray()
    for action in actions:
        key, directory = action.key, action.directory
        out += HEAD.pack(action.verb, len(key), len(directory), action.inode, action.other)
        out += key + directory
    return bytes(out)


def unpack_actions(packed: bytes) -> Iterator[Action]:
    """Yield the actions that are packed. Raises ValueError if they are malformed."""
    at = 0
    while at < len(packed):
        if at + HEAD.size > len(packed):
            raise ValueError(f"action cut off at {at}")
        verb, length, more, inode, other = HEAD.unpack_from(packed, at)
        at += HEAD.size
        end = at + length + more
        if end > len(packed):
            raise ValueError(f"name of an action cut off at {at}")
        yield Action(Verb(verb), packed[at : at + length], inode, other, packed[at + length : end])
        at = end
