"""Makes the lock directory as v0.4 needs it: USER's, GROUP's, and mode 2770.

    missing       made with mode 0700, then given owner and mode: a kill in between leaves a
                  directory that the next call completes
    there         owner and mode are set, if they differ; nothing in it is touched
    a link, ...   refused: what it leads to may be anything

No job, and no undo: it says what the directory was like.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from dataclasses import dataclass

from ..errors import FatalError
from ..tree.files import DIRECTORY
from ..ui.text import group_name, mode_bits, quoted
from .locate import Adopted

MODE = 0o2770


@dataclass(frozen=True, slots=True)
class Attrs:
    """Owner and mode of a directory."""

    uid: int
    gid: int
    mode: int

    def __str__(self) -> str:
        """Return them as `stat -c '%U:%G %a'` does."""
        return f"{_user(self.uid)}:{group_name(self.gid)} {mode_bits(self.mode)}"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was, or would be, done: `before` is None if the directory was missing."""

    path: str
    before: Attrs | None
    after: Attrs

    @property
    def is_needed(self) -> bool:
        """Whether the directory was not as it should be."""
        return self.before != self.after


def adopt(wanted: Adopted, *, dry_run: bool) -> Adoption:
    """Make the lock directory as v0.4 needs it; durable on return. Raises FatalError."""
    after = Attrs(wanted.uid, wanted.gid, MODE)
    try:
        before = _change(wanted.path, after, dry_run=dry_run)
    except OSError as error:
        raise FatalError(_refusal(wanted.path, error)) from None
    return Adoption(wanted.path, before, after)


def _change(path: str, after: Attrs, *, dry_run: bool) -> Attrs | None:
    name = os.path.basename(path)
    above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = None
        try:
            fd = os.open(name, DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            if dry_run:
                return None
            os.mkdir(name, 0o700, dir_fd=above)
            fd = os.open(name, DIRECTORY, dir_fd=above)
        else:
            before = _attrs(fd)
        try:
            if not dry_run and _attrs(fd) != after:
                _give(fd, after)
                os.fsync(fd)
                os.fsync(above)
        finally:
            os.close(fd)
    finally:
        os.close(above)
    return before


def _give(fd: int, after: Attrs) -> None:
    """Set owner and mode; chown takes set-id bits off, so the mode comes last."""
    found = _attrs(fd)
    if (found.uid, found.gid) != (after.uid, after.gid):
        os.fchown(fd, after.uid, after.gid)
    if _attrs(fd).mode != after.mode:
        os.fchmod(fd, after.mode)
    if _attrs(fd) != after:
        raise OSError(errno.EIO, f"the server made it {_attrs(fd)}, not {after}")


def _attrs(fd: int) -> Attrs:
    found = os.fstat(fd)
    return Attrs(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def _refusal(path: str, error: OSError) -> str:
    shown = quoted(os.fsencode(path))
    # With O_NOFOLLOW and O_DIRECTORY a link is no directory.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        if os.path.islink(path):
            return f"{shown} is a symbolic link: name the directory that it leads to as lock_dir"
        return f"{shown} is no directory: move away what is there, or name another lock_dir"
    if error.errno == errno.ENOENT:
        return f"{shown}: the directory above it is missing: mount the share first"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"{shown}: {error.strerror}: run this as root, on a mount with no_root_squash"
    return f"{shown}: {error.strerror}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
