"""What has become of an object since it got its second name. Pure.

v0.3 may have deleted it, and made it again: then another inode lies at the old place, and the one
that got the second name lives on at the new place. A second node that had it open goes on writing
to that one. Its times tell: its unlink set ctime, and only a write after that sets both mtime and
ctime. So equal times mean that it was written after it was unlinked, or at the same instant. chmod
and chown set ctime, too, and erase the evidence: nothing is judged once they may have come.
"""

from __future__ import annotations

import os

WRITTEN = "written after it was deleted, by another node that still had it open: both are kept"
EMPTY = "empty here, and with data at its new place: v0.3 may only have read it: both are kept"
TAKEN = "another file, with other content, lies at its new place: both are kept"


def conflict(kept: os.stat_result, here: os.stat_result | None) -> str:
    """Return why nobody can tell which of two inodes counts; "" if it is what v0.3 has.

    *kept* is the inode at the new place, *here* the one at the old place (None: deleted).
    """
    if kept.st_mtime_ns == kept.st_ctime_ns:
        return WRITTEN
    if here is not None and not here.st_size and kept.st_size:
        return EMPTY
    return ""
