"""Removes the locks of a batch, and makes them again.

A lock is removed only if it still is the file that was judged: the same inode, attrs and content.

    look     open, stat, read
    ......   somebody may release this lock, and another one may take it
    unlink   of whatever has the name now

There is no call that unlinks a name only if it is of some inode, so what happens in between is
not seen. The kinds of locks that `--clean` removes have no holder who could release them; a holder
whose locks are broken must be gone, as the user says.

To be made again, a lock gets another name first:

    each lock   its part is made exclusively, written, given owner, mode and mtime
    barrier     all parts are durable
    each lock   its part is linked to its name, which fails if there is anything of that name
                the part is removed
    barrier     that is durable, before the outcome is

A kill leaves parts, or both names of one inode; whoever comes next removes the parts.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..engine.stop import DENIED
from ..model import Outcome, StopFlag
from ..tree.files import FILE, status
from ..tree.rename import sync_filesystem
from .lock import Kind, Lock, Root, read_lock
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
        done = self._each(items, _remove, "unlink", stop, deny_limit)
        self._barrier(items, done)
        return done

    def settle_removal(self, items: Sequence[Item]) -> list[Done]:
        """Find out which locks a killed session has removed: these are CHANGED."""
        done = self._each(items, _was_removed, "look")
        self._barrier(items, done)
        return done

    def make_again(self, items: Sequence[Item], stop: StopFlag, deny_limit: int) -> list[Done]:
        """Make locks again. UNCHANGED: it is there, as it was. DIFFERENT: there is another one."""
        made = self._each(items, self._make_part, "undo", stop, deny_limit)
        self._barrier(items, made)
        parts = [item for item, d in zip(items, made, strict=True) if d.outcome == Outcome.CHANGED]
        linked = iter(self._each(parts, self._link_part, "undo"))
        done = [next(linked) if d.outcome == Outcome.CHANGED else d for d in made]
        self._barrier(items, done)
        return done

    def settle_making(self, items: Sequence[Item]) -> list[Done]:
        """Remove the parts that a killed undo left. CHANGED: the lock is there, as it was."""
        done = self._each(items, self._was_made, "undo")
        self._barrier(items, done)
        return done

    def _each(
        self,
        items: Sequence[Item],
        one: One,
        operation: str,
        stop: StopFlag = b"\0",
        deny_limit: int = 0,
    ) -> list[Done]:
        """Do one thing to each lock; after *stop* begin nothing."""
        done: list[Done] = []
        for (root, directory), group in groupby(items, _place):
            locks = [lock for lock, _ in group]
            try:
                fd = self.roots.open(root, directory)
            except OSError as error:
                done += [_ended(error, operation)] * len(locks)
                continue
            try:
                for lock in locks:
                    denied = sum(ended.errno in DENIED for ended in done) if deny_limit else 0
                    if stop[0] or (deny_limit and deny_limit <= denied == len(done)):
                        done.append(UNTRIED)
                        continue
                    try:
                        done.append(Done(one(fd, lock)))
                    except OSError as error:
                        done.append(_ended(error, operation))
            finally:
                os.close(fd)
        return done

    def _barrier(self, items: Sequence[Item], done: Sequence[Done]) -> None:
        """Make durable what was done; a failed call may have done something."""
        tried = (Outcome.CHANGED, Outcome.FAILED)
        roots = {item[0].root for item, d in zip(items, done, strict=True) if d.outcome in tried}
        for root in roots:
            sync_filesystem(self.roots.locks if root is Root.LOCKS else self.roots.maps)

    # -- making a lock again

    def _make_part(self, fd: int, lock: Lock) -> Outcome:
        part = self._part(lock)
        _sweep(fd, part)
        found = read_lock(lock.root, lock.directory, fd, lock.name)
        if found is not None:
            return Outcome.UNCHANGED if lock.is_again(found) else Outcome.DIFFERENT
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE, 0o600, dir_fd=fd)
        try:
            _fill(file, lock)
        except BaseException:
            _sweep_surely(fd, part)
            raise
        finally:
            os.close(file)
        return Outcome.CHANGED

    def _link_part(self, fd: int, lock: Lock) -> Outcome:
        part = self._part(lock)
        try:
            os.link(part, lock.name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:  # over NFS perhaps by this very call, sent twice
            ours, there = status(fd, part), status(fd, lock.name)
            if ours is None or there is None or ours.st_ino != there.st_ino:
                return Outcome.DIFFERENT
        finally:
            _sweep_surely(fd, part)
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


def _place(item: Item) -> tuple[Root, bytes]:
    return item[0].root, item[0].directory


def _remove(fd: int, lock: Lock) -> Outcome:
    found = read_lock(lock.root, lock.directory, fd, lock.name)
    if found is None:
        return Outcome.GONE
    if found != lock:
        return Outcome.DIFFERENT
    with contextlib.suppress(FileNotFoundError):  # an NFS call sent again finds its success
        os.unlink(lock.name, dir_fd=fd)
    return Outcome.CHANGED


def _was_removed(fd: int, lock: Lock) -> Outcome:
    found = read_lock(lock.root, lock.directory, fd, lock.name)
    if found is None:
        return Outcome.CHANGED
    return Outcome.UNCHANGED if found == lock else Outcome.DIFFERENT


def _fill(file: int, lock: Lock) -> None:
    """Give a part what the lock had."""
    written = os.write(file, lock.content) if lock.content else 0
    if written != len(lock.content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    found = os.fstat(file)
    if (found.st_uid, found.st_gid) != (lock.uid, lock.gid):
        os.fchown(file, lock.uid, lock.gid)
    os.fchmod(file, lock.mode)
    os.utime(file, ns=(lock.mtime, lock.mtime))


def _sweep(fd: int, part: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part, dir_fd=fd)


def _sweep_surely(fd: int, part: bytes) -> None:
    try:
        _sweep(fd, part)
    except OSError:
        _sweep(fd, part)


def _ended(error: OSError, operation: str) -> Done:
    number = error.errno or errno.EIO
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return Done(Outcome.GONE)
    return Done(Outcome.FAILED, operation, number)
