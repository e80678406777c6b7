"""The lock protocol of `filed`, so that no daemon works on a volume that we change.

    take      create N_lock<ours>_aa exclusively, write <ours>, fsync; link it to N_lock; unlink it
    release   compare the content, unlink N_lock

A link that fails because N_lock exists means that somebody holds it: us, if the content is ours.
`filed` compares only as many bytes as its own string has; we compare all of them, NULs at the end
(direct mode pads) aside. The lock of a run of ours that is dead counts as ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...tree.files import Place, Tree, open_file, status, unlink
from ..format.names import lock_name
from ..format.placement import sha256_place

LONGEST = 1024  # bytes of a lock's content that are looked at
MOST_SHOWN = 128  # characters of it that are shown: a host's name has 64
PART = b"_aa"
# A lock that vanishes between our link and our look was released: so often we try again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Locks:
    """Where locks lie, and who we are.

    `flat`: in the root of `tree` (a lock directory), else each at its own sha256 place. `ours` is
    this run's string, `dead` are those of earlier runs of ours, which nobody works for any more.
    """

    tree: Tree
    flat: bool
    ours: bytes
    dead: frozenset[bytes] = frozenset()

    def take(self, name: bytes) -> bytes | None:
        """Take the lock of a map; None if it is ours now, else the string of who holds it.

        Raises OSError.
        """
        lock = lock_name(name)
        part = lock + self.ours + PART
        with self.tree.directory(self._place(lock), make=True) as directory:
            self._sweep_part(directory, part)
            made = self.tree.create(directory, part, (self.ours,))
            try:
                for _ in range(ATTEMPTS):
                    if _link(directory, part, lock, made.inode):
                        return None
                    holder = _content(directory, lock)
                    if holder is not None:
                        return None if self.is_ours(holder) else holder
                raise OSError(errno.EAGAIN, "the lock is taken and released all the time")
            finally:
                try:
                    unlink(directory, part)
                except OSError:
                    unlink(directory, part)  # it would be in the way of nobody, but stay

    def release(self, name: bytes) -> None:
        """Release the lock of a map if it is ours. Raises OSError."""
        lock = lock_name(name)
        with _unless_gone(), self.tree.directory(self._place(lock)) as directory:
            holder = _content(directory, lock)
            if holder is not None and self.is_ours(holder):
                unlink(directory, lock)

    def holder(self, name: bytes) -> bytes | None:
        """Return the string of who holds the lock of a map; None if nobody, or a run of ours, does.

        Raises OSError.
        """
        lock = lock_name(name)
        holder = None
        with _unless_gone(), self.tree.directory(self._place(lock)) as directory:
            holder = _content(directory, lock)
        return None if holder is None or self.is_ours(holder) else holder

    def sweep(self, name: bytes) -> None:
        """Remove what killed sessions of ours left of taking this lock. Raises OSError."""
        lock = lock_name(name)
        with _unless_gone(), self.tree.directory(self._place(lock)) as directory:
            for holder in (self.ours, *self.dead):
                self._sweep_part(directory, lock + holder + PART)

    def is_ours(self, holder: bytes) -> bool:
        """Whether a lock's content is that of this run, or of one of ours that is dead."""
        return holder == self.ours or holder in self.dead

    def _place(self, lock: bytes) -> Place:
        return () if self.flat else sha256_place(lock)

    def _sweep_part(self, directory: int, part: bytes) -> None:
        if status(directory, part) is not None:
            unlink(directory, part)


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Do nothing where there is no directory for a lock: nor is there a lock of ours in it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def holder_string(host: str, run: str) -> bytes:
    """Return the unique string of a run's locks."""
    return f"archipmigrate_{host}_{run}".encode()


def clash(ours: bytes, theirs: Iterable[bytes]) -> bytes | None:
    """Return the string that `filed`'s comparison of beginnings would take for ours, if any."""
    return next((s for s in theirs if s and (ours.startswith(s) or s.startswith(ours))), None)


def shown_holder(holder: bytes) -> str:
    """Word who holds a lock."""
    if not holder:
        return "held by v0.3 (an empty lock file)"
    shown = holder.decode(errors="backslashreplace")
    return f"held by {shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + '...'}"


def _link(directory: int, part: bytes, lock: bytes, inode: int) -> bool:
    """Link a part to its lock; False if there is one. A resent NFS call may fail by its success."""
    try:
        os.link(part, lock, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        found = status(directory, lock)
        return found is not None and found.st_ino == inode
    return True


def _content(directory: int, lock: bytes) -> bytes | None:
    """Return what is in a lock, without NULs at the end; None if there is none."""
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
