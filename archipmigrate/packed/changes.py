"""Changes: pre-images, which say what an entry was and what it is to become.

Directory frames have the names of directories, so that no entry needs a full path. A directory's
own change comes after its content.

    header  u8 version, 1 pad, u8 bounded, 1 pad, u32 new gid, [version 2: u32 new uid]
    ENTER   u8 1, 3 pad, u32 name length, u64 inode, name   (the first is a path from the root)
    CHANGE  u8 2, u8 flags, u16 name length, u16 mode, u16 new mode, u32 uid, u32 gid, u64 inode,
            [SETID: u64 size, i64 mtime], name
    LEAVE   u8 3
    OWN     u8 4, then as CHANGE without a name: the directory's own change, and leaves it

Version 2 gives entries another owner, too; in version 1 each keeps its own. `bounded` is 1 if the
scan did not enter other mounts: a change that finds its entry on one is not made. It is 0 in what
earlier versions of the program wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from ..policy import NO_ID

OF_GROUP, OF_OWNER_AND_GROUP = 1, 2  # versions
HEADER = struct.Struct("<BxBxI")
OWNER = struct.Struct("<I")
ENTER = struct.Struct("<B3xIQ")
CHANGE = struct.Struct("<BBHHHIIQ")
SETID = struct.Struct("<Qq")


@dataclass(frozen=True, slots=True)
class Header:
    """What all changes of a buffer have in common; `uid` is NO_ID if entries keep their owners."""

    uid: int
    gid: int
    bounded: bool
    size: int  # bytes

    @classmethod
    def of(cls, changes: bytes) -> Header:
        """Read the header of a buffer. Raises ValueError if its version is not known."""
        version, bounded, gid = HEADER.unpack_from(changes)
        if version == OF_GROUP:
            return cls(NO_ID, gid, bool(bounded), HEADER.size)
        if version != OF_OWNER_AND_GROUP:
            known = f"{OF_GROUP} or {OF_OWNER_AND_GROUP}"
            raise ValueError(f"changes of version {version}, not {known}")
        (uid,) = OWNER.unpack_from(changes, HEADER.size)
        return cls(uid, gid, bool(bounded), HEADER.size + OWNER.size)

    def pack(self) -> bytes:
        """Return the header in its packed form."""
        if self.uid == NO_ID:
            return HEADER.pack(OF_GROUP, self.bounded, self.gid)
        return HEADER.pack(OF_OWNER_AND_GROUP, self.bounded, self.gid) + OWNER.pack(self.uid)


class Kind(IntEnum):
    """The first byte of a frame."""

    ENTER = 1
    CHANGE = 2
    LEAVE = 3
    OWN = 4


class Flag(IntFlag):
    """The second byte of a change."""

    SETID = 1  # loses set-id bits; size and mtime follow, by which undo sees whether somebody wrote
    LINKED = 2  # more than one link
    DROPPED = 4  # another change covers this inode


# As plain numbers, for loops over many records: testing a member of an IntFlag takes 2 us.
SETID_FLAG, LINKED_FLAG, DROPPED_FLAG = int(Flag.SETID), int(Flag.LINKED), int(Flag.DROPPED)
ENTER_KIND, CHANGE_KIND, LEAVE_KIND, OWN_KIND = (int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Change:
    """One change, decoded. `path` is from the share's root; modes include the file type.

    `new_uid` is NO_ID if the entry keeps its owner, as all in its buffer do.
    """

    index: int
    offset: int
    path: bytes
    directory: bool
    flags: int
    mode: int
    new_mode: int
    uid: int
    gid: int
    new_uid: int
    new_gid: int
    inode: int
    within: int  # inode of the directory that the entry is in, or (a directory) itself
    size: int = 0
    mtime: int = 0

    @property
    def keeps_owner(self) -> bool:
        """Say whether the entry has the same owner before and after."""
        return self.new_uid in (NO_ID, self.uid)


class ChangeWriter:
    """Writes changes frame by frame, as a walk finds them.

    `enter` and `leave` bracket directories; a directory's frame is written only when something in
    it has to change. The number of changes so far is `count`, that of directory frames `entered`.
    """

    def __init__(self, new_gid: int, new_uid: int = NO_ID, *, bounded: bool = False) -> None:
        self.out = bytearray(Header(new_uid, new_gid, bounded, 0).pack())
        self.count = 0
        self.entered = 0
        self._pending: list[tuple[bytes, int]] = []
        self._frames: list[int] = []  # numbers of the frames of those that have one

    def enter(self, name: bytes, inode: int) -> None:
        """Enter a directory; the outermost name is a path from the root."""
        self._pending.append((name, inode))

    def _flush(self) -> None:
        for name, inode in self._pending[len(self._frames) :]:
            self.out += ENTER.pack(ENTER_KIND, len(name), inode) + name
            self._frames.append(self.entered)
            self.entered += 1

    def change(
        self,
        name: bytes,
        flags: int,
        mode: int,
        new_mode: int,
        uid: int,
        gid: int,
        inode: int,
        written: tuple[int, int] | None = None,
    ) -> int:
        """Add an entry's change and return its offset; *written* is (size, mtime) with SETID."""
        if len(self._frames) < len(self._pending):
            self._flush()
        offset = len(self.out)
        frame = CHANGE.pack(CHANGE_KIND, flags, len(name), mode, new_mode, uid, gid, inode)
        self.out += frame + name if written is None else frame + SETID.pack(*written) + name
        self.count += 1
        return offset

    def leave(self, own: tuple[int, int, int, int] | None = None) -> int:
        """Leave the directory; *own* is its (mode, new mode, uid, gid) if it must change.

        Return the number of its frame among those of directories, -1 if it has none.
        """
        if own is not None and len(self._frames) < len(self._pending):
            self._flush()
        _, inode = self._pending.pop()
        if len(self._frames) <= len(self._pending):
            return -1
        if own is None:
            self.out.append(LEAVE_KIND)
        else:
            self.out += CHANGE.pack(OWN_KIND, 0, 0, *own, inode)
            self.count += 1
        return self._frames.pop()

    def finish(self) -> bytes:
        """Return the buffer; empty if nothing must change."""
        return bytes(self.out) if self.count else b""


def read_changes(body: bytes) -> Iterator[Change]:
    """Yield the changes of a buffer, in its order.

    Raises ValueError if it is malformed (which would be a bug: the journal has checksums).
    """
    try:
        yield from _changes(body)
    except (struct.error, IndexError):
        raise ValueError("changes are cut off, or leave more directories than they enter") from None


def _changes(body: bytes) -> Iterator[Change]:
    header = Header.of(body)
    at, index = header.size, 0
    stack: list[tuple[bytes, int]] = []
    while at < len(body):
        start, kind = at, body[at]
        if kind == Kind.LEAVE:
            stack.pop()
            at += 1
            continue
        if kind == Kind.ENTER:
            _, length, inode = ENTER.unpack_from(body, at)
            at += ENTER.size + length
            name = body[at - length : at]
            stack.append((_join(stack[-1][0], name) if stack else name, inode))
            continue
        if kind not in (Kind.CHANGE, Kind.OWN):
            raise ValueError(f"frame of kind {kind} at {at}")
        _, flags, length, mode, new_mode, uid, gid, inode = CHANGE.unpack_from(body, at)
        at += CHANGE.size
        size = mtime = 0
        if flags & SETID_FLAG:
            size, mtime = SETID.unpack_from(body, at)
            at += SETID.size
        own = kind == Kind.OWN
        directory, within = stack[-1]
        path = directory if own else _join(directory, body[at : at + length])
        at += length
        if own:
            stack.pop()
        yield Change(
            index,
            start,
            path,
            own,
            flags,
            mode,
            new_mode,
            uid,
            gid,
            header.uid,
            header.gid,
            inode,
            within,
            size,
            mtime,
        )
        index += 1
    if at > len(body) or stack:
        raise ValueError("changes end within a frame, or within a directory")


def wrapped(time: int) -> int:
    """Fit a time into the 64 bits of a record; it wraps beyond the year 2262 (ext4 knows 2446)."""
    return (time + 2**63) % 2**64 - 2**63


def with_flags(changes: bytes, offsets: Iterable[int], flag: int) -> bytes:
    """Return the buffer with *flag* set in the records that start at *offsets*."""
    out = bytearray(changes)
    for offset in offsets:
        out[offset + 1] |= flag
    return bytes(out)


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
