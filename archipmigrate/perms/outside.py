"""The state directory must never be changed, however a walk comes to it.

A session refuses a state directory that lies in the share. This is for what it cannot see then: a
mount that is made later, or is entered because other filesystems are; a share that this very host
exports; an overlay. There are two signs:

    device and inode    of a directory that a walk enters: `ScanOptions.never`
    names               of what is about to change: a server shows other devices, so that there an
                        entry is taken for the state's own by its name and its owner, and the state
                        directory itself by its name and its inode
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..backend.base import MET_NEVER
from ..errors import ShareError
from ..journal.store import SUFFIX
from ..model import Scan
from ..packed.changes import Change, read_changes
from ..ui.text import quoted

# What all names of files in a state directory contain: journals and what is beside them, locks.
PARTS = (SUFFIX.encode(), b".lock")


def close_scan(scan: Scan) -> None:
    """Close what a scan keeps open, which nobody is going to apply or continue."""
    if scan.retained is not None:
        scan.retained.close()
    if scan.wide is not None and scan.wide.cursor is not None:
        scan.wide.cursor.close()


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The state directory, as it was when the session began."""

    path: bytes
    name: bytes
    device: int
    inode: int
    owner: int

    @classmethod
    def at(cls, path: Path) -> StateDirectory | None:
        """Return the state directory; None if it is not there, before a dry run."""
        try:
            real = path.resolve(strict=True)
            found = real.stat()
        except OSError:
            return None
        name = os.fsencode(real.name)
        return cls(os.fsencode(real), name, found.st_dev, found.st_ino, found.st_uid)

    def refuse(self, scan: Scan) -> None:
        """Refuse a scan that met the state directory or found that it must change.

        Raises ShareError, having closed what the scan keeps open: the run stops, and the unit is
        still to be done.
        """
        for path in self._met(scan):
            close_scan(scan)
            raise ShareError(
                f"{quoted(path)} in the share is, or belongs to, the state directory "
                f"{quoted(self.path)}, which must not be opened to a group: choose a directory "
                "outside the share with --state"
            )

    def _met(self, scan: Scan) -> Iterator[bytes]:
        for failure in scan.failures:
            if failure.errno == MET_NEVER:
                yield failure.path
        found = scan.preimage
        inode = self.inode.to_bytes(8, "little")  # as changes have it
        if inode in found or any(part in found for part in PARTS):
            for change in read_changes(found):
                if self._has(change):
                    yield change.path

    def _has(self, change: Change) -> bool:
        name = change.path.rpartition(b"/")[2]
        if change.uid != self.owner:
            return False
        if change.directory:
            return change.inode == self.inode and name == self.name
        return any(part in name for part in PARTS) and os.path.lexists(
            os.path.join(self.path, name)
        )
