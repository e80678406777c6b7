"""No two runs on this host work on one share: an flock, which ends with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..errors import Busy


class ShareLock:
    """The exclusive lock of a share, held until `release` or the end of the process.

    Processes that inherit `fd` prolong it until they end, too.
    """

    def __init__(self, directory: Path, identity: str, path: str) -> None:
        """Take the lock of the share *identity* (shown as *path*) in a secure *directory*.

        Raises Busy.
        """
        self.fd = os.open(
            directory / f"{xxh3_64_hexdigest(identity.encode())}.lock",
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self.fd, 200, 0).decode(errors="replace").strip()
            os.close(self.fd)
            raise Busy(path, holder or "just starting") from None

    @classmethod
    def holder(cls, directory: Path, identity: str) -> str:
        """Return who holds the lock of a share now; "" if nobody does."""
        try:
            cls(directory, identity, "").release()
        except Busy as busy:
            return busy.holder
        return ""

    def sign(self, run: str) -> None:
        """Write down who holds the lock, for the message to others."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"run {run}, process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self.fd)
