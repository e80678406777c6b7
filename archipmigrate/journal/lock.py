"""No two runs on this host work on shares that overlap: an flock, which ends with its process.

The file of a lock is removed when the lock is released. Only who holds the lock of a file may
remove it, and the lock of a file without a name is worth nothing:

    first     holds ........................ unlink, close
    second    open ....................................... flock of a file that has no name now
    third                                          open of a new file, flock

So whoever has locked a file looks whether it is still the one of that name, and else begins again.

The file has who holds it on its first line ("": just starting), and the places of the share (see
`share.places`) as JSON on its second. Whoever takes a lock looks at the files of all others: a
share above or below is as busy as the share itself. The directory of the files is locked meanwhile,
so that of two who take locks at the same time one sees the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..errors import Busy
from ..share import overlap

FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
STARTING = "just starting"
# Seconds in which workers that inherited the lock of a killed run end: the kernel kills them, too.
GRACE = 5.0
GLANCE = 0.02
# "1: FLOCK  ADVISORY  WRITE 1234 00:19:5678 0 EOF": proc(5); the device in hex, the inode not
HELD = re.compile(r"\d+: FLOCK +\w+ +WRITE (-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ")


class ShareLock:
    """The exclusive lock of a share, held until `release` or the end of the process.

    Processes that inherit `fd` prolong it until they end, too.
    """

    def __init__(
        self, directory: Path, identity: str, path: str, places: Sequence[str] = ()
    ) -> None:
        """Take the lock of the share *identity* (shown as *path*) in a secure *directory*.

        *places* say where the share lies. Raises Busy if another run holds the share, or one above
        or below it. If that run was killed, waits for its workers to end.
        """
        self._file = _file_of(directory, identity)
        self._places = places
        until = time.monotonic() + GRACE
        while True:
            try:
                with _turn(directory, places):
                    _check_others(self._file, path, places)
                    self.fd = _acquired(self._file, path, places)
            except Busy as busy:
                if time.monotonic() > until or not _has_ended(_signer(busy.holder)):
                    raise
                time.sleep(GLANCE)
            else:
                if self.fd >= 0:
                    return

    @staticmethod
    def holder(directory: Path, identity: str) -> str:
        """Return who holds the lock of a share now; "" if nobody does.

        Takes no lock, not even for an instant: that would refuse a run that begins meanwhile.
        """
        try:
            fd = os.open(_file_of(directory, identity), FLAGS)
        except FileNotFoundError:
            return ""
        try:
            return _holder(fd) if _is_held(os.fstat(fd), _signature(fd)) else ""
        finally:
            os.close(fd)

    def sign(self, run: str) -> None:
        """Write down who holds the lock, for the message to others."""
        _write(self.fd, f"run {run}, process {os.getpid()}", self._places)

    def release(self) -> None:
        """Release the lock, and remove its file, unless a process that inherited it holds it on."""
        os.close(self.fd)
        with contextlib.suppress(OSError):
            fd = os.open(self._file, FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_named(fd, self._file):
                    os.unlink(self._file)
            finally:
                os.close(fd)


def _file_of(directory: Path, identity: str) -> Path:
    return directory / f"{xxh3_64_hexdigest(identity.encode())}.lock"


@contextlib.contextmanager
def _turn(directory: Path, places: Sequence[str]) -> Iterator[None]:
    """Have nobody else take a lock meanwhile, if there are *places* to compare."""
    if not places:
        yield
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _check_others(own: Path, path: str, places: Sequence[str]) -> None:
    """Check that no run holds a share above or below. Raises Busy."""
    if not places:
        return
    for file in own.parent.glob("*.lock"):
        if file == own:
            continue
        try:
            fd = os.open(file, FLAGS)
        except FileNotFoundError:
            continue
        try:
            if overlap(places, _read_places(fd)) and not _is_free(fd):
                raise Busy(f"a part of {path}, or what {path} is a part of,", _holder(fd))
        finally:
            os.close(fd)


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _acquired(file: Path, path: str, places: Sequence[str]) -> int:
    """Open and lock a file; -1 if it was removed meanwhile. Raises Busy."""
    fd = os.open(file, FLAGS | os.O_CREAT, 0o600)
    held = False
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if _is_named(fd, file):  # otherwise its holder is releasing it
                raise Busy(path, _holder(fd)) from None
        else:
            held = _is_named(fd, file)
            if held:
                _write(fd, "", places)  # over what one that was killed has left
        return fd if held else -1
    finally:
        if not held:
            os.close(fd)


def _is_named(fd: int, file: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(file))
    except FileNotFoundError:
        return False


def _write(fd: int, signature: str, places: Sequence[str]) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{signature}\n{json.dumps(list(places))}\n".encode(), 0)


def _read(fd: int) -> list[str]:
    """Return the lines of a lock's file; fewer while it is being written."""
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace").splitlines()


def _read_places(fd: int) -> list[str]:
    with contextlib.suppress(IndexError, ValueError):
        return list(json.loads(_read(fd)[1]))
    return []


def _signature(fd: int) -> str:
    return (_read(fd) or [""])[0]


def _holder(fd: int) -> str:
    return _signature(fd) or STARTING


def _signer(signed: str) -> str:
    """Return the number of the process that signed; "" if there is none."""
    process = signed.rpartition(" ")[2]
    return process if process.isdecimal() else ""


def _has_ended(process: str) -> bool:
    """Whether a process has ended, perhaps without its parent's notice; not of no process ("")."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return bool(process)
    return state in "ZX"


def _is_held(found: os.stat_result, signed: str) -> bool:
    """Whether somebody holds the lock of a file, which a run has *signed*.

    Filesystems with devices of their own (btrfs, overlayfs) are in /proc/locks with another device
    than stat tells. There, the process that signed must be the one that took a lock.
    """
    process = _signer(signed)
    try:
        with open("/proc/locks") as lines:
            locks = [held for line in lines if (held := HELD.match(line))]
    except OSError:
        return bool(process) and Path(f"/proc/{process}").exists()
    device = (os.major(found.st_dev), os.minor(found.st_dev))
    return any(
        int(inode) == found.st_ino
        and ((int(major, 16), int(minor, 16)) == device or pid == process)
        for pid, major, minor, inode in (held.groups() for held in locks)
    )
