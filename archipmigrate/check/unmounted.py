"""Whether a directory is an empty mount point: a few system calls, nothing is walked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..share.mountinfo import mount_points, unescape

FSTAB = Path("/etc/fstab")
IGNORED = ("none", "swap", "/")


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
