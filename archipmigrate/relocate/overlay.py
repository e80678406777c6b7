"""Puts together the two files of a diverged object: the older one, and what was written since.

v0.4 that was started too early finds no object where it looks, and makes a new one when a guest
writes; the rest of that one is holes. The data of the newer file laid over the older one is what
the guest has to see. Both originals are kept aside, in a directory of our own:

    old place   new place   newer/   older/    it is
    older       newer       -        -         not begun
    older       newer       newer    -         not begun; settling removes the name in newer/
    older       merged      newer    -         half done; settling moves the older one away
    -           merged      newer    older     done

Undo goes the same way back, if nobody has written to the merged file since. A batch is synced
between two lines.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ..layout.names import OWN_DIRECTORY
from ..model import Outcome
from ..packed.moves import Move, Twin
from ..tree.files import open_file, status
from ..tree.rename import rename_exclusive
from .batch import Done
from .carry import link
from .copying import SourceChanged, copy_part, copy_range, part_name, sweep_part
from .extents import extents
from .places import sha256_directory
from .roots import OpenRoot, is_object, leads_out, made, pinned, status_beneath
from .steps import Different, Gone

TOP = OWN_DIRECTORY + b"diverged"
HOLE = 1 << 20  # bytes: longer than a block of any filesystem
SECTOR = 512  # bytes: the unit of st_blocks
NO_EXTENTS = "the filesystem does not tell data from holes: the two files cannot be told apart"


class State(Enum):
    """How far an object is: the lines of the table."""

    APART = "apart"
    HALF_DONE = "half done"
    MERGED = "merged"


@dataclass(slots=True)
class Overlay:
    """Merges diverged objects of a root; with `back`, takes them apart again.

    A move is of verb MERGE: its inode is the older file's, its twin's the newer one's.
    """

    root: OpenRoot
    back: bool = False

    def apply(self, moves: Sequence[Move]) -> list[Done]:
        """Merge objects, or take them apart; return how each ended. Raises OSError."""
        done = [Done(Outcome.CHANGED) for _ in moves]
        steps = (
            (self._old_back, self._new_back)
            if self.back
            else (self._prepare, self._replace, self._old_away)
        )
        for step in steps:
            self._each(moves, done, step)
            self.root.sync()
        return done

    def settle(self, moves: Sequence[Move]) -> list[Done]:
        """Finish what a kill left half done, and clear what was not begun. Raises OSError."""
        done = [Done(Outcome.CHANGED) for _ in moves]
        self._each(moves, done, self._settle)
        self.root.sync()
        return done

    def _each(
        self, moves: Sequence[Move], done: list[Done], step: Callable[[Move], Outcome | None]
    ) -> None:
        for index, move in enumerate(moves):
            if done[index].outcome != Outcome.CHANGED:
                continue
            try:
                outcome = step(move)
            except Gone:
                done[index] = Done(Outcome.GONE)
            except (Different, SourceChanged, FileExistsError):
                done[index] = Done(Outcome.DIFFERENT)
            except OSError as error:
                done[index] = _failed(error)
            else:
                if outcome is not None:
                    done[index] = Done(outcome)

    # -- where the files are

    def state(self, move: Move) -> State:
        """Return how far an object is. Raises Different, Gone, OSError."""
        newer = _twin(move).inode
        old = status_beneath(self.root, move.directory, move.name)
        new = status_beneath(self.root, move.new_directory, move.name)
        if new is None:
            raise Gone if old is None else Different
        is_old = is_object(old, move.inode)
        if is_old and is_object(new, newer):
            return State.APART
        if not is_object(self._kept(b"newer", move), newer):
            raise Different
        if is_old:
            return State.HALF_DONE
        if old is None and is_object(self._kept(b"older", move), move.inode):
            return State.MERGED
        raise Different

    def newer(self, name: bytes) -> os.stat_result | None:
        """Return the status of the newer file of an object that is kept; None if none is."""
        return status_beneath(self.root, _shelf(b"newer", name), name)

    def _kept(self, shelf: bytes, move: Move) -> os.stat_result | None:
        return status_beneath(self.root, _shelf(shelf, move.name), move.name)

    # -- forward

    def _prepare(self, move: Move) -> Outcome | None:
        """Make the merged file as a part, and give the newer file its second name."""
        state = self.state(move)
        if state is State.MERGED:
            raise Different
        if state is State.HALF_DONE:  # an earlier run failed after that
            return None
        with (
            pinned(self.root, move.directory) as old,
            pinned(self.root, move.new_directory) as new,
            made(self.root, _shelf(b"newer", move.name)) as shelf,
        ):
            with opened(open_file(new, move.name)) as newer:
                found = os.fstat(newer)
                lay_over = extents(newer)
                if not found.st_ino == _twin(move).inode or is_untold(found, lay_over):
                    raise OSError(errno.EOPNOTSUPP, NO_EXTENTS)
                with _part(old, new, move.name) as part:
                    for begin, end in lay_over:
                        copy_range(newer, part, begin, min(end, found.st_size))
                    os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))
                    os.fsync(part)
                    _check(part, newer, lay_over)
            with contextlib.suppress(FileExistsError):
                link(new, shelf, move.name)
            if not is_object(status(shelf, move.name), _twin(move).inode):
                sweep_part(new, move.name)
                raise Different
        return None

    def _replace(self, move: Move) -> Outcome | None:
        """Put the merged file in the newer one's place: that has another name, durably."""
        if self.state(move) is State.HALF_DONE:
            return None
        with pinned(self.root, move.new_directory) as new:
            if not is_object(status(new, move.name), _twin(move).inode):
                raise Different
            os.rename(part_name(move.name), move.name, src_dir_fd=new, dst_dir_fd=new)
        return None

    def _old_away(self, move: Move) -> Outcome | None:
        with (
            pinned(self.root, move.directory) as old,
            made(self.root, _shelf(b"older", move.name)) as shelf,
        ):
            _move(old, shelf, move.name, move.inode)
        return None

    # -- back

    def _old_back(self, move: Move) -> Outcome | None:
        state = self.state(move)
        if state is State.APART:
            self._clear(move)
            return Outcome.UNCHANGED
        self._check_unwritten(move)
        if state is State.MERGED:
            with (
                pinned(self.root, _shelf(b"older", move.name)) as shelf,
                made(self.root, move.directory) as old,
            ):
                _move(shelf, old, move.name, move.inode)
        return None

    def _new_back(self, move: Move) -> Outcome | None:
        self._check_unwritten(move)
        with (
            pinned(self.root, _shelf(b"newer", move.name)) as shelf,
            pinned(self.root, move.new_directory) as new,
        ):
            if not is_object(status(shelf, move.name), _twin(move).inode):
                raise Different
            os.rename(move.name, move.name, src_dir_fd=shelf, dst_dir_fd=new)
        return None

    def _check_unwritten(self, move: Move) -> None:
        """Check that nobody has written to the merged file: it has the newer one's time."""
        new = status_beneath(self.root, move.new_directory, move.name)
        if new is None or new.st_mtime_ns != _twin(move).mtime:
            raise Different

    # -- settling

    def _settle(self, move: Move) -> Outcome | None:
        state = self.state(move)
        if state is State.APART:
            self._clear(move)
            return None if self.back else Outcome.UNCHANGED
        if state is State.MERGED:
            return Outcome.UNCHANGED if self.back else None
        return self._new_back(move) if self.back else self._old_away(move)

    def _clear(self, move: Move) -> None:
        """Remove what was prepared of an object that is not merged."""
        with pinned(self.root, move.new_directory) as new:
            sweep_part(new, move.name)
        kept = self._kept(b"newer", move)
        if kept is not None and kept.st_ino == _twin(move).inode and kept.st_nlink > 1:
            with pinned(self.root, _shelf(b"newer", move.name)) as shelf:
                os.unlink(move.name, dir_fd=shelf)


def tells_extents(root: OpenRoot) -> bool:
    """Whether the filesystem of a root tells data from holes. Raises OSError."""
    with made(root, TOP) as top:
        name = b"holes"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=top)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened(os.open(name, flags, 0o600, dir_fd=top)) as fd:
            os.unlink(name, dir_fd=top)
            os.pwrite(fd, b".", HOLE)
            return extents(fd)[0][0] > 0


def is_untold(found: os.stat_result, data: Sequence[tuple[int, int]]) -> bool:
    """Whether a file has holes that the filesystem does not tell of."""
    told = sum(end - begin for begin, end in data)
    return told == found.st_size and found.st_blocks * SECTOR < found.st_size


@contextlib.contextmanager
def _part(source: int, target: int, name: bytes) -> Iterator[int]:
    """Copy a file as a part, which is removed again if what is done with it fails."""
    with opened(copy_part(source, target, name)) as part:
        try:
            yield part
        except BaseException:
            with contextlib.suppress(OSError):
                sweep_part(target, name)
            raise


@contextlib.contextmanager
def opened(fd: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield fd
    finally:
        os.close(fd)


def _check(part: int, newer: int, data: Sequence[tuple[int, int]]) -> None:
    """Check that the newer file's data is in the part. Raises OSError."""
    for begin, end in data:
        for at in range(begin, end, HOLE):
            length = min(HOLE, end - at)
            if os.pread(part, length, at) != os.pread(newer, length, at):
                raise OSError(errno.EIO, "the merged file reads back differently")


def _move(source: int, target: int, name: bytes, inode: int) -> None:
    """Move a file, never over anything: in one step, or (NFS) by a second name."""
    if not is_object(status(source, name), inode):
        raise Different
    if not rename_exclusive(source, target, name):
        with contextlib.suppress(FileExistsError):
            link(source, target, name)
        if not is_object(status(target, name), inode):
            raise Different
        os.unlink(name, dir_fd=source)


def _shelf(shelf: bytes, name: bytes) -> bytes:
    return b"/".join((TOP, shelf, sha256_directory(name)[:2]))


def _twin(move: Move) -> Twin:
    assert move.twin is not None  # noqa: S101 -- a move of verb MERGE
    return move.twin


def _failed(error: OSError) -> Done:
    if leads_out(error):
        return Done(Outcome.DIFFERENT)
    number = error.errno or errno.EIO
    note = "" if error.strerror == os.strerror(number) else error.strerror or ""
    return Done(Outcome.FAILED, "merge", number, note)
