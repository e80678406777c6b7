"""Whether the directories of a site are there, mounted, and not empty.

Where a share is not mounted, its mount point is an ordinary directory of this host: a job would
find nothing to do there, and its new files would be hidden by the next mount.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..share.mountinfo import mount_points, unescape
from .finding import Finding, Topic, blocker, ok

if TYPE_CHECKING:  # a job looks before it begins, and needs no more than this
    from .question import Question

FSTAB = Path("/etc/fstab")
IGNORED = ("none", "swap", "/")


def mounted(question: Question) -> Iterator[Finding]:
    """Look at each directory."""
    site = question.site
    for what, path in site.directories.items():
        why, todo = unusable(path, may_be_empty=what == Topic.LOCKS)
        if why:
            yield blocker(Topic.MOUNT, f"{what}: {why}", todo, path=path)
        else:
            filled = "" if what == Topic.LOCKS else ", and not empty"
            yield ok(Topic.MOUNT, f"{what}: {path} is there{filled}", path=path)


def unusable(path: str, *, may_be_empty: bool = False) -> tuple[str, str]:
    """Return why a directory is none to work on, and what to do about it; ("", "") if it is one.

    A few system calls: nothing is walked.
    """
    if point := unmounted_point(path):
        return f"{point} is not mounted, and {FSTAB} says it should be", f"mount {point}"
    try:
        nothing = is_empty(path)
    except NotADirectoryError:
        return f"{path} is no directory", "see what lies there; correct the path"
    except OSError as error:
        return f"{path}: {error.strerror}", "mount the share, or correct the path"
    if nothing and not may_be_empty:
        return (
            f"{path} is empty",
            "mount the share there; if it really has nothing in it, there is nothing to do",
        )
    return "", ""


def is_empty(path: str) -> bool:
    """Whether there is nothing in a directory. Raises OSError."""
    with os.scandir(path) as entries:
        return next(entries, None) is None


def unmounted_point(path: str) -> str:
    """Return the mount point that *path* lies on, by fstab, if nothing is mounted there; or ""."""
    path = os.path.realpath(path)
    points = [point for point in _points() if f"{path}/".startswith(f"{point}/")]
    if not points:
        return ""
    point = max(points, key=len)
    return "" if os.fsencode(point) in mount_points() else point


def _points() -> Iterator[str]:
    """Yield the mount points of a fstab(5). None is looked at: its server may not answer."""
    try:
        lines = FSTAB.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) >= 3 and fields[0][0] != "#" and fields[1] not in IGNORED:
            yield os.path.normpath(os.fsdecode(unescape(fields[1])))
