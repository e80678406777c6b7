"""The `python` backend: the reference for what scan and apply mean, and the fallback without C.

It needs nothing but the os module, and a C library that it can call: directories are opened step by
step with O_NOFOLLOW, or by openat2 where that is far; entries are pinned with O_PATH and changed
through /proc/self/fd.
"""

from __future__ import annotations

import os

from ...model import Applied, Limits, Scan, Unit, Verb
from ...policy import GroupPolicy
from ..base import ScanOptions
from .apply import Apply
from .border import Border
from .scan import Walk


class PosixBackend:
    """Scan and apply below one directory, in Python."""

    name = "python"

    def __init__(self, root: int, *, descriptors: int = 64) -> None:
        """Work below *root*, a directory descriptor (duplicated); hold *descriptors* a worker."""
        self._root = os.dup(root)
        self._border = Border.of(self._root)
        self._descriptors = descriptors

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`)."""
        walk = Walk(self._root, self._border, policy, options, limits, self._descriptors)
        return walk.run(unit)

    def apply(
        self, changes: bytes, verb: Verb, *, deny_limit: int = 0, born_before: int = 0
    ) -> Applied:
        """Make, settle, check or put back changes (see `base.Backend.apply`)."""
        return Apply(self._root, verb, deny_limit, born_before, self._descriptors).run(changes)

    def close(self) -> None:
        """Give up the root's descriptor."""
        os.close(self._root)
