"""The `native` backend: scan and apply in C, in one call a unit that does not hold the GIL."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass

from .. import _native, model
from ..model import (
    NEVER,
    RETRIES,
    Applied,
    Failure,
    Limits,
    Link,
    Notice,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Verb,
)
from ..packed.groups import pack_groups, whole
from ..policy import GroupPolicy
from .base import CHUNKS, WIDE, ScanOptions, read_ahead, scan_arguments
from .open_dirs import OpenDirs, OpenDirsPool
from .root import with_root


@dataclass(slots=True)
class NativeCursor:
    """A wide directory that is read in parts: its descriptor stands where the reading goes on."""

    path: bytes
    inode: int
    fd: int

    def take_fd(self) -> int:
        """Return the descriptor, which is the caller's to close from now on; -1 if it is taken."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        """Close the descriptor."""
        if (fd := self.take_fd()) >= 0:
            os.close(fd)


class NativeBackend:
    """Scan and apply below one directory, in C."""

    name = "native"
    nfs_version = 0
    remark = ""

    def __init__(self, root: int, *, descriptors: int = 64, open_dirs: int = 0) -> None:
        """Work below *root*, a directory descriptor (duplicated).

        A call keeps at most *descriptors* directories open while it works. At most *open_dirs*
        directories, over all calls, stay open from scan to apply.
        """
        self._root = os.dup(root)
        self._descriptors = descriptors
        self._pool = OpenDirsPool(open_dirs)

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`)."""
        cursor = unit.cursor if isinstance(unit.cursor, NativeCursor) else None
        wide, chunks = read_ahead(WIDE, CHUNKS, remote=options.remote)
        reserved = self._pool.acquire() if options.retain else 0
        found = _native.scan(
            root=self._root,
            body=b"" if cursor else unit.body,
            cursor=cursor.take_fd() if cursor else -1,
            cursor_path=cursor.path if cursor else b"",
            cursor_inode=cursor.inode if cursor else 0,
            counted=unit.counted,
            last_try=unit.retries >= RETRIES,
            **scan_arguments(policy, options, limits),
            xattrs=options.xattrs,
            remote=options.remote,
            never_device=options.never[0],
            never_inode=options.never[1],
            descriptors=self._descriptors,
            most_open_dirs=reserved,
            wide=wide,
            chunks=chunks,
        )
        retained = OpenDirs(self._pool, array("i", found.open_dirs)) if found.open_dirs else None
        self._pool.release(reserved - (retained.reserved if retained else 0))
        scan = Scan(
            Tally(**found.tally),
            preimage=found.changes,
            count=found.change_count,
            rest=Unit(*found.rest, unit.retries, unit.counted) if found.rest else None,
            chunks=[Unit(*chunk) for chunk in found.chunks],
            wide=_continuation(*found.wide) if found.wide else None,
            again=[Unit(body, n, unit.retries + 1, counted) for body, n, counted in found.again],
            failures=[Failure(*failure) for failure in found.failures],
            links=[Link(*link) for link in found.links],
            notices=[Notice(*notice) for notice in found.notices],
            retained=retained,
        )
        return with_root(scan, self._root)

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        born_before: int = 0,
        retained: model.Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        """Make, settle or put back changes (see `base.Backend.apply`)."""
        fds = retained.fds if isinstance(retained, OpenDirs) else array("i")
        done = _native.apply(
            root=self._root,
            changes=changes,
            verb=verb,
            deny_limit=deny_limit,
            born_before=born_before,
            descriptors=self._descriptors,
            open_dirs=fds,
            stop=stop,
        )
        return Applied(done.outcomes, done.failures, done.stamps, done.first_ctime)

    def close(self) -> None:
        """Close the root's descriptor."""
        os.close(self._root)


def _continuation(fd: int, path: bytes, inode: int) -> Unit:
    return Unit(pack_groups([whole(path, inode)]), cursor=NativeCursor(path, inode, fd))
