"""Set-id bits that an undo gives back to files, if it is asked to: last of all.

The group, or a new owner, could write to these files during the run. Size, mtime and ctime show
that nobody did; but whoever still has such a file open, or mapped, could write to it once the bits
are back, and a write by a mapping takes no set-id bits away. Therefore each step holds a lease
(fcntl(2), F_SETLEASE): the kernel grants it only while nobody has the file open or mapped for
writing, and lets those who would open it wait.

    put back    lease; size, mtime and ctime are those of the run; old bits, owner and group; note
                the ctime; release
    the last    lease; size, mtime and ctime are those that were noted; set-id bits; nobody asked
    phase       for the file meanwhile, or the bits go off again; release

Who waits for a lease has passed the permission check, and opens the file once that is released. So
a file gets its old bits and group under a first lease, and its set-id bits only under another one,
which is refused if one of those who waited has the file open.

What is noted is in a table of the run's journal, for this undo or a later one; which files wait for
the last phase, in a table of the undo's journal. A unit of that phase has the body

    MARK, then parts (see `retried`): the changes whose files get their set-id bits back
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..backend.python.setattr import change_mode
from ..backend.python.statx import mount_id
from ..errors import ShareError
from ..journal.store import Journal
from ..model import JobTables, TablesWrite, Unit
from ..packed.changes import Change, wrapped
from ..policy import restored_mode
from ..share import mount_of
from ..tree.beneath import PIN, open_beneath
from .retried import Part, parts_of, read_parts

MARK = Part((1 << 64) - 2, frozenset()).pack()
# Filesystems on which leases tell who has a file open, and every first write by a mapping sets
# mtime. On tmpfs a page that was read by a mapping is written by it without a trace.
FILESYSTEMS = ("btrfs", "ext4", "xfs")
AT_ONCE = 10_000  # files in one unit
SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    batch INTEGER, change INTEGER, ctime INTEGER, PRIMARY KEY (batch, change)
) WITHOUT ROWID
"""
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
OPEN = "somebody has it open or mapped for writing"
WRITTEN = "it may have been written to since"
ELSEWHERE = "it is not found under its name"


class StaysOff(Exception):
    """A file does not get its set-id bits back; says why."""


def words(change: Change, why: str = "") -> str:
    """Word that set-id bits stay off."""
    mode = f"set-id bits stay off: mode was {stat.S_IMODE(change.mode):04o}"
    return f"{mode}; {why}" if why else mode


# -- the journals


def note_put_back(noted: Mapping[tuple[int, int], int]) -> TablesWrite:
    """Return the write, to the run's journal, that notes the ctime of files that were put back.

    They are given by their batches, and indices in them.
    """

    def write(journal: JobTables) -> None:
        journal.execute(SCHEMA.format(table="set_id"))
        rows = [(*change, ctime) for change, ctime in noted.items()]
        journal.execute_many("REPLACE INTO set_id VALUES (?, ?, ?)", rows)

    return write


def read_put_back(journal: Journal, batch: int) -> dict[int, int]:
    """Return what was noted in the run's journal of files of a batch: ctime by index."""
    if not _has(journal, "set_id"):
        return {}
    return dict(journal.select("SELECT change, ctime FROM set_id WHERE batch = ?", batch))


def note_waiting(waiting: Sequence[tuple[int, int]]) -> TablesWrite:
    """Return the write, to the undo's journal, that notes files for the last phase."""

    def write(journal: JobTables) -> None:
        journal.execute(SCHEMA.format(table="set_id_waiting"))
        journal.execute_many("REPLACE INTO set_id_waiting VALUES (?, ?, NULL)", waiting)

    return write


def end_waiting(done: Sequence[tuple[int, int]]) -> TablesWrite:
    """Return the write that takes files off that table."""
    statement = "DELETE FROM set_id_waiting WHERE batch = ? AND change = ?"
    return lambda journal: journal.execute_many(statement, done)


def units(journal: Journal) -> list[Unit]:
    """Return a unit of the last phase, if files wait for it."""
    if not _has(journal, "set_id_waiting"):
        return []
    query = "SELECT batch, change FROM set_id_waiting ORDER BY batch, change LIMIT ?"
    rows = list(journal.select(query, AT_ONCE))
    return [unit_of(rows)] if rows else []


def unit_of(changes: Sequence[tuple[int, int]]) -> Unit:
    """Return the unit that gives the files of *changes* their set-id bits back."""
    return Unit(MARK + b"".join(part.pack() for part in parts_of(changes)), counted=True)


def is_set_id(body: bytes) -> bool:
    """Say whether a unit is one of the last phase."""
    return body.startswith(MARK)


def read_unit(body: bytes) -> list[Part]:
    """Return the parts of such a unit."""
    return list(read_parts(body[len(MARK) :]))


def _has(journal: Journal, table: str) -> bool:
    return bool(list(journal.select("SELECT 1 FROM sqlite_master WHERE name = ?", table)))


# -- the share


def obstacle(root: int) -> str:
    """Return why nobody can tell here who has a file open; "" if leases do.

    *root* is the descriptor of the share's root, -1 if it is not open here.
    """
    if root < 0:
        return "who has it open cannot be known over NFS"
    try:
        filesystem = mount_of(root).fstype
    except ShareError as error:
        return str(error)
    return "" if filesystem in FILESYSTEMS else f"who has it open cannot be known on {filesystem}"


def put_back(root: int, change: Change, ctime: int, apply: Callable[[], object]) -> int | None:
    """Have a file put back by *apply* while nobody can write to it; return its ctime then.

    *ctime* is what the run left. If the file may have been written to since, or is open for
    writing, return None without a call of *apply*.
    """
    try:
        with _pinned(root, change) as pin, _leased(pin) as fd:
            if change.mtime >= ctime or not _is_unwritten(fd, change, ctime):
                return None
            apply()
            return wrapped(os.fstat(fd).st_ctime_ns)
    except (StaysOff, OSError):
        return None


def restore(root: int, change: Change, ctime: int | None) -> bool:
    """Give a file its set-id bits back; return False if a killed session had done it.

    *ctime* is what was noted when it was put back (None: nothing). Raises StaysOff, OSError; the
    bits are off then.
    """
    with _pinned(root, change) as pin:
        had_bits = _attrs(pin) == _old(change)
        try:
            with _leased(pin) as fd:
                if had_bits:
                    ctime = wrapped(os.fstat(fd).st_ctime_ns)
                elif _attrs(fd) != _bare(change):
                    raise StaysOff("changed by somebody since")
                if ctime is None or not _is_unwritten(fd, change, ctime):
                    raise StaysOff(WRITTEN)
                if not had_bits:
                    os.fchmod(fd, stat.S_IMODE(change.mode))
                if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
                    raise StaysOff(OPEN)
        except BaseException:
            if _attrs(pin) == _old(change):
                change_mode(pin, _bare(change)[0], is_pin=True)
            raise
    return not had_bits


@contextmanager
def _pinned(root: int, change: Change) -> Iterator[int]:
    """Pin the file of a change, if it still has its name. Raises StaysOff, OSError."""
    try:
        pin = open_beneath(root, change.path, PIN)
    except OSError as error:
        if error.errno in NOT_THERE:
            raise StaysOff(ELSEWHERE) from None
        raise
    try:
        found = os.fstat(pin)
        kind = stat.S_IFMT(found.st_mode)
        if (found.st_ino, kind) != (change.inode, stat.S_IFMT(change.mode)):
            raise StaysOff(ELSEWHERE)
        if found.st_uid not in (change.uid, change.new_uid):
            raise StaysOff(ELSEWHERE)
        if mount_id(pin) != mount_id(root):
            raise StaysOff("it is on another mount")
        yield pin
    finally:
        os.close(pin)


@contextmanager
def _leased(pin: int) -> Iterator[int]:
    """Hold a lease on a pinned file; yield the descriptor of the lease. Raises StaysOff, OSError.

    Who asks for the file meanwhile has the kernel send a signal: SIGURG, which is ignored by
    default, in place of SIGIO, which ends the process.
    """
    try:
        fd = os.open(f"/proc/self/fd/{pin}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        raise StaysOff(OPEN) from None
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            raise StaysOff(OPEN) from None
        yield fd
    finally:
        os.close(fd)


def _attrs(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return found.st_mode, found.st_uid, found.st_gid


def _old(change: Change) -> tuple[int, int, int]:
    """Return the mode, owner and group that the file had."""
    return change.mode, change.uid, change.gid


def _bare(change: Change) -> tuple[int, int, int]:
    """Return those that undo gives back at first."""
    return restored_mode(change.mode, change.new_mode), change.uid, change.gid


def _is_unwritten(fd: int, change: Change, ctime: int) -> bool:
    found = os.fstat(fd)
    times = wrapped(found.st_mtime_ns), wrapped(found.st_ctime_ns)
    return (found.st_size, *times) == (change.size, change.mtime, ctime)
