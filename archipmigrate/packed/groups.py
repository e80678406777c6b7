"""Groups: the body of a unit, which is directories and in each the names to look at.

    group   u32 keep, u32 suffix length, u64 inode, u32 names length, suffix, names
    name    u8 hint, u8 length, bytes

A group's path is the first `keep` bytes of the previous group's path, followed by `suffix` (front
coding: a stack of directories takes no more room than its deepest path). Inode 0 means "not known
yet". If the directory at that path has another inode by now, all of it is walked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from ..model import Unit

GROUP = struct.Struct("<IIQI")


class Hint(IntEnum):
    """What is known about a name before it is looked at."""

    WALK = ord("w")  # the group's directory itself and everything in it; the name is empty
    SELF = ord("s")  # the group's directory itself, without its content; the name is empty
    DIRECTORY = ord("d")  # a directory to walk
    ENTRY = ord("e")  # anything


@dataclass(frozen=True, slots=True)
class Group:
    """A directory (path from the share's root, inode or 0) and names in it with their hints."""

    path: bytes
    inode: int
    names: tuple[tuple[int, bytes], ...]


def whole(path: bytes = b"", inode: int = 0) -> Group:
    """Return the group that walks a directory and everything in it."""
    return Group(path, inode, ((Hint.WALK, b""),))


def pack_groups(groups: Iterable[Group]) -> bytes:
    """Pack groups into a unit's body."""
    return walk_unit(groups).body


def unpack_groups(body: bytes) -> Iterator[Group]:
    """Yield the groups of a unit's body. Raises ValueError if it is malformed."""
    at, path = 0, b""
    while at < len(body):
        if at + GROUP.size > len(body):
            raise ValueError(f"group cut off at {at}")
        keep, more, inode, length = GROUP.unpack_from(body, at)
        at += GROUP.size
        end = at + more + length
        if end > len(body) or keep > len(path):
            raise ValueError(f"group longer than the body at {at}")
        path = path[:keep] + body[at : at + more]
        at += more
        names = []
        while at < end:
            after = at + 2 + (body[at + 1] if at + 1 < end else end)
            if after > end:
                raise ValueError(f"name of a group cut off at {at}")
            names.append((body[at], body[at + 2 : after]))
            at = after
        yield Group(path, inode, tuple(names))


def walk_unit(groups: Iterable[Group], *, retries: int = 0, counted: bool = False) -> Unit:
    """Return the unit of *groups*, which are packed in the order given."""
    out = bytearray()
    entries = 0
    previous = b""
    for group in groups:
        keep = _common(previous, group.path)
        suffix = group.path[keep:]
        names = b"".join(bytes((hint, len(name))) + name for hint, name in group.names)
        out += GROUP.pack(keep, len(suffix), group.inode, len(names)) + suffix + names
        entries += len(group.names)
        previous = group.path
    return Unit(bytes(out), entries, retries, counted)


def split_unit(unit: Unit, parts: int) -> list[Unit]:
    """Split a unit into at most *parts* units of about the same work.

    Every part gets some names of every group, since a name high up stands for much more work than
    one deep down: split by the number of names alone, one part would get most of the work.
    """
    cut: list[list[Group]] = [[] for _ in range(parts)]
    turn = 0
    for group in unpack_groups(unit.body):
        for index in range(min(parts, len(group.names))):
            names = group.names[index::parts]
            cut[(turn + index) % parts].append(Group(group.path, group.inode, names))
        turn += len(group.names)
    return [
        replace(unit, body=pack_groups(part), entries=sum(len(g.names) for g in part))
        for part in cut
        if part
    ] or [unit]


def own_unit(path: bytes, directories: Sequence[tuple[int, int]]) -> Unit | None:
    """Return the unit, already counted, that looks at directories themselves; None for none.

    They are *path* and directories above it, deepest first: lengths of their paths, and inodes.
    """
    own = ((Hint.SELF, b""),)
    groups = (Group(path[:end], inode, own) for end, inode in reversed(directories))
    return walk_unit(groups, counted=True) if directories else None


def join_units(units: Iterable[Unit]) -> Unit:
    """Return one unit, already counted, of the names in all of these, each once.

    Groups are in the order of a walk: each directory comes before those in it.
    """
    names: dict[bytes, dict[tuple[int, bytes], None]] = {}
    inodes: dict[bytes, int] = {}
    for unit in units:
        for group in unpack_groups(unit.body):
            names.setdefault(group.path, {}).update(dict.fromkeys(group.names))
            inodes.setdefault(group.path, group.inode)
    order = sorted(names, key=lambda path: path.split(b"/") if path else [])
    return walk_unit(
        [Group(path, inodes[path], tuple(names[path])) for path in order], counted=True
    )


def _common(a: bytes, b: bytes) -> int:
    """Return the length of the common prefix of two paths."""
    if b.startswith(a):
        return len(a)
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
