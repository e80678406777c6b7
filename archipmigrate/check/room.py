"""The room that the jobs need: inodes and bytes on the share, and for undo in the state directory.

Reckoned from what the walks found, at most: on ext4 each new directory and file takes an inode and
a block.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..journal.location import SPARE_BYTES, spare_bytes
from ..relocate.room import DIRECTORY_BYTES
from ..ui.text import count
from .finding import Finding, Topic, blocker, ok

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Need:
    """What a job needs below a directory: new inodes, and bytes beside their own blocks."""

    job: str
    path: str
    inodes: int
    more_bytes: int = 0

    @property
    def bytes(self) -> int:
        """All bytes that are needed."""
        return self.inodes * DIRECTORY_BYTES + self.more_bytes


def on_share(need: Need) -> Finding:
    """Compare a need with the room on the filesystem of its directory."""
    try:
        room = os.statvfs(need.path)
    except OSError as error:
        return blocker(Topic.ROOM, f"{need.path}: {error.strerror}", "see to that")
    privileged = os.geteuid() == 0
    inodes = room.f_ffree if privileged else room.f_favail
    spare = (room.f_bfree if privileged else room.f_bavail) * room.f_frsize
    wanted = f"{need.job} needs up to {count(need.inodes, 'inode')} and {_mib(need.bytes)}"
    left = f"{need.path} has {f'{inodes:,} and ' if room.f_files else ''}{_mib(spare)} left"
    data = {"job": need.job, "inodes": need.inodes, "bytes": need.bytes}
    if (room.f_files and inodes < need.inodes) or spare < need.bytes:
        return blocker(Topic.ROOM, f"{wanted}; {left}", "make room there", **data)
    return ok(Topic.ROOM, f"{wanted}; {left}", **data)


def for_undo(job: str, state: Path, needed: int) -> Finding:
    """Compare the bytes that a job keeps for its undo with the room in the state directory."""
    place = next(path for path in (state, *state.parents) if path.is_dir())
    spare = max(spare_bytes(place) - SPARE_BYTES, 0)
    words = f"{job} keeps up to {_mib(needed)} for its undo; {state} has {_mib(spare)} left"
    data = {"job": job, "undo_bytes": needed}
    if needed > spare:
        return blocker(Topic.ROOM, words, "make room there, or name another disk: --state", **data)
    return ok(Topic.ROOM, words, **data)


def _mib(size: int) -> str:
    return f"{-(-size // MIB):,} MiB"
