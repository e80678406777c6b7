"""The settings of a permissions run: which group and owner, and what is left alone."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..modes import GUIDE, GUIDE_TEXT, read_modes
from ..numerals import read_number
from ..policy import NO_ID

# Names of directories that hold snapshots: of NetApp, ZFS, snapper and Synology.
SNAPSHOTS = (".snapshot", ".zfs", ".snapshots", "~snapshot", "#snapshot")
# What a run's header has among the excludes if snapshots are skipped, as it always had.
IN_HEADER = frozenset((".snapshot", ".zfs"))
DEFAULT_GROUP = "archipelago"
NAME_MAX = 255  # of Linux, and of what a scan is given


@dataclass(frozen=True, slots=True)
class PermsSettings:
    """What must be the same for a run to be resumed.

    `excludes` are names of directories that are not entered, sorted; `snapshots` skips directories
    of snapshots; `skip_links` leaves files with several links alone; `cross` enters other
    filesystems. `domain` is that of NFSv4 owners: with another one, numbers mean something else.
    `uid` is NO_ID if each entry keeps its owner. `mode` is read by `modes.read_modes`.
    """

    gid: int
    excludes: tuple[str, ...]
    skip_links: bool
    cross: bool
    domain: str = ""
    snapshots: bool = True
    uid: int = NO_ID
    mode: str = GUIDE_TEXT

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps.

        That snapshots are skipped shows in the excludes, as in headers of earlier versions; where
        it does not, because the user gave the same names, it is said beside them. With an owner
        there are `ids` in place of `gid`, so that no earlier version goes on without the owner;
        with another mode than the guide's that is a third in them.
        """
        excludes = {*self.excludes, *(IN_HEADER if self.snapshots else ())}
        given = [list(self.excludes), self.snapshots]
        ids: dict[str, object] = {"gid": self.gid}
        if self.mode != GUIDE_TEXT:
            ids = {"ids": [self.uid, self.gid, self.mode]}
        elif self.uid != NO_ID:
            ids = {"ids": [self.uid, self.gid]}
        return {
            **ids,
            "excludes": sorted(excludes),
            "skip_links": self.skip_links,
            "cross": self.cross,
            **({"domain": self.domain} if self.domain else {}),
            **({} if _split(excludes) == (self.excludes, self.snapshots) else {"given": given}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PermsSettings:
        """Read what `as_dict` returned."""
        excludes, snapshots = stored.get("given") or _split(stored["excludes"])
        uid, gid, *mode = stored["ids"] if "ids" in stored else (NO_ID, stored["gid"])
        return cls(
            int(gid),
            tuple(str(name) for name in excludes),
            bool(stored["skip_links"]),
            bool(stored["cross"]),
            str(stored.get("domain", "")),
            bool(snapshots),
            int(uid),
            str(mode[0]) if mode else GUIDE_TEXT,
        )


def _split(excludes: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """Return the names that a user excluded, sorted, and whether snapshots are skipped."""
    names = {str(name) for name in excludes}
    snapshots = names >= IN_HEADER
    return tuple(sorted(names - IN_HEADER if snapshots else names)), snapshots


def read_excludes(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of directories to leave alone, sorted. Raises UsageError."""
    excludes = tuple(sorted(set(names)))
    for name in excludes:
        if not name or "/" in name:
            raise UsageError(f"--exclude {name!r}: give the name of a directory, not a path")
        if len(os.fsencode(name)) > NAME_MAX:
            raise UsageError(f"--exclude {name[:20]!r}...: a name has at most {NAME_MAX} bytes")
    return excludes


def read_mode(text: str) -> str:
    """Return a mode as the settings have it. Raises UsageError."""
    text = " ".join(text.split())
    try:
        modes = read_modes(text)
    except ValueError as error:
        raise UsageError(f"--mode {text!r}: {error}") from None
    return GUIDE_TEXT if modes == GUIDE else text


def resolve_group(text: str) -> int:
    """Return the gid of a group's name or number. Raises UsageError."""
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        pass
    gid = read_number(text)
    if gid is None:
        raise UsageError(
            f"there is no group {text!r} on this host: make it (groupadd --system {text}; with "
            "NFSv3 its gid must be the same on every node), or choose another with --group NAME|GID"
        )
    if gid >= NO_ID:
        raise UsageError(f"--group {text}: gids end at {NO_ID - 1}, and {NO_ID} means no group")
    return gid


def resolve_user(text: str) -> int:
    """Return the uid of a user's name or number. Raises UsageError."""
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        pass
    uid = read_number(text)
    if uid is None:
        raise UsageError(
            f"--owner {text}: there is no such user on this host: make it (useradd --system "
            f"{text}; with NFSv3 its uid must be the same on every node), or give a number"
        )
    if uid >= NO_ID:
        raise UsageError(f"--owner {text}: uids end at {NO_ID - 1}, and {NO_ID} means no user")
    return uid
