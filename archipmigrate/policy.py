"""Which mode, owner and group an entry must have. Pure: no file is touched here.

The rule is the end state of the upgrade guide's five commands ("Adjust NFS shares permissions"):
`chmod g+rwxs` and `chgrp` for directories, `chmod g+rw` and `chgrp` for regular files, where chgrp
on a regular file strips set-uid always and set-gid if the file is group-executable. `chown`, for
those who give the share to another owner, too, strips the same bits. Other modes take the place of
these two in the same way (`modes`).
"""

from __future__ import annotations

import stat
from array import array
from dataclasses import dataclass
from functools import lru_cache

from .modes import ALL, GUIDE, Modes

NO_ID = 0xFFFFFFFF  # fchown(2) takes it for "no change"
COMPLIES = 0x8000  # beside a mode in `packed_modes`


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """Every directory and regular file belongs to `gid` and is as `modes` leave it.

    And it belongs to `uid`, unless that is NO_ID: then each keeps its owner.
    """

    gid: int
    modes: Modes = GUIDE
    uid: int = NO_ID

    def complies(self, mode: int, uid: int, gid: int) -> bool:
        """Say whether a directory or file with this mode, owner and group may stay untouched."""
        is_theirs = gid == self.gid and self.uid in (uid, NO_ID)
        return is_theirs and self.modes.changed(mode) == mode

    def wanted(self, mode: int) -> int:
        """Return the mode (type included) that an entry of this mode gets once it must change."""
        return stripped(self.modes.changed(mode))


@lru_cache(maxsize=8)
def packed_modes(modes: Modes) -> bytes:
    """Return for C what becomes of each mode: native u16, 4,096 of directories, then of files.

    Each is the mode that an entry gets once it must change, with COMPLIES if it need not for its
    mode alone.
    """
    policy = GroupPolicy(0, modes)
    return array(
        "H",
        (
            policy.wanted(kind | mode) & ALL | COMPLIES * policy.complies(kind | mode, 0, 0)
            for kind in (stat.S_IFDIR, stat.S_IFREG)
            for mode in range(ALL + 1)
        ),
    ).tobytes()


def stripped(mode: int) -> int:
    """Return what the kernel leaves of a regular file's mode when its owner or group changes."""
    if stat.S_ISDIR(mode):
        return mode
    mode &= ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode


def without_set_id(mode: int) -> int:
    """Return the mode without set-uid and set-gid."""
    return mode & ~(stat.S_ISUID | stat.S_ISGID)


def restored_mode(mode: int, new_mode: int) -> int:
    """Return the mode that an undo gives back: of files without the set-id bits that were taken."""
    if stat.S_ISDIR(mode):
        return mode
    return mode & (new_mode | ~(stat.S_ISUID | stat.S_ISGID))
