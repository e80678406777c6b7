"""The lock protocol of `filed`: it keeps every daemon off a volume while we change it.

    acquire   create N_lock<ours>_aa exclusively, write <ours>, fsync; link it to N_lock; unlink it
    release   compare the content of N_lock, unlink it

If the link fails because N_lock exists, somebody holds the lock: we, if the content is ours.
`filed` compares only as many bytes as its own string has. We compare all of them, except NULs at
the end, with which direct mode pads. The locks of our dead runs count as ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...layout.names import lock_name
from ...layout.placement import sha256_dir
from ...tree.files import DirPath, Tree, open_file, status, unlink
from .files import Files, Leaving, NewFile, PartLink, joined

LONGEST = 1024  # bytes of a lock's content that are read
MOST_SHOWN = 128  # characters of it that are shown: a host's name has 64
PART = b"_aa"
# A lock may be released between our link and our reading of it; then we try again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Locks:
    """Where locks lie, and which are ours.

    `flat`: all in the root of `tree` (a lock directory); else each where v0.4 puts an object of its
    name. `ours` is what this run writes into its locks, `dead` what earlier runs of ours wrote that
    are at work no more.
    """

    tree: Tree
    flat: bool
    ours: bytes
    dead: frozenset[bytes] = frozenset()

    def acquire(self, name: bytes) -> bytes | None:
        """Acquire the lock of a map.

        Return None if it is ours now, else what its holder wrote into it. Raises OSError.
        """
        lock = lock_name(name)
        part = lock + self.ours + PART
        with self.tree.directory(self._parent(lock), make=True) as directory:
            self._sweep_part(directory, part)
            made = self.tree.create(directory, part, (self.ours,))
            try:
                for _ in range(ATTEMPTS):
                    if _link(directory, part, lock, made.inode):
                        return None
                    holder = _content(directory, lock)
                    if holder is not None:
                        return None if self.is_ours(holder) else holder
                raise OSError(errno.EAGAIN, "others acquire and release the lock all the time")
            finally:
                try:
                    unlink(directory, part)
                except OSError:
                    unlink(directory, part)  # left there it would hinder nobody, but stay for ever

    def release(self, name: bytes) -> None:
        """Release the lock of a map if it is ours. Raises OSError."""
        lock = lock_name(name)
        with _unless_gone(), self.tree.directory(self._parent(lock)) as directory:
            holder = _content(directory, lock)
            if holder is not None and self.is_ours(holder):
                unlink(directory, lock)

    def acquire_together(self, files: Files, names: Sequence[bytes]) -> set[bytes]:
        """Acquire the locks of several maps; return the names of those that are ours now.

        Of the others some may be ours, too: whoever asked releases them.
        """
        parts = [
            NewFile(joined(self._parent(lock)), lock + self.ours + PART, self.ours)
            for lock in map(lock_name, names)
        ]
        made = files.make(self.tree, parts, named=False)
        linked = [
            (name, PartLink(part.directory, part.name, lock_name(name), inode))
            for name, part, (error, inode) in zip(names, parts, made, strict=True)
            if not error
        ]
        errors = files.link(self.tree, [link for _, link in linked], durable=False)
        return {name for (name, _), error in zip(linked, errors, strict=True) if not error}

    def release_together(self, files: Files, names: Sequence[bytes]) -> set[bytes]:
        """Release locks that are this run's; return the names of those that may be held still."""
        locks = [
            Leaving(joined(self._parent(lock)), lock, content=self.ours)
            for lock in map(lock_name, names)
        ]
        errors = files.remove(self.tree, locks, durable=False)
        return {name for name, error in zip(names, errors, strict=True) if error}

    def holder(self, name: bytes) -> bytes | None:
        """Return what the holder of a map's lock wrote into it; None if it is free, or ours.

        Raises OSError.
        """
        lock = lock_name(name)
        holder = None
        with _unless_gone(), self.tree.directory(self._parent(lock)) as directory:
            holder = _content(directory, lock)
        return None if holder is None or self.is_ours(holder) else holder

    def sweep(self, name: bytes) -> None:
        """Remove the files that killed sessions of ours left while they acquired this lock.

        Raises OSError.
        """
        lock = lock_name(name)
        with _unless_gone(), self.tree.directory(self._parent(lock)) as directory:
            for holder in (self.ours, *self.dead):
                self._sweep_part(directory, lock + holder + PART)

    def is_ours(self, holder: bytes) -> bool:
        """Whether this run, or a dead one of ours, wrote *holder*."""
        return holder == self.ours or holder in self.dead

    def _parent(self, lock: bytes) -> DirPath:
        return () if self.flat else sha256_dir(lock)

    def _sweep_part(self, directory: int, part: bytes) -> None:
        if status(directory, part) is not None:
            unlink(directory, part)


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Do nothing if the directory of a lock is missing: then no lock of ours is in it, either."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def holder_string(host: str, run: str) -> bytes:
    """Return the unique string that a run writes into its locks."""
    return f"archipmigrate_{host}_{run}".encode()


def clash(ours: bytes, theirs: Iterable[bytes]) -> bytes | None:
    """Return the first of *theirs* that `filed`, comparing beginnings, would mistake for *ours*."""
    return next((s for s in theirs if s and (ours.startswith(s) or s.startswith(ours))), None)


def shown_holder(holder: bytes) -> str:
    """Word who holds a lock."""
    if not holder:
        return "held by v0.3 (an empty lock file)"
    shown = holder.decode(errors="backslashreplace")
    return f"held by {shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + '...'}"


def _link(directory: int, part: bytes, lock: bytes, inode: int) -> bool:
    """Link a part to its lock; return False if the lock exists.

    An NFS call that was sent again may fail because its first sending succeeded.
    """
    try:
        os.link(part, lock, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        found = status(directory, lock)
        return found is not None and found.st_ino == inode
    return True


def _content(directory: int, lock: bytes) -> bytes | None:
    """Return the content of a lock without NULs at the end; None if there is no lock."""
    try:
        fd = open_file(directory, lock)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
            return b"? (no regular file)"
        raise
    try:
        return os.pread(fd, LONGEST, 0).rstrip(b"\0")
    finally:
        os.close(fd)
