"""The `nfs` backend: scan and apply by direct calls to an NFS server, many of them in flight.

READDIRPLUS (version 4: READDIR) returns a directory's entries with their attributes and handles.
One SETATTR sets mode and group together, guarded by the ctime (version 4: the change attribute)
that the scan saw; a server that refuses guards gets changes without, and a look before and after
each. Handles live from scan to apply, and a minute at most; after that entries are
found by their paths.

If the server turns out to send owner names, version 4 is replaced by version 3, once and for the
whole share. What was begun is repeated. Of a wide directory that is being read at that time,
version 3 skips the names that version 4 had read.

    a lane         scan by v4: a name -> EPROTOTYPE, reopen ..... scan by v3 .. apply by v3, by path
    another one    apply by v4: BADOWNER -> EPROTOTYPE, waits ... apply by v3: new attrs may be
                                                                 our own change
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from .. import _nfs, model
from ..model import (
    NEVER,
    NOTHING_KNOWN,
    RETRIES,
    Applied,
    Failure,
    Known,
    Limits,
    Link,
    Notice,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Unsettled,
    Verb,
)
from ..packed.groups import pack_groups, whole
from ..packed.known import pack_known
from ..policy import GroupPolicy
from ..share.url import UNMAPPED, USING_3
from .base import WIDE, ScanOptions, scan_arguments

# The version that is tried first; version 3 replaces it if the server sends owner names.
BEST = 4
NO_KEYS = array("Q")
UNGUARDED = (
    "the server refuses guarded changes: each entry was looked at before and after, but what "
    "somebody else changed in between is not noticed"
)


@dataclass(slots=True)
class NfsCursor:
    """Where the reading of a wide directory goes on, and by which open share.

    `passed` are the keys of the names that version 4 has read, in the order of reading.
    """

    path: bytes
    packed: bytes
    opened: _nfs.OpenShare
    passed: array[int]

    def close(self) -> None:
        """Do nothing: nothing is open."""


@dataclass(slots=True)
class KnownHandles:
    """Retained by a scan: handles of the entries that must change, and when these changed last."""

    packed: bytes
    opened: _nfs.OpenShare

    def close(self) -> None:
        """Forget the handles."""
        self.packed = b""


class NfsBackend:
    """Scan and apply on a share that `share.open_share` opened, or `share.bypass`."""

    name = "nfs"

    def __init__(
        self,
        opened: _nfs.OpenShare,
        calls: int,
        reopen: Callable[[], _nfs.OpenShare] | None = None,
    ) -> None:
        """Work on an open share, with at most *calls* in flight: fewer if the server is slow.

        *reopen* opens it by version 3, or raises ShareError.
        """
        self._opened = opened
        self._calls = calls
        opened.set_bound(calls)
        self._reopen = reopen
        self._reopening = Lock()
        self.nfs_version = opened.version
        self.remark = ""

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Scan a unit (see `base.Backend.scan`). Raises OSError, ShareError."""
        opened = self._opened
        try:
            return self._scan(opened, unit, policy, options, limits)
        except OSError as error:
            opened = self._without_names(opened, error)
        return self._scan(opened, unit, policy, options, limits)

    def _scan(
        self,
        opened: _nfs.OpenShare,
        unit: Unit,
        policy: GroupPolicy,
        options: ScanOptions,
        limits: Limits,
    ) -> Scan:
        cursor = unit.cursor if isinstance(unit.cursor, NfsCursor) else None
        path, passed = (cursor.path, cursor.passed) if cursor else (None, array("Q"))
        wants_keys = opened.version == BEST
        continues = cursor is not None and cursor.opened is not opened
        if continues:  # by the other version: from the start, without judging the directory again
            cursor, passed = None, array("Q", sorted(passed))
        counted = unit.counted or continues
        result = opened.scan(
            body=b"" if cursor else unit.body,
            cursor=cursor.packed if cursor else b"",
            cursor_path=cursor.path if cursor else b"",
            continues=continues,
            passed=NO_KEYS if wants_keys else passed,
            wants_keys=wants_keys,
            counted=counted,
            last_try=unit.retries >= RETRIES or continues,
            **scan_arguments(policy, options, limits),
            retain=options.retain,
            wide=WIDE,
        )
        rest, wide = result.rest, result.wide
        if continues and rest and rest[0] == unit.body:
            return Scan(Tally(), wide=unit)  # stopped before anything was read
        passed.frombytes(result.keys)
        if wide and wide[0] != path:  # another directory, found below
            passed = array("Q")
        return Scan(
            Tally(**result.tally),
            result.changes,
            result.change_count,
            Unit(*rest, unit.retries, counted) if rest else None,
            wide=_continuation(*wide, opened, passed) if wide else None,
            again=[Unit(body, n, unit.retries + 1, counted) for body, n, counted in result.again],
            failures=[
                Failure(path, operation, number, _note(opened, number))
                for path, operation, number in result.failures
            ],
            links=[Link(*link) for link in result.links],
            notices=[Notice(*notice) for notice in result.notices],
            retained=KnownHandles(result.handles, opened) if result.handles else None,
            deferred=Unit(*result.deferred, counted=True) if result.deferred else None,
        )

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
        """Make, settle, check or put back changes (see `base.Backend.apply`).

        Raises OSError, ShareError, Unsettled.
        """
        try:
            return self._apply(changes, verb, deny_limit, known, retained, stop)
        except OSError as error:
            if error.errno == errno.ECANCELED:
                raise Unsettled from None
            raise

    def _apply(
        self,
        changes: bytes,
        verb: Verb,
        deny_limit: int,
        known: Known,
        retained: model.Retained | None,
        stop: StopFlag,
    ) -> Applied:
        opened = self._opened
        handles = b""
        if isinstance(retained, KnownHandles) and retained.opened is opened:
            handles = retained.packed
        apply = partial(_apply, changes, verb, deny_limit, known, stop)
        try:
            result = apply(opened, handles, is_retry=False)
        except OSError as error:
            opened = self._without_names(opened, error)
            result = apply(opened, b"", is_retry=True)
            if stop[0] and Outcome.UNTRIED in result.outcomes:
                raise Unsettled from None  # the first call may have made the change
        if opened.is_unguarded:
            with self._reopening:
                self._add_remark(UNGUARDED)
        noted = [_noted(opened, *failure) for failure in result.failures]
        return replace(Applied(*result[:-1]), failures=noted)

    def calls(self) -> list[int]:
        """Return how often each procedure was called, by its number in version 3."""
        return self._opened.calls

    def bound(self) -> int:
        """Return how many calls may be in flight now."""
        return self._opened.bound

    def close(self) -> None:
        """Release the share."""
        del self._opened

    def _without_names(self, opened: _nfs.OpenShare, error: OSError) -> _nfs.OpenShare:
        """Return the share by version 3, if owner names are the error; else raise the error."""
        if error.errno != errno.EPROTOTYPE or self._reopen is None:
            raise error
        with self._reopening:
            if self._opened is opened:
                reopened = self._reopen()
                reopened.set_bound(self._calls)  # before another lane can call
                self._opened = reopened
                self.nfs_version = reopened.version
                self._add_remark(USING_3)
            return self._opened

    def _add_remark(self, text: str) -> None:
        """Add what the user is to be told, once. Called with the lock."""
        if text not in self.remark:
            self.remark = f"{self.remark}; {text}" if self.remark else text


def _apply(
    changes: bytes,
    verb: Verb,
    deny_limit: int,
    known: Known,
    stop: StopFlag,
    opened: _nfs.OpenShare,
    handles: bytes,
    *,
    is_retry: bool,
) -> _nfs.ApplyResult:
    return opened.apply(
        changes=changes,
        verb=int(verb),
        deny_limit=deny_limit,
        known=pack_known(known),
        handles=handles,
        is_retry=is_retry,
        stop=stop,
    )


def _continuation(
    path: bytes, inode: int, packed: bytes, opened: _nfs.OpenShare, passed: array[int]
) -> Unit:
    return Unit(pack_groups([whole(path, inode)]), cursor=NfsCursor(path, packed, opened, passed))


def _note(opened: _nfs.OpenShare, number: int) -> str:
    """Return what an error means, if it is about an owner that was not understood."""
    if number not in UNMAPPED:
        return ""
    first = opened.unknown_owner.decode(errors="backslashreplace")
    return UNMAPPED[number] + (f"; the first of these was {first}" if first else "")


def _noted(
    opened: _nfs.OpenShare, index: int, operation: str, number: int, note: str
) -> tuple[int, str, int, str]:
    if number == errno.ENOKEY and operation == "setattr":
        return index, operation, number, "the server does not know its owner or group"
    return index, operation, number, note or _note(opened, number)
