"""Which mode, owner and group an entry must have. Pure: no file is touched here.

The rule is the end state of the upgrade guide's five commands ("Adjust NFS shares permissions"):
`chmod g+rwxs` and `chgrp` for directories, `chmod g+rw` and `chgrp` for regular files, where chgrp
on a regular file strips set-uid always and set-gid if the file is group-executable. `chown`, for
those who give the share to another owner, too, strips the same bits.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

DIRECTORY_BITS = 0o2070
FILE_BITS = 0o0060
NO_ID = 0xFFFFFFFF  # fchown(2) takes it for "no change"


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """Every directory and regular file belongs to `gid` and has these bits, at least.

    And it belongs to `uid`, unless that is NO_ID: then each keeps its owner.
    """

    gid: int
    directory_bits: int = DIRECTORY_BITS
    file_bits: int = FILE_BITS
    uid: int = NO_ID

    def complies(self, mode: int, uid: int, gid: int) -> bool:
        """Say whether a directory or file with this mode, owner and group may stay untouched."""
        bits = self.directory_bits if stat.S_ISDIR(mode) else self.file_bits
        return gid == self.gid and self.uid in (uid, NO_ID) and mode & bits == bits

    def wanted(self, mode: int) -> int:
        """Return the mode (type included) that an entry of this mode gets once it must change."""
        if stat.S_ISDIR(mode):
            return mode | self.directory_bits
        return stripped(mode) | self.file_bits


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
    """Return the mode that an undo gives back: the old one without set-id bits that were taken."""
    return mode & (new_mode | ~(stat.S_ISUID | stat.S_ISGID))
