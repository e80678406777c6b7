"""The `python` backend: the reference for what scan and apply mean, and the fallback without C.

It needs the os module and a C library that ctypes can call. Directories are opened step by step
with O_NOFOLLOW, or by openat2 over long ways; entries are pinned with O_PATH, and changed through
the pinned descriptor.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import replace

from ... import model
from ...model import NEVER, NOTHING_KNOWN, Applied, Known, Limits, Scan, StopFlag, Unit, Verb
from ...policy import GroupPolicy
from ..base import ScanOptions
from ..open_dirs import OpenDirs, OpenDirsPool
from ..root import with_root
from .apply import Apply
from .border import Border
from .scan import Walk


class PythonBackend:
    """Scan and apply below one directory, in Python."""

    name = "python"
    nfs_version = 0
    remark = ""

    def __init__(self, root: int, *, descriptors: int = 64, open_dirs: int = 0) -> None:
        """Work below *root*, a directory descriptor (duplicated).

        A call keeps at most *descriptors* directories open while it works. At most *open_dirs*
        directories, over all calls, stay open from scan to apply.
        """
        self._root = os.dup(root)
        self._border = Border.of(self._root)
        self._descriptors = descriptors
        self._pool = OpenDirsPool(open_dirs)
        self._kept = 0  # what changes have shown to be kept

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`)."""
        reserved = self._pool.acquire() if options.retain else 0
        walk = Walk(self._root, self._border, policy, options, limits, self._descriptors, reserved)
        scan = walk.run(unit)
        retained = OpenDirs(self._pool, walk.open_dirs()) if reserved else None
        self._pool.release(reserved - (retained.reserved if retained else 0))
        return with_root(replace(scan, retained=retained), self._root)

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        known: Known = NOTHING_KNOWN,
        retained: model.Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        """Make, settle, check or put back changes (see `base.Backend.apply`)."""
        fds = retained.fds if isinstance(retained, OpenDirs) else array("i")
        apply = Apply(self._root, verb, deny_limit, known, self._kept, self._descriptors, fds, stop)
        applied = apply.run(changes)
        self._kept |= apply.kept
        return applied

    def close(self) -> None:
        """Close the root's descriptor."""
        os.close(self._root)
