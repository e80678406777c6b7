"""Configuration files, read and replaced as a whole.

A file is replaced in one step: whoever reads it, also after a power cut, finds the old or the new
one. What is given by a symbolic link is replaced where the link leads.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import tempfile
from pathlib import Path

from ..errors import FatalError, UsageError

CONFIG = Path("/etc/archipelago/archipelago.conf")
V03 = Path("/etc/default/archipelago")
LARGEST = 1 << 18  # bytes; the package's own file has 4,000
MODE = 0o644  # of a new file, as the package installs it: there are no secrets in it
CODEC = ("utf-8", "surrogateescape")


def read_file(path: Path) -> bytes:
    """Return a file's content. Raises OSError, and UsageError if it is no configuration."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a fifo would wait
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{path}: not a regular file")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(fd)
    if len(content) > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST:,} bytes: this is no configuration")
    return content


def read_text(path: Path) -> str:
    """Return the text of an INI file, lines as they are. Raises OSError, UsageError.

    Surrogates stand for bytes that are not UTF-8.
    """
    return read_file(path).decode(*CODEC)


def diff(old: str, new: str, path: Path) -> list[str]:
    """Return the lines of a unified diff."""
    before, after = (text.splitlines() for text in (old, new))
    return list(difflib.unified_diff(before, after, f"{path} (now)", f"{path} (new)", lineterm=""))


def replace_file(path: Path, old: str | None, new: str) -> None:
    """Put *new* in the place of *old*, durably; mode, owner and group stay.

    If the file has not the content *old* any more (None: if there is one now), nothing is changed.
    Raises FatalError; there is no new file then, or it has been complete already.
    """
    path = Path(os.path.realpath(path))
    try:
        _replace(path, old, new)
    except OSError as error:
        raise FatalError(f"{path}: not written: {error.strerror}") from None


def _replace(path: Path, old: str | None, new: str) -> None:
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(new.encode(*CODEC))
            file.flush()
            _take_over(fd, path)
            os.fsync(fd)
        _check_unchanged(path, old)
        if old is None:
            os.link(name, path)  # which fails if there is one
        else:
            os.rename(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _take_over(fd: int, path: Path) -> None:
    """Give the new file the owner and mode of the old one."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, MODE)
        return
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))


def _check_unchanged(path: Path, old: str | None) -> None:
    try:
        now = read_text(path)
    except FileNotFoundError:
        now = None
    if now != old:
        raise FatalError(f"{path}: somebody has changed it meanwhile; nothing was written")
