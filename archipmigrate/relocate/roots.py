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
from functools import partial

from ..backend.python.setattr import change_mode, change_owner
from ..packed.moves import Root
from ..tree.beneath import PIN_DIRECTORY, open_beneath
from ..tree.files import DIRECTORY
from ..tree.rename import sync_filesystem

HALF_MADE = 0o1700
# A byte for each directory of the second level, then a bit for each of the third: aa/bb/cc.
LEAVES = 65536 + 65536 * 32


@dataclass(frozen=True, slots=True)
class Parent:
    """A directory in which others are made.

    `gives`: what is made in it has the right owner, group and set-group-id bit at once.
    """

    uid: int
    gid: int
    gives: bool


@dataclass(frozen=True, slots=True)
class OpenRoot:
    """The directory of a blocker: a readable descriptor, and whose new directories become.

    `uid` or `gid` None: the parent's. Every method raises OSError.
    """

    fd: int
    umask: int
    uid: int | None
    gid: int | None
    _parents: dict[bytes, Parent] = field(default_factory=dict)  # not half made; not leaves
    # Which directories of the third level C has seen: what is not there is not known to be missing.
    leaves: bytearray = field(default_factory=partial(bytearray, LEAVES))
    # The filesystems on which something was done, by device: a readable directory of each.
    _filesystems: dict[int, int] = field(default_factory=dict)

    def pin(self, path: bytes) -> int:
        """Open a directory only to reach what is in it; the descriptor is the caller's."""
        return open_beneath(self.fd, path, PIN_DIRECTORY)

    def pin_made(self, path: bytes) -> int:
        """Open a directory as `pin` does; make what is missing of it, complete what is half made.

        What is above the last step is looked at once: there are few of these, and many leaves.
        """
        return self._made(path)[0]

    def _made(self, path: bytes) -> tuple[int, Parent | None]:
        """Open a directory as `pin_made` does; also return what is known of one that was made."""
        above, _, name = path.rpartition(b"/")
        fd = self._pin_above(above)
        try:
            return self._make(fd, above, name)
        finally:
            os.close(fd)

    def _pin_above(self, path: bytes) -> int:
        if path in self._parents or not path:
            with contextlib.suppress(FileNotFoundError):
                return self.pin(path)
        fd, made = self._made(path)
        if made is not None:
            self._parents[path] = made
        return fd

    def _make(self, above: int, path: bytes, name: bytes) -> tuple[int, Parent | None]:
        if not name:
            return os.open(b".", PIN_DIRECTORY, dir_fd=above), None
        parent = self._parent(above, path)
        fd = made = None
        if self._has_leaf(path, name):  # for mkdir(2) the kernel would ask a server
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(name, PIN_DIRECTORY, dir_fd=above)
        if fd is None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, self._mode if parent.gives else HALF_MADE, dir_fd=above)
                made = parent if parent.gives else self._completed(parent)
            fd = os.open(name, PIN_DIRECTORY, dir_fd=above)
        try:
            if made is not parent:
                self._complete(self._completed(parent), fd)
        except BaseException:
            os.close(fd)
            raise
        return fd, made

    def _has_leaf(self, path: bytes, name: bytes) -> bool:
        """Whether a directory was seen, if it is of the third level."""
        if len(path) != 5 or len(name) != 2:
            return False
        try:
            first, second, leaf = (int(step, 16) for step in (path[:2], path[3:], name))
        except ValueError:
            return False
        at = (first << 8 | second) * 32 + leaf // 8
        return bool(self.leaves[65536 + at] >> leaf % 8 & 1)

    @property
    def _mode(self) -> int:
        return 0o777 & ~self.umask

    def _parent(self, fd: int, path: bytes) -> Parent:
        """Look at a directory in which others are made: once, for its attributes change with each.

        Over NFS they would be fetched anew each time.
        """
        if path not in self._parents:
            found = os.fstat(fd)
            gives = bool(found.st_mode & stat.S_ISGID) and self._gives(found.st_uid, found.st_gid)
            self._parents[path] = Parent(found.st_uid, found.st_gid, gives)
        return self._parents[path]

    def _gives(self, uid: int, gid: int) -> bool:
        is_ours = uid == os.geteuid()
        return is_ours and self.uid in (None, uid) and self.gid in (None, gid)

    def _completed(self, parent: Parent) -> Parent:
        """Return what a new directory is once it is complete."""
        uid = parent.uid if self.uid is None else self.uid
        gid = parent.gid if self.gid is None else self.gid
        return Parent(uid, gid, self._gives(uid, gid))

    def _complete(self, wanted: Parent, fd: int) -> None:
        """Give a directory of ours that is half made its owner and mode."""
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & 0o5777 != HALF_MADE:
            return
        if (found.st_uid, found.st_gid) != (wanted.uid, wanted.gid):
            change_owner(fd, wanted.uid, wanted.gid, is_pin=True)
        change_mode(fd, 0o2000 | self._mode, is_pin=True)

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
