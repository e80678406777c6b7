"""The `nfs` backend: the two verbs by calls of NFS, without a mount, many of them in flight.

READDIRPLUS (version 4: READDIR) brings a directory's entries with attributes and handles, and one
SETATTR sets mode and group together, guarded by the ctime (version 4: the change attribute) that
was seen. Handles live from scan to apply, and a minute at most; after that entries are found by
their paths again.

If the owners of a server turn out to be names, version 4 is left for version 3, once and for the
whole share: what was begun is done again. Of a wide directory that is being read then, version 3
passes over the names that version 4 had read.

    a lane     scan by v4: a name -> EPROTOTYPE, reopen ....... scan by v3 .. apply by v3, by paths
    another         apply by v4: BADOWNER -> EPROTOTYPE, waits .. apply by v3: the new may be ours
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from .. import _nfs, model
from ..model import (
    NEVER,
    RETRIES,
    Applied,
    Failure,
    Limits,
    Link,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Unsettled,
    Verb,
)
from ..packed.groups import pack_groups, whole
from ..policy import GroupPolicy
from ..share import LEFT
from ..share.url import UNMAPPED
from .base import WIDE, ScanOptions

# Of the versions that may be left for another, the one that is tried first.
BEST = 4
EMPTY = array("Q")


@dataclass(slots=True)
class NfsCursor:
    """A wide directory whose reading goes on later: its handle and where it is, on which share.

    `passed` are the keys of the names that version 4 has read, sorted when it was left.
    """

    path: bytes
    place: bytes
    opened: _nfs.Opened
    passed: array[int]

    def close(self) -> None:
        """Give up the place; nothing is open."""


@dataclass(slots=True)
class KnownHandles:
    """The handles of the entries that must change, and when they changed last, on which share."""

    packed: bytes
    opened: _nfs.Opened

    def close(self) -> None:
        """Forget the handles."""
        self.packed = b""


class NfsBackend:
    """Scan and apply on a share that `share.open_share` mounted."""

    name = "nfs"

    def __init__(
        self,
        opened: _nfs.Opened,
        calls: int,
        reopen: Callable[[], _nfs.Opened] | None = None,
    ) -> None:
        """Work on an open share, with so many *calls* in flight at most: fewer if it is slow.

        *reopen* opens it by version 3, or raises ShareError.
        """
        self._opened = opened
        self._calls = calls
        _nfs.set_bound(opened, calls)
        self._reopen = reopen
        self._reopening = Lock()
        self.nfs_version = _nfs.version(opened)
        self.remark = ""

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`). Raises OSError, ShareError."""
        opened = self._opened
        try:
            return self._scan(opened, unit, policy, options, limits)
        except OSError as error:
            opened = self._without_names(opened, error)
        return self._scan(opened, unit, policy, options, limits)

    def _scan(
        self,
        opened: _nfs.Opened,
        unit: Unit,
        policy: GroupPolicy,
        options: ScanOptions,
        limits: Limits,
    ) -> Scan:
        cursor = unit.cursor if isinstance(unit.cursor, NfsCursor) else None
        path, passed = (cursor.path, cursor.passed) if cursor else (None, array("Q"))
        notes = _nfs.version(opened) == BEST
        is_left = cursor is not None and cursor.opened is not opened
        if is_left:  # for this version; it is read from its start, and is no longer to be judged
            cursor, passed = None, array("Q", sorted(passed))
        counted = unit.counted or is_left
        tally, changes, count, rest, wide, again, failures, links, retained, names = _nfs.scan(
            opened,
            b"" if cursor else unit.body,
            cursor.place if cursor else b"",
            cursor.path if cursor else b"",
            is_left,
            EMPTY if notes else passed,
            notes,
            counted,
            unit.retries >= RETRIES or is_left,
            policy.gid,
            policy.directory_bits,
            policy.file_bits,
            b"".join(bytes((len(name),)) + name for name in sorted(options.excludes)),
            options.skip_links,
            options.cross,
            options.hold,
            limits.seconds,
            limits.entries,
            limits.changes,
            limits.stop,
            WIDE,
        )
        if is_left and rest and rest[0] == unit.body:
            return Scan(Tally(), wide=unit)  # stopped before anything was read
        passed.frombytes(names)
        if wide and wide[0] != path:  # another one, that was found in it
            passed = array("Q")
        return Scan(
            Tally(**tally),
            changes,
            count,
            Unit(*rest, unit.retries, counted) if rest else None,
            wide=_continuation(*wide, opened, passed) if wide else None,
            again=[Unit(body, n, unit.retries + 1, counted) for body, n, counted in again],
            failures=[
                Failure(path, operation, number, _note(opened, number))
                for path, operation, number in failures
            ],
            links=[Link(*link) for link in links],
            retained=KnownHandles(retained, opened) if retained else None,
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
        """Make, settle, check or put back changes (see `base.Backend.apply`).

        NFS does not tell when an inode was born: `born_before` decides nothing. Raises OSError,
        ShareError, Unsettled.
        """
        del born_before
        try:
            return self._apply(changes, verb, deny_limit, retained, stop)
        except OSError as error:
            if error.errno == errno.ECANCELED:
                raise Unsettled from None
            raise

    def _apply(
        self,
        changes: bytes,
        verb: Verb,
        deny_limit: int,
        retained: model.Retained | None,
        stop: StopFlag,
    ) -> Applied:
        opened = self._opened
        packed = (
            retained.packed
            if isinstance(retained, KnownHandles) and retained.opened is opened
            else b""
        )
        try:
            applied = _nfs.apply(opened, changes, int(verb), deny_limit, packed, False, stop)
        except OSError as error:
            opened = self._without_names(opened, error)
            applied = _nfs.apply(opened, changes, int(verb), deny_limit, b"", True, stop)
            if stop[0] and Outcome.UNTRIED in applied[0]:
                raise Unsettled from None  # it may have been made by the first call
        outcomes, failures, stamps, first_ctime = applied
        noted = [_noted(opened, *failure) for failure in failures]
        return Applied(outcomes, noted, stamps, first_ctime)

    def calls(self) -> list[int]:
        """Return how often each procedure was called, by its number in version 3."""
        return _nfs.calls(self._opened)

    def bound(self) -> int:
        """Return how many calls may be in flight now."""
        return _nfs.bound(self._opened)

    def close(self) -> None:
        """Let go of the share."""
        del self._opened

    def _without_names(self, opened: _nfs.Opened, error: OSError) -> _nfs.Opened:
        """Return the share without names for owners, if they are the error; else raise it."""
        if error.errno != errno.EPROTOTYPE or self._reopen is None:
            raise error
        with self._reopening:
            if self._opened is opened:
                reopened = self._reopen()
                _nfs.set_bound(reopened, self._calls)  # before another lane may call
                self._opened = reopened
                self.nfs_version, self.remark = _nfs.version(self._opened), LEFT
            return self._opened


def _continuation(
    path: bytes, inode: int, place: bytes, opened: _nfs.Opened, passed: array[int]
) -> Unit:
    return Unit(pack_groups([whole(path, inode)]), cursor=NfsCursor(path, place, opened, passed))


def _note(opened: _nfs.Opened, number: int) -> str:
    """Return what an error means, if it is one of owners that were not understood."""
    if number not in UNMAPPED:
        return ""
    first = _nfs.unknown_owner(opened).decode(errors="backslashreplace")
    return UNMAPPED[number] + (f"; the first of these was {first}" if first else "")


def _noted(
    opened: _nfs.Opened, index: int, operation: str, number: int, note: str
) -> tuple[int, str, int, str]:
    if number == errno.ENOKEY and operation == "setattr":
        return index, operation, number, "the server does not know its group"
    return index, operation, number, note or _note(opened, number)
