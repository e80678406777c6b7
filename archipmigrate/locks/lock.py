"""A lock: the file as it was found, and packed, which is the pre-image of its removal.

    lock    u8 root, u8 kind, u8 name length, u8 pad, u16 directory length, u16 content length,
            u32 mode, u32 uid, u32 gid, u64 inode, i64 mtime (ns), directory, name, content

Little-endian. `directory` is the path from the root. These lie in journals of earlier runs: the
format stays.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from ..tree.files import open_file

HEAD = struct.Struct("<BBBxHHIIIQq")
LONGEST = 1024  # bytes of a lock; direct mode pads to 512
NO_LOCK = (errno.ELOOP, errno.EINVAL, errno.ENXIO)


class Root(IntEnum):
    """Which directory a lock lies in. The numbers are in journals."""

    MAPS = 0
    LOCKS = 1

    @property
    def label(self) -> bytes:
        """What paths begin with that are shown to users."""
        return b"maps" if self is Root.MAPS else b"locks"


class Kind(IntEnum):
    """Whose lock it is. The numbers are in journals; `word` is shown."""

    HELD = 0
    V03 = 1
    TEMPORARY = 2
    OURS = 3
    ODD = 4

    @property
    def word(self) -> str:
        """What users see."""
        return WORDS[self]


WORDS = {
    Kind.HELD: "held",
    Kind.V03: "v0.3",
    Kind.TEMPORARY: "temporary",
    Kind.OURS: "ours",
    Kind.ODD: "odd",
}


@dataclass(frozen=True, slots=True)
class Lock:
    """A file that is called like a lock.

    `length` is in bytes; -1: it is no regular file. `content` is complete up to LONGEST bytes, and
    empty if there are more. `mtime` is in ns.
    """

    root: Root
    directory: bytes
    name: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes
    length: int

    @property
    def path(self) -> bytes:
        """Where it lies, as it is shown."""
        return shown_path(self.root, self.directory, self.name)

    def is_again(self, found: Lock) -> bool:
        """Whether *found*, at the same place, is as this lock was, though made anew."""
        return _attrs(self) == _attrs(found)


def _attrs(lock: Lock) -> tuple[object, ...]:
    return (lock.mode, lock.uid, lock.gid, lock.mtime, lock.length, lock.content)


def shown_path(root: Root, directory: bytes, name: bytes = b"") -> bytes:
    """Return the path of a name in a directory as it is shown."""
    return b"/".join(part for part in (root.label, directory, name) if part)


def split_path(path: bytes) -> tuple[Root, bytes]:
    """Return the root of a path that is shown, and the path from there."""
    label, _, rest = path.partition(b"/")
    return (Root.MAPS if label == Root.MAPS.label else Root.LOCKS), rest


def read_lock(root: Root, directory: bytes, fd: int, name: bytes) -> Lock | None:
    """Read a lock in a directory that is open as *fd*; None if there is none. Raises OSError."""
    try:
        file = open_file(fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        return _irregular(root, directory, fd, name)
    try:
        found = os.fstat(file)
        content = os.pread(file, LONGEST + 1, 0)
        return _lock(root, directory, name, found, b"" if len(content) > LONGEST else content)
    finally:
        os.close(file)


def _irregular(root: Root, directory: bytes, fd: int, name: bytes) -> Lock | None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _lock(root, directory, name, found, b"")


def _lock(root: Root, directory: bytes, name: bytes, found: os.stat_result, content: bytes) -> Lock:
    return Lock(
        root,
        directory,
        name,
        found.st_ino,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        content,
        found.st_size if stat.S_ISREG(found.st_mode) else -1,
    )


def pack_locks(locks: Iterable[tuple[Lock, Kind]]) -> bytes:
    """Pack locks of regular files, each with its kind."""
    out = bytearray()
    for lock, kind in locks:
        sizes = (len(lock.name), len(lock.directory), len(lock.content))
        attrs = (lock.mode, lock.uid, lock.gid, lock.inode, lock.mtime)
        out += HEAD.pack(lock.root, kind, *sizes, *attrs)
        out += lock.directory + lock.name + lock.content
    return bytes(out)


def unpack_locks(packed: bytes) -> Iterator[tuple[Lock, Kind]]:
    """Yield what `pack_locks` packed. Raises ValueError if it is malformed."""
    at = 0
    while at < len(packed):
        if at + HEAD.size > len(packed):
            raise ValueError(f"lock cut off at {at}")
        root, kind, name, directory, content, mode, uid, gid, inode, mtime = HEAD.unpack_from(
            packed, at
        )
        begin = at + HEAD.size
        name_at, content_at = begin + directory, begin + directory + name
        at = content_at + content
        if at > len(packed):
            raise ValueError(f"lock cut off at {begin}")
        lock = Lock(
            Root(root),
            packed[begin:name_at],
            packed[name_at:content_at],
            inode,
            mode,
            uid,
            gid,
            mtime,
            packed[content_at:at],
            content,
        )
        yield lock, Kind(kind)
