"""Removes the locks of a batch, and makes them again.

A lock is removed only if it still is the file that was judged: the same inode, attrs and content.

    look     open, stat, read
    ......   somebody may release this lock, and another one may take it
    unlink   of whatever has the name now

There is no call that unlinks a name only if it is of some inode, so what happens in between is
not seen. The kinds of locks that `--clean` removes have no holder who could release them; a holder
whose locks are broken must be gone, as the user says.

To be made again, a lock gets another name first:

    part     made exclusively, written, given owner, mode and mtime, synced
    link     to the lock's name, which fails if there is anything of that name
    unlink   of the part

A kill leaves the part, or both names of one inode; whoever comes next removes the part.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..engine.stop import DENIED
from ..model import Outcome, StopFlag
from ..tree.files import FILE, status
from .lock import Kind, Lock, read_lock
from .roots import OpenRoots

Item = tuple[Lock, Kind]
One = Callable[[int, Lock], Outcome]


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended with one lock: a failure has operation and errno."""

    outcome: Outcome
    operation: str = ""
    errno: int = 0


UNTRIED = Done(Outcome.UNTRIED)


@dataclass(frozen=True, slots=True)
class Remover:
    """Removes locks below open roots, or makes them again; one object serves all lanes.

    `run` is the run that removed them: it goes into the names of parts. Every method raises OSError
    if what was done may not be durable.
    """

    roots: OpenRoots
    run: str

    def remove(self, items: Sequence[Item], stop: StopFlag, deny_limit: int) -> list[Done]:
        """Remove locks. DIFFERENT: it is another one by now."""
        return self._each(items, self._remove, "unlink", stop, deny_limit)

    def settle_removal(self, items: Sequence[Item]) -> list[Done]:
        """Find out which locks a killed session has removed: these are CHANGED."""
        return self._each(items, self._was_removed, "look")

    def make_again(self, items: Sequence[Item], stop: StopFlag, deny_limit: int) -> list[Done]:
        """Make locks again. UNCHANGED: it is there, as it was. DIFFERENT: there is another one."""
        return self._each(items, self._make_again, "undo", stop, deny_limit)

    def settle_making(self, items: Sequence[Item]) -> list[Done]:
        """Remove the parts that a killed undo left. CHANGED: the lock is there, as it was."""
        return self._each(items, self._was_made, "undo")

    def _each(
        self,
        items: Sequence[Item],
        one: One,
        operation: str,
        stop: StopFlag = b"\0",
        deny_limit: int = 0,
    ) -> list[Done]:
        """Do one thing to each lock, and sync its directory; after *stop* begin nothing."""
        done: list[Done] = []
        for (root, directory), group in groupby(
            items, lambda item: (item[0].root, item[0].directory)
        ):
            locks = [lock for lock, _ in group]
            try:
                fd = self.roots.open(root, directory)
            except OSError as error:
                done += [_ended(error, operation)] * len(locks)
                continue
            try:
                begin = len(done)
                for lock in locks:
                    denied = sum(ended.errno in DENIED for ended in done)
                    if stop[0] or (deny_limit and denied >= deny_limit and denied == len(done)):
                        done.append(UNTRIED)
                        continue
                    try:
                        done.append(Done(one(fd, lock)))
                    except OSError as error:
                        done.append(_ended(error, operation))
                if any(ended.outcome != Outcome.UNTRIED for ended in done[begin:]):
                    os.fsync(fd)
            finally:
                os.close(fd)
        return done

    # -- removal

    def _remove(self, fd: int, lock: Lock) -> Outcome:
        found = read_lock(lock.root, lock.directory, fd, lock.name)
        if found is None:
            return Outcome.GONE
        if found != lock:
            return Outcome.DIFFERENT
        with contextlib.suppress(FileNotFoundError):  # an NFS call sent again finds its success
            os.unlink(lock.name, dir_fd=fd)
        return Outcome.CHANGED

    def _was_removed(self, fd: int, lock: Lock) -> Outcome:
        found = read_lock(lock.root, lock.directory, fd, lock.name)
        if found is None:
            return Outcome.CHANGED
        return Outcome.UNCHANGED if found == lock else Outcome.DIFFERENT

    # -- making it again

    def _make_again(self, fd: int, lock: Lock) -> Outcome:
        part = self._part(lock)
        _sweep(fd, part)
        found = read_lock(lock.root, lock.directory, fd, lock.name)
        if found is not None:
            return Outcome.UNCHANGED if lock.is_again(found) else Outcome.DIFFERENT
        with _part_of(fd, part, lock) as inode:
            try:
                os.link(part, lock.name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                there = status(fd, lock.name)
                if there is None or there.st_ino != inode:
                    return Outcome.DIFFERENT
        return Outcome.CHANGED

    def _was_made(self, fd: int, lock: Lock) -> Outcome:
        _sweep(fd, self._part(lock))
        found = read_lock(lock.root, lock.directory, fd, lock.name)
        if found is None:
            return Outcome.UNCHANGED
        return Outcome.CHANGED if lock.is_again(found) else Outcome.DIFFERENT

    def _part(self, lock: Lock) -> bytes:
        """Return what a lock is called while it is made; a name of its own might be too long."""
        digest = hashlib.sha256(lock.name).hexdigest()[:16]
        return f"{digest}.archipmigrate_{self.run}".encode()


@contextlib.contextmanager
def _part_of(fd: int, part: bytes, lock: Lock) -> Iterator[int]:
    """Make the part of a lock, and yield its inode; remove it in the end."""
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE, 0o600, dir_fd=fd)
    try:
        try:
            inode = _fill(file, lock)
        finally:
            os.close(file)
        yield inode
    finally:
        try:
            _sweep(fd, part)
        except OSError:
            _sweep(fd, part)


def _fill(file: int, lock: Lock) -> int:
    """Give a part what the lock had, durably; return its inode."""
    written = os.write(file, lock.content) if lock.content else 0
    if written != len(lock.content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    found = os.fstat(file)
    if (found.st_uid, found.st_gid) != (lock.uid, lock.gid):
        os.fchown(file, lock.uid, lock.gid)
    os.fchmod(file, lock.mode)
    os.utime(file, ns=(lock.mtime, lock.mtime))
    os.fsync(file)
    return found.st_ino


def _sweep(fd: int, part: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part, dir_fd=fd)


def _ended(error: OSError, operation: str) -> Done:
    number = error.errno or errno.EIO
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return Done(Outcome.GONE)
    return Done(Outcome.FAILED, operation, number)
