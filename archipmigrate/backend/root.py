"""Whether a share's root is still there: what was removed reads as a directory without entries."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from ..model import Failure, Scan

DELETED = b" (deleted)"  # proc(5): after the path of what a descriptor is open on


def is_removed(root: int) -> bool:
    """Say whether the directory that *root* is open on was removed."""
    try:
        path = os.readlink(f"/proc/self/fd/{root}".encode())
    except OSError:
        return False  # not known: no /proc, or a very long path
    if not path.endswith(DELETED):
        return False
    try:
        return not os.path.samestat(os.lstat(path), os.fstat(root))  # it may have such a name
    except OSError:
        return True


def with_root(scan: Scan, root: int) -> Scan:
    """Return the scan; with a failure of the root's, ENOENT, if that was removed meanwhile."""
    if not is_removed(root):
        return scan
    return replace(scan, failures=[*scan.failures, Failure(b"", "open", errno.ENOENT)])
