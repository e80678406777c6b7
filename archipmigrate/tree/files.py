"""Directories and files below an open root: no symbolic link is followed, what is made is durable.

A place is a tuple of directory names from the root. New files get 0666 and new directories 0777,
less the umask of the process, which is the blocker's while a job runs; owner and group are those
configured. Every function raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xxhash import xxh3_128

from .openat2 import open_way

Place = tuple[bytes, ...]
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a fifo in the place of a file would hang the open.
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Owner:
    """Who new files and directories are to belong to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A root (an O_PATH descriptor, the caller's) and who owns what is made below it."""

    root: int
    owner: Owner | None = None

    @contextlib.contextmanager
    def directory(self, place: Place, *, make: bool = False) -> Iterator[int]:
        """Open a directory; *make* what is missing of the way to it."""
        try:
            fd = self.open(place)
        except FileNotFoundError:
            if not make:
                raise
            fd = self._make(place)
        try:
            yield fd
        finally:
            os.close(fd)

    def open(self, place: Place) -> int:
        """Open a directory; the descriptor is the caller's."""
        if not place:
            return os.open(b".", DIRECTORY, dir_fd=self.root)
        fd = open_way(self.root, b"/".join(place), DIRECTORY)
        return self._step_by_step(place) if fd is None else fd

    def _step_by_step(self, place: Place) -> int:
        fd = os.open(b".", DIRECTORY, dir_fd=self.root)
        for name in place:
            fd = _below(fd, name)
        return fd

    def _make(self, place: Place) -> int:
        fd = os.open(b".", DIRECTORY, dir_fd=self.root)
        for name in place:
            try:
                self._make_one(fd, name)
            except BaseException:
                os.close(fd)
                raise
            fd = _below(fd, name)
        return fd

    def _make_one(self, above: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o777, dir_fd=above)
            fd = os.open(name, DIRECTORY, dir_fd=above)
            try:
                self.give(fd)
            finally:
                os.close(fd)
        except FileExistsError:
            pass  # whoever made it may not have synced it yet
        os.fsync(above)

    def give(self, fd: int) -> None:
        """Give what was just made to the configured owner; what others own stays theirs."""
        if self.owner is None:
            return
        found = os.fstat(fd)
        wanted = (self.owner.uid, self.owner.gid)
        if found.st_uid == os.geteuid() and (found.st_uid, found.st_gid) != wanted:
            os.fchown(fd, *wanted)

    def create(self, directory: int, name: bytes, content: Iterable[bytes]) -> Created:
        """Make a new file and write it durably; it is gone again if that fails.

        The directory still has to be synced.
        """
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE, 0o666, dir_fd=directory)
        digest, length = xxh3_128(), 0
        try:
            for piece in content:
                _write(fd, piece)
                digest.update(piece)
                length += len(piece)
            self.give(fd)
            os.fsync(fd)
            return Created(os.fstat(fd).st_ino, length, digest.hexdigest())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Created:
    """A file that was made: inode, bytes and xxh3-128 of its content."""

    inode: int
    length: int
    digest: str


def _below(above: int, name: bytes) -> int:
    """Open a directory in one that is closed thereby."""
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    finally:
        os.close(above)


def _write(fd: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.write(fd, content[at:] if at else content)


def open_file(directory: int, name: bytes, flags: int = os.O_RDONLY) -> int:
    """Open a regular file. Raises OSError (ELOOP for a link, EINVAL for anything else)."""
    fd = os.open(name, flags | FILE, dir_fd=directory)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "no regular file")


def status(directory: int, name: bytes) -> os.stat_result | None:
    """Return what an entry is; None if there is none of that name."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def read_pieces(fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield what is in a file from *start* on, in pieces of `PIECE` bytes at most."""
    while end is None or start < end:
        most = PIECE if end is None else min(PIECE, end - start)
        piece = os.pread(fd, most, start)
        if not piece:
            return
        start += len(piece)
        yield piece


def same_on_disk(directory: int, name: bytes, length: int, digest: str) -> bool:
    """Whether a file has this length and xxh3-128, read again from where it is stored."""
    fd = open_file(directory, name)
    try:
        if os.fstat(fd).st_size != length:
            return False
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = xxh3_128()
        for piece in read_pieces(fd, 0, length):
            found.update(piece)
        return found.hexdigest() == digest
    finally:
        os.close(fd)


def unlink(directory: int, name: bytes, inode: int | None = None) -> bool:
    """Remove a file, if it is (still) *inode*; return whether anything was removed."""
    found = status(directory, name)
    if found is None or (inode is not None and found.st_ino != inode):
        return False
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:  # also what a resent NFS call may answer to our own
        return False
    return True
