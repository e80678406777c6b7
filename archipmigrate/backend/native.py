"""The `native` backend: the two verbs in C, one call a unit, without the GIL for all of it."""

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
from .base import CHUNKS, WIDE, ScanOptions, read_ahead
from .open_dirs import OpenDirs, OpenDirsPool


@dataclass(slots=True)
class NativeCursor:
    """A wide directory whose reading goes on later: its descriptor stands where that is."""

    path: bytes
    inode: int
    fd: int

    def close(self) -> None:
        """Give up the place and its descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class NativeBackend:
    """Scan and apply below one directory, in C."""

    name = "native"
    nfs_version = 0
    remark = ""

    def __init__(self, root: int, *, descriptors: int = 64, open_dirs: int = 0) -> None:
        """Work below *root*, a directory descriptor (duplicated).

        A worker has at most *descriptors* open on its way; at most *open_dirs* directories in all
        stay open from scan to apply.
        """
        self._root = os.dup(root)
        self._descriptors = descriptors
        self._pool = OpenDirsPool(open_dirs)

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`)."""
        cursor = unit.cursor if isinstance(unit.cursor, NativeCursor) else None
        place = cursor.fd if cursor else -1
        if cursor:
            cursor.fd = -1  # the call takes it over, however it ends
        hold = self._pool.acquire() if options.hold else 0
        (
            tally,
            changes,
            count,
            rest,
            chunks,
            wide,
            again,
            failures,
            links,
            notices,
            fds,
        ) = _native.scan(
            self._root,
            b"" if cursor else unit.body,
            place,
            cursor.path if cursor else b"",
            cursor.inode if cursor else 0,
            unit.counted,
            unit.retries >= RETRIES,
            policy.gid,
            policy.directory_bits,
            policy.file_bits,
            b"".join(bytes((len(name),)) + name for name in sorted(options.excludes)),
            options.skip_links,
            options.cross,
            options.xattrs,
            limits.seconds,
            limits.entries,
            limits.changes,
            limits.stop,
            self._descriptors,
            hold,
            *read_ahead(WIDE, CHUNKS, remote=options.remote),
            options.remote,
        )
        retained = OpenDirs(self._pool, array("i", fds)) if fds else None
        self._pool.release(hold - (retained.reserved if retained else 0))
        return Scan(
            Tally(**tally),
            changes,
            count,
            Unit(*rest, unit.retries, unit.counted) if rest else None,
            [Unit(*chunk) for chunk in chunks],
            _continuation(*wide) if wide else None,
            [Unit(body, n, unit.retries + 1, counted) for body, n, counted in again],
            [Failure(*failure) for failure in failures],
            [Link(*link) for link in links],
            [Notice(*notice) for notice in notices],
            retained,
        )

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
        """Make, settle, check or put back changes (see `base.Backend.apply`)."""
        fds = retained.fds if isinstance(retained, OpenDirs) else array("i")
        return Applied(
            *_native.apply(
                self._root,
                changes,
                int(verb),
                deny_limit,
                born_before,
                self._descriptors,
                fds,
                stop,
            )
        )

    def close(self) -> None:
        """Give up the root's descriptor."""
        os.close(self._root)


def _continuation(fd: int, path: bytes, inode: int) -> Unit:
    return Unit(pack_groups([whole(path, inode)]), cursor=NativeCursor(path, inode, fd))
