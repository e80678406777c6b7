"""Two runs on one share exclude each other, on this host: an flock, which ends with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..errors import Busy


class ShareLock:
    """The exclusive hold on a share, kept until `release` or the end of the process."""

    def __init__(self, directory: Path, identity: str, path: str) -> None:
        """Take the lock of the share *identity* (shown as *path*) in a secure *directory*.

        Raises Busy.
        """
        self._fd = os.open(
            directory / f"{xxh3_64_hexdigest(identity.encode())}.lock",
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise Busy(path, holder or "just starting") from None

    @classmethod
    def holder(cls, directory: Path, identity: str) -> str:
        """Return who holds a share now, "" if nobody does."""
        try:
            cls(directory, identity, "").release()
        except Busy as busy:
            return busy.holder
        return ""

    def sign(self, run: str) -> None:
        """Write down who holds it, for the message to others."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"run {run}, process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have the share."""
        os.close(self._fd)
