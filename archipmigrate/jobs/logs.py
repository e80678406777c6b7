"""The directory that a session writes logs into, which others may be able to write to as well."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LOG_MODE = 0o644  # less the umask


class LogDirectory:
    """A directory for logs, opened once: whatever takes its place at *path* later is not entered.

    Nothing that has a log's name is ever opened: not what a symbolic link leads to, nor a file that
    has other names, nor a fifo.
    """

    def __init__(self, path: Path) -> None:
        """Open *path*, following a symbolic link there this once.

        Raises OSError if it is no directory that can be written to.
        """
        self.path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self._fd):
            self.close()
            raise PermissionError(f"{path} cannot be written to")

    def write(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a new file and put it in the place of whatever is called *name*.

        The log is complete or what it was before. Raises OSError.
        """
        part = f".{name}.{secrets.token_hex(8)}"
        fd = os.open(part, NEW, LOG_MODE, dir_fd=self._fd)
        try:
            with open(fd, "wb") as log:
                log.writelines(lines)
                log.flush()
                os.fsync(fd)
            os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=self._fd)
            raise

    def close(self) -> None:
        """Close the directory."""
        os.close(self._fd)
