"""Mounts, as mountinfo, mountstats and fdinfo of /proc/self have them: proc(5).

The only module that parses these files. Fields of a `Mount` keep the octal escapes of mountinfo;
`unescape` undoes them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ShareError


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount. `options` are the mount's own, then its filesystem's; `point` is where it is.

    `device` names the filesystem, and `root` the directory of it that is mounted.
    """

    fstype: str
    source: str
    options: str
    point: str = ""
    device: str = ""
    root: str = ""

    def option_values(self) -> dict[str, str]:
        """Return the options that have a value, by their names."""
        return dict(word.split("=", 1) for word in self.options.split(",") if "=" in word)


def parse_mount(line: str) -> Mount:
    """Read a line of mountinfo."""
    ours, _, rest = line.rstrip("\n").partition(" - ")
    fstype, source, superblock = rest.split(" ")[:3]
    device, root, point, options = ours.split(" ")[2:6]
    return Mount(fstype, source, f"{options},{superblock}", point, device, root)


def read_mounts() -> dict[int, Mount]:
    """Return the mounts of this process's namespace, by their ids. Raises OSError."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        return {int(line.split(" ", 1)[0]): parse_mount(line) for line in lines}


def mount_of(fd: int) -> Mount:
    """Return the mount that an open descriptor is on; "unknown" if it is of another namespace.

    Raises ShareError where /proc is not mounted.
    """
    try:
        return read_mounts().get(mount_id(fd)) or Mount("unknown", "unknown", "")
    except FileNotFoundError:
        raise ShareError("/proc is not mounted here: it is needed to name descriptors") from None


def age_of(mount: Mount, lines: Iterable[str]) -> int | None:
    """Return for how many seconds an NFS filesystem is mounted; None if mountstats does not tell.

    Mounts of one filesystem share its age, as they share its cache. If several filesystems from one
    source are mounted on one point, above each other, return the age of the oldest. *lines* are
    those of /proc/self/mountstats.
    """
    head = ["device", mount.source, "mounted", "on", mount.point, "with", "fstype", mount.fstype]
    ages: list[int] = []
    is_ours = False
    for line in lines:
        words = line.split()
        if words[:1] == ["device"]:
            is_ours = words[:8] == head
        elif is_ours and words[:1] == ["age:"]:
            ages.append(int(words[1]))
    return max(ages, default=None)


def read_age(mount: Mount) -> int | None:
    """Return for how many seconds an NFS filesystem is mounted; None if that is not known."""
    try:
        with open("/proc/self/mountstats", errors="surrogateescape") as lines:
            return age_of(mount, lines)
    except (OSError, ValueError):
        return None


def path_within(fd: int) -> tuple[str, bytes] | None:
    """Return an open directory's filesystem, and its path there; None if that is not known.

    The path is the same by whatever mount of the filesystem the directory was opened. Raises
    OSError, ShareError.
    """
    mount = mount_of(fd)
    path = os.readlink(f"/proc/self/fd/{fd}".encode())
    point = unescape(mount.point).rstrip(b"/")
    if not mount.device or not (path + b"/").startswith(point + b"/"):
        return None
    return mount.device, unescape(mount.root).rstrip(b"/") + path[len(point) :].rstrip(b"/")


def mount_id(fd: int) -> int:
    """Return the id of the mount that an open descriptor is on; -1 before Linux 3.15."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
        for line in lines:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    return -1


def mount_points() -> list[bytes]:
    """Return the paths on which something is mounted. Raises OSError."""
    return [unescape(mount.point) for mount in read_mounts().values()]


def is_below(point: bytes, path: bytes) -> bool:
    """Return whether a mount point is below a directory, not the directory itself."""
    return point.startswith(path.rstrip(b"/") + b"/")


def unescape(field: str) -> bytes:
    """Undo the octal escapes of a field (space, tab, newline, backslash, and # in some)."""
    return re.sub(rb"\\([0-3][0-7]{2})", lambda code: bytes((int(code[1], 8),)), os.fsencode(field))
