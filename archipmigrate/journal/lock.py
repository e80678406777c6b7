"""No two runs on this host work on one share: an flock, which ends with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..errors import Busy

JUST_STARTING = "just starting"


class ShareLock:
    """The exclusive lock of a share, held until `release` or the end of the process.

    Processes that inherit `fd` prolong it until they end, too.
    """

    def __init__(self, directory: Path, identity: str, path: str) -> None:
        """Take the lock of the share *identity* (shown as *path*) in a secure *directory*.

        Raises Busy.
        """
        self.fd = os.open(
            _lock_file(directory, identity),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _signature(self.fd)
            os.close(self.fd)
            raise Busy(path, holder or JUST_STARTING) from None

    @staticmethod
    def holder(directory: Path, identity: str) -> str:
        """Return who holds the lock of a share now; "" if nobody does.

        It is only looked at: to try to take it would keep others from it for a moment.
        """
        try:
            fd = os.open(_lock_file(directory, identity), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        try:
            found = os.fstat(fd)
            text = _signature(fd)
        finally:
            os.close(fd)
        device = (os.major(found.st_dev), os.minor(found.st_dev))
        pids = {lock.pid: lock.device == device for lock in flocks() if lock.inode == found.st_ino}
        signed = text.rpartition(" ")[2]
        if signed.isdecimal() and int(signed) in pids:
            return text
        # Whoever has it has not signed yet. Some filesystems show another device in /proc/locks;
        # there a lock of a file elsewhere may have the same inode number.
        return JUST_STARTING if any(pids.values()) else ""

    def sign(self, run: str) -> None:
        """Write down who holds the lock, for the message to others."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"run {run}, process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Flock:
    """An flock that a process holds: its number, and what file is locked."""

    pid: int
    device: tuple[int, int]
    inode: int


def flocks() -> Iterator[Flock]:
    """Yield the flocks that are held on this host, as far as /proc/locks shows them."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # 12: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF; with "->" if it is waited for
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        major, minor, inode = fields[5].split(":")
        yield Flock(int(fields[4]), (int(major, 16), int(minor, 16)), int(inode))


def _lock_file(directory: Path, identity: str) -> Path:
    return directory / f"{xxh3_64_hexdigest(identity.encode())}.lock"


def _signature(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace").strip()
