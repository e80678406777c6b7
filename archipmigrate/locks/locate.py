"""Where maps and locks are, and whose the lock directory becomes: by a configuration, or options.

Unlike for `mapfiles`, the lock directory may be missing: v0.3's locks lie among the maps.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import FatalError, UsageError
from ..maps.locate import check_no_locks_beside, configured_blocker, gid_of, locate_maps, uid_of
from ..maps.settings import lock_directory_identity
from ..perms.settings import resolve_group, resolve_user
from ..ui.text import quoted
from .settings import LocksSettings

NEITHER = "--adopt needs to know whose the directory is to be: add --owner NAME --group NAME"


@dataclass(frozen=True, slots=True)
class LocksPlace:
    """The maps directory, and in the settings the lock directory.

    `missing` is one that is configured, but not there.
    """

    maps: str
    settings: LocksSettings
    missing: str = ""


def locate_locks(config: Path | None, maps: str | None, locks: str | None) -> LocksPlace:
    """Return where maps and locks are. Raises UsageError, FatalError, ShareError."""
    if maps is not None:
        maps, found = locate_maps(config, maps, locks)
        if not found.locks:
            check_no_locks_beside(maps)
        return _place(maps, found.locks)
    if locks is not None:
        raise UsageError("--locks goes with --maps; a configuration names its lock directory")
    _, blocker = configured_blocker(config)
    if blocker.lock_dir and not os.path.lexists(blocker.lock_dir):
        return LocksPlace(blocker.archip_dir, LocksSettings(), blocker.lock_dir)
    return _place(blocker.archip_dir, blocker.lock_dir or "")


def _place(maps: str, locks: str) -> LocksPlace:
    if locks and os.path.realpath(locks) == os.path.realpath(maps):
        raise UsageError(
            f"{quoted(os.fsencode(maps))} is both maps and lock directory: each has its own"
        )
    return LocksPlace(
        maps, LocksSettings(locks=locks, locks_identity=lock_directory_identity(locks))
    )


@dataclass(frozen=True, slots=True)
class Adopted:
    """The lock directory, and whose it becomes."""

    path: str
    uid: int
    gid: int


def locate_adopted(
    config: Path | None, locks: str | None, owner: str | None, group: str | None
) -> Adopted:
    """Return the directory to adopt. Raises UsageError, FatalError."""
    uid = None if owner is None else resolve_user(owner)
    gid = None if group is None else resolve_group(group)
    if locks is None:
        path, blocker = configured_blocker(config)
        if not blocker.lock_dir:
            raise FatalError(
                f"{path} has no lock directory: add lock_dir=/srv/archip/locks (or another one "
                "that all nodes share) to [blockerm], on all nodes"
            )
        locks = blocker.lock_dir
        uid = uid_of(blocker.user, path) if uid is None else uid
        gid = gid_of(blocker.group, path) if gid is None else gid
    if not locks:
        raise UsageError("--locks needs the name of a directory, not an empty one")
    if uid is None or gid is None:
        raise UsageError(NEITHER)
    return Adopted(os.path.abspath(locks), uid, gid)
