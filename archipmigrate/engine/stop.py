"""When a run stops early, because going on would only fail. Pure: attempts in, a reason out."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from ..model import Failure, FailureKind

# So many refusals with no success are no accident of a few entries.
ENOUGH = 1000
DENIED = (errno.EPERM, errno.EACCES)

READ_ONLY = "the share is read-only here: mount it rw (and export it rw), then resume"
REFUSED = (
    "every change was refused ({first}): without root, or through an export with root_squash, "
    "nothing can be changed; run as root against no_root_squash, then resume"
)
FULL = (
    "the share is full, or its quota used up ({first}): nothing more can be written; make room "
    "there, then resume"
)
READ_BACK = (
    "a change was accepted but reads back differently ({note}): the server maps ids "
    "(all_squash, anongid, or NFSv4 names that do not match); mend that, then resume"
)


class EarlyStop:
    """Sees all attempts of a session and says when to stop."""

    def __init__(self) -> None:
        self.reason = ""
        self._succeeded = 0
        self._attempted = 0
        self._denied_applying = 0
        self._denied_scanning = 0
        self._first: Failure | None = None

    @property
    def deny_limit(self) -> int:
        """How many more refusals make up one's mind; 0 after the first success."""
        return 0 if self._succeeded else max(ENOUGH - self._denied, 1)

    @property
    def _denied(self) -> int:
        return self._denied_applying + self._denied_scanning

    def scanned(self, failures: Iterable[Failure], attempted: int = 0) -> None:
        """Take in what could not be looked at, or not without an attempt to change something."""
        denied = self._sift(failures)
        if attempted:
            self._attempted += attempted
            self._denied_applying += denied
        else:
            self._denied_scanning += denied

    def applied(self, attempted: int, succeeded: int, failures: Iterable[Failure]) -> None:
        """Take in the attempts at the changes of a unit."""
        self._attempted += attempted
        self._succeeded += succeeded
        self._denied_applying += self._sift(failures)

    def at_end(self, entries: int) -> str:
        """Return why a session that saw so many *entries* counts as stopped, or ""."""
        if self._attempted:
            hopeless = self._denied_applying >= self._attempted
        else:
            hopeless = entries <= self._denied_scanning
        if hopeless:
            self._refused()
        return self.reason

    def _sift(self, failures: Iterable[Failure]) -> int:
        """Return how many were refused, and decide."""
        denied = 0
        for failure in failures:
            if failure.errno == errno.EROFS:
                self.reason = self.reason or READ_ONLY
            elif failure.kind is FailureKind.NO_ROOM:
                self.reason = self.reason or FULL.format(first=errno.errorcode[failure.errno])
            elif failure.kind is FailureKind.MISMATCH:
                self.reason = self.reason or READ_BACK.format(note=failure.note)
            elif failure.errno in DENIED and not failure.note:
                denied += 1
                self._first = self._first or failure
        if self._denied + denied >= ENOUGH:
            self._refused()
        return denied

    def _refused(self) -> None:
        if not self._succeeded and not self.reason and self._first is not None:
            first = f"{self._first.operation}: {errno.errorcode[self._first.errno]}"
            self.reason = REFUSED.format(first=first)
