"""The state directory: where journals are, and why some places are refused.

Undo, as root, trusts what it finds there. So nobody else may be able to write to it or to replace
it, and it must not be in the share, which is being opened to a group.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import JournalError, StateError
from ..share import NFS, Share, mount_of, path_within

SYSTEM = Path("/var/lib/archipmigrate")
RUNTIME = Path("/run/archipmigrate")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# With less room than this no run begins, and a running one ends with a checkpoint. It is about 4 s
# of pre-images at full speed.
SPARE_BYTES = 16 << 20
# Of a compressed pre-image with a random 64-digit name, including its part of SQLite's pages.
BYTES_PER_ENTRY = 70


def default_state() -> Path:
    """Return the state directory for users who do not name one."""
    if os.geteuid() == 0:
        return SYSTEM
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "archipmigrate"


def runtime_directory(state: Path) -> Path:
    """Return where locks are: for root one directory a host, whatever the state directory is."""
    if os.geteuid() == 0 and RUNTIME.parent.is_dir():
        return RUNTIME
    home = os.environ.get("XDG_RUNTIME_DIR")
    return Path(home) / "archipmigrate" if home and Path(home).is_dir() else state


def secure_directory(path: Path) -> Path:
    """Make *path* (mode 0700), or check that only the caller can write to it or replace it.

    Return the resolved path. Raises StateError with what is wrong and what to do.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = path.resolve(strict=True)
        found = real.stat()
    except OSError as error:
        raise StateError(
            f"{path}: {error.strerror}: choose another directory with --state"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{real} is not a directory: choose another one with --state")
    if found.st_uid != os.geteuid():
        raise StateError(f"{real} belongs to uid {found.st_uid}, not to the caller: refused")
    if found.st_mode & OTHERS_WRITE:
        alone = not found.st_mode & stat.S_ISVTX and any(real.glob("*.journal"))
        mend = f"chmod go-w {shlex.quote(str(real))}, or " if alone else ""
        raise StateError(
            f"{real} can be written by others: refused; {mend}give a directory of your own with "
            "--state"
        )
    for above in real.parents:
        there = above.stat()
        sticky = there.st_mode & stat.S_ISVTX
        if there.st_uid not in (0, os.geteuid()) or (there.st_mode & OTHERS_WRITE and not sticky):
            raise StateError(
                f"{real}: others could replace it, because they can write to {above}: refused"
            )
    return real


def check_place(state: Path) -> None:
    """Refuse a state directory, existing or not, on NFS. Raises StateError."""
    with _opened(_existing(state)[0]) as fd:
        if mount_of(fd).fstype in NFS:
            raise StateError(
                f"{state.resolve()} is on NFS, where a journal is neither safe nor fast: "
                "choose a directory on a local disk with --state"
            )


def check_outside(state: Path, root: int, called: str, option: str = "--state") -> None:
    """Refuse a state directory, existing or not, in a directory that a run changes.

    *root* is that directory's descriptor, *called* what it is for users, *option* how they choose
    another one. Raises StateError.
    """
    there = _existing(state)
    top = os.fstat(root)
    above = any(os.path.samestat(directory.stat(), top) for directory in there)
    with _opened(there[0]) as fd:
        if above or _is_below(fd, root):
            raise StateError(
                f"{state.resolve()} lies inside {called}, whose writers could change it: choose a "
                f"directory outside with {option}"
            )


def _existing(state: Path) -> list[Path]:
    """Return the state directory and those above it, from the first one that exists."""
    state = state.resolve()
    return [directory for directory in (state, *state.parents) if directory.is_dir()]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_below(fd: int, root: int) -> bool:
    """Whether a directory is, by whatever mount, *root* or below it in the same filesystem."""
    place, top = path_within(fd), path_within(root)
    if place is None or top is None:
        return False
    return place[0] == top[0] and (place[1] + b"/").startswith(top[1] + b"/")


def spare_bytes(state: Path) -> int:
    """Return the bytes that the caller can still write to the filesystem of *state*."""
    room = os.statvfs(state)
    return room.f_bavail * room.f_frsize


def estimated_bytes(share: Share) -> int:
    """Return the bytes of a journal of all the inodes of the share's filesystem."""
    return share.used_inodes() * BYTES_PER_ENTRY


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_durably(path: Path) -> None:
    """Remove a file, if there is one. Raises JournalError."""
    try:
        path.unlink()
        sync_directory(path.parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None
