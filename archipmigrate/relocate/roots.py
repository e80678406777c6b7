"""The directories of the two blockers, and the directories that are made below them.

A new directory has mode 01700 until its owner and mode are set. So one that a kill left half made
is known by its mode, and completed by whoever meets it next. The umask of the process is 0 for as
long as roots are open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..backend.python.setattr import change_mode, change_owner
from ..packed.moves import Root
from ..tree.beneath import PIN_DIRECTORY, open_beneath
from ..tree.files import DIRECTORY
from ..tree.rename import sync_filesystem

HALF_MADE = 0o1700


@dataclass(frozen=True, slots=True)
class OpenRoot:
    """The directory of a blocker: a readable descriptor, and whose new directories become.

    `uid` or `gid` None: the parent's. Every method raises OSError.
    """

    fd: int
    umask: int
    uid: int | None
    gid: int | None
    _whole: set[bytes] = field(default_factory=set)  # directories that are not half made
    # The filesystems on which something was done, by device: a readable directory of each.
    _filesystems: dict[int, int] = field(default_factory=dict)

    def pin(self, path: bytes) -> int:
        """Open a directory only to reach what is in it; the descriptor is the caller's."""
        return open_beneath(self.fd, path, PIN_DIRECTORY)

    def pin_made(self, path: bytes) -> int:
        """Open a directory as `pin` does; make what is missing of it, complete what is half made.

        What is above the last step is looked at once: there are few of these, and many leaves.
        """
        above, _, name = path.rpartition(b"/")
        fd = self._pin_above(above)
        try:
            return self._make(fd, name)
        finally:
            os.close(fd)

    def _pin_above(self, path: bytes) -> int:
        if path in self._whole or not path:
            with contextlib.suppress(FileNotFoundError):
                return self.pin(path)
        fd = self.pin_made(path)
        self._whole.add(path)
        return fd

    def _make(self, above: int, name: bytes) -> int:
        if not name:
            return os.open(b".", PIN_DIRECTORY, dir_fd=above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, self._first_mode(above), dir_fd=above)
        fd = os.open(name, PIN_DIRECTORY, dir_fd=above)
        try:
            self._complete(above, fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _first_mode(self, above: int) -> int:
        """Return the mode to make a directory with: the last one if it needs nothing else."""
        parent = os.fstat(above)
        is_whole = (
            parent.st_mode & stat.S_ISGID
            and parent.st_uid == os.geteuid()
            and self.uid in (None, parent.st_uid)
            and self.gid in (None, parent.st_gid)
        )
        return 0o777 & ~self.umask if is_whole else HALF_MADE

    def _complete(self, above: int, fd: int) -> None:
        """Give a directory of ours that is half made its owner and mode."""
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & 0o5777 != HALF_MADE:
            return
        parent = os.fstat(above)
        uid = parent.st_uid if self.uid is None else self.uid
        gid = parent.st_gid if self.gid is None else self.gid
        if (found.st_uid, found.st_gid) != (uid, gid):
            change_owner(fd, uid, gid, is_pin=True)
        change_mode(fd, 0o2000 | (0o777 & ~self.umask), is_pin=True)

    def note_filesystem(self, directory: int) -> None:
        """Take note that something is done in an open directory, perhaps on another filesystem."""
        device = os.fstat(directory).st_dev
        if device in self._filesystems:
            return
        if device == os.fstat(self.fd).st_dev:
            self._filesystems[device] = self.fd
            return
        fd = os.open(b".", DIRECTORY, dir_fd=directory)
        if self._filesystems.setdefault(device, fd) != fd:  # another lane came first
            os.close(fd)

    def sync(self) -> None:
        """Make durable what was done, on the root's filesystem and on others that were noted."""
        for fd in {self.fd, *list(self._filesystems.values())}:
            sync_filesystem(fd)

    def close(self) -> None:
        """Close the directory."""
        for fd in {self.fd, *self._filesystems.values()}:
            os.close(fd)


Roots = Mapping[Root, OpenRoot]


@contextlib.contextmanager
def pinned(root: OpenRoot, path: bytes) -> Iterator[int]:
    """Open a directory to reach what is in it, for as long as the context lasts."""
    fd = root.pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def made(root: OpenRoot, path: bytes) -> Iterator[int]:
    """Open a directory as `pinned` does; make what is missing of it."""
    fd = root.pin_made(path)
    try:
        yield fd
    finally:
        os.close(fd)


def status_beneath(root: OpenRoot, directory: bytes, name: bytes) -> os.stat_result | None:
    """Return the status of a file in a directory, of a link its own; None if it is not there.

    Raises OSError: ELOOP or ENOTDIR if a step of the directory is a link, or no directory.
    """
    try:
        fd = root.pin(directory)
    except FileNotFoundError:
        return None
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(fd)


def is_object(found: os.stat_result | None, inode: int) -> bool:
    """Whether this is the regular file of that inode."""
    return found is not None and found.st_ino == inode and stat.S_ISREG(found.st_mode)


def leads_out(error: OSError) -> bool:
    """Whether a path could not be opened because a step is a link, or no directory."""
    return error.errno in (errno.ELOOP, errno.ENOTDIR)
