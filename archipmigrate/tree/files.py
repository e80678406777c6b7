"""Files and directories below an open root, without following links; what is made is durable.

A directory is named by a `DirPath`, the names from the root. New files get mode 0666 and new
directories 0777, less the umask of the process, which is for the caller to set; owner and group are
those of the `Tree`. Lengths are bytes, digests xxh3-128 in hex. Every function raises OSError, and
none removes or replaces what it was not told to.

Durability: a file is synced by `Tree.create`, a directory that is made by `Tree.directory`
together with the one it is in. That a *name* was made or removed is durable only once the caller
has synced the directory: `os.fsync(directory)`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xxhash import xxh3_128

from .beneath import PIN, open_beneath

DirPath = tuple[bytes, ...]
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a fifo in the place of a file would hang the open.
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
PIECE = 1 << 20  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Owner:
    """Who new files and directories belong to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Created:
    """A file that was made: inode, length and digest of its content."""

    inode: int
    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A root (an O_PATH descriptor, the caller's) and the owner of what is made below it."""

    root: int
    owner: Owner | None = None

    @contextlib.contextmanager
    def directory(self, path: DirPath, *, make: bool = False) -> Iterator[int]:
        """Open a directory for as long as the context lasts.

        With *make*, make the directories that are missing. Each is durable before the next one is
        made in it.
        """
        try:
            fd = self.open(path)
        except FileNotFoundError:
            if not make:
                raise
            fd = self._make(path)
        try:
            yield fd
        finally:
            os.close(fd)

    def open(self, path: DirPath) -> int:
        """Open a directory; the descriptor is the caller's."""
        return open_beneath(self.root, b"/".join(path), DIRECTORY)

    def status(self, path: DirPath) -> os.stat_result | None:
        """Return the status of an entry, of a symbolic link its own.

        None if there is none: an absent directory, or a link, on the way leads to none either.
        """
        try:
            fd = open_beneath(self.root, b"/".join(path), PIN)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _make(self, path: DirPath) -> int:
        fd = os.open(b".", DIRECTORY, dir_fd=self.root)
        for name in path:
            try:
                self._make_one(fd, name)
                deeper = os.open(name, DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = deeper
        return fd

    def _make_one(self, above: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o777, dir_fd=above)
            fd = os.open(name, DIRECTORY, dir_fd=above)
            try:
                self._give_to_owner(fd)
            finally:
                os.close(fd)
        except FileExistsError:
            pass  # whoever made it may not have synced it yet
        os.fsync(above)

    def _give_to_owner(self, fd: int) -> None:
        """Change the owner of what was just made; what others own stays theirs."""
        if self.owner is None:
            return
        found = os.fstat(fd)
        wanted = (self.owner.uid, self.owner.gid)
        if found.st_uid == os.geteuid() and (found.st_uid, found.st_gid) != wanted:
            os.fchown(fd, *wanted)

    def create(self, directory: int, name: bytes, content: Iterable[bytes]) -> Created:
        """Make a new file, write *content* and sync it. If that fails, remove the file again.

        Its name is durable once the caller has synced *directory*. Raises FileExistsError if there
        is anything of that name.
        """
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE, 0o666, dir_fd=directory)
        digest, length = xxh3_128(), 0
        try:
            for piece in content:
                _write(fd, piece)
                digest.update(piece)
                length += len(piece)
            self._give_to_owner(fd)
            os.fsync(fd)
            return Created(os.fstat(fd).st_ino, length, digest.hexdigest())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(fd)


def _write(fd: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.write(fd, content[at:] if at else content)


def open_file(directory: int, name: bytes, flags: int = os.O_RDONLY) -> int:
    """Open a regular file. Raises OSError (ELOOP for a symbolic link, EINVAL for anything else)."""
    fd = os.open(name, flags | FILE, dir_fd=directory)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "no regular file")


def status(directory: int, name: bytes) -> os.stat_result | None:
    """Return the status of an entry, of a symbolic link its own; None if there is no such entry."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_inode(directory: int, name: bytes, inode: int) -> bool:
    """Whether there is an entry of that name, and it is *inode*."""
    found = status(directory, name)
    return found is not None and found.st_ino == inode


def read_pieces(fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file from *start* to *end*, at most `PIECE` of them at once.

    A file that is shorter than *end* is read to its own end.
    """
    while end is None or start < end:
        most = PIECE if end is None else min(PIECE, end - start)
        piece = os.pread(fd, most, start)
        if not piece:
            return
        start += len(piece)
        yield piece


def same_content(first: int, second: int, name: bytes) -> bool:
    """Whether the file *name* has the same bytes in two open directories. Raises OSError."""
    with contextlib.ExitStack() as stack:
        ours, others = (open_file(directory, name) for directory in (first, second))
        stack.callback(os.close, ours)
        stack.callback(os.close, others)
        if os.fstat(ours).st_size != os.fstat(others).st_size:
            return False
        return all(a == b for a, b in zip(read_pieces(ours), read_pieces(others), strict=False))


def same_on_disk(directory: int, name: bytes, length: int, digest: str) -> bool:
    """Whether a file has this length and digest.

    Asks the kernel to drop the file's cached pages first, so that the comparison reads the disk or
    the server. Pages that were not synced stay.
    """
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
    """Remove a file, if it is (still) *inode*; return whether anything was removed.

    Durable once the caller has synced *directory*.
    """
    found = status(directory, name)
    if found is None or (inode is not None and found.st_ino != inode):
        return False
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:  # an NFS call that was sent again finds its own success
        return False
    return True
