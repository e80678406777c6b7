"""When a run stops early, because all the rest would fail, too. Pure: results in, reason out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from ..backend.base import READ_ONLY_PART
from ..model import Failure, FailureKind

# Refusals without one success after which it is not just some entries.
ENOUGH = 1000
DENIED = (errno.EPERM, errno.EACCES, errno.EXDEV)
# What this process lacks, not what an entry is.
NO_FILES = (errno.EMFILE, errno.ENFILE)

READ_ONLY = "the share is read-only here: mount it rw (and export it rw), then resume"
REFUSED = (
    "every change was refused ({first}): without root, or through an export with root_squash, "
    "nothing can be changed; {mend}"
)
SQUASHED = "export the share with no_root_squash, then resume"
NOT_ROOT = "begin anew as root"  # who refuses journals of others
FULL = (
    "the share is full, or its quota used up ({first}): nothing more can be written; make room "
    "there, then resume"
)
ACROSS = (
    "nothing can be moved there ({first}): the directories are on several filesystems, mounts or "
    "quota projects; bring them onto one, then resume"
)
TOO_FEW_FILES = (
    "too many files are open ({first}): raise the limit of this process (ulimit -n, LimitNOFILE= "
    "of a systemd unit) or of this host (fs.file-max), then resume"
)
MISMATCH = "a change was accepted but reads back differently ({note}); mend that, then resume"


def too_few_files(number: int) -> str:
    """Return why to stop for one of NO_FILES."""
    return TOO_FEW_FILES.format(first=errno.errorcode[number])


class EarlyStop:
    """Sees all results of a session; `reason` says why to stop, once there is one."""

    def __init__(self) -> None:
        self.reason = ""
        self._succeeded = 0
        self._attempted = 0
        self._denied_applying = 0
        self._denied_scanning = 0
        self._read_only = 0
        self._first: Failure | None = None

    @property
    def deny_limit(self) -> int:
        """How many more refusals give a reason to stop; 0: none do, after the first success."""
        return 0 if self._succeeded else max(ENOUGH - self._denied, 1)

    @property
    def _denied(self) -> int:
        return self._denied_applying + self._denied_scanning + self._read_only

    def scanned(self, failures: Iterable[Failure], attempted: int = 0) -> None:
        """Note failures of a scan; *attempted* of them were attempts to change something."""
        denied = self._sift(failures)
        if attempted:
            self._attempted += attempted
            self._denied_applying += denied
        else:
            self._denied_scanning += denied

    def applied(self, attempted: int, succeeded: int, failures: Iterable[Failure]) -> None:
        """Note the result of applying a unit."""
        self._attempted += attempted
        self._succeeded += succeeded
        self._denied_applying += self._sift(failures)

    def at_end(self, entries: int) -> str:
        """Return why a session that scanned *entries* counts as stopped; "" if it does not.

        That is if all its attempts were refused, or it could not scan a single entry.
        """
        if self._attempted:
            hopeless = self._denied_applying >= self._attempted
        else:
            hopeless = entries <= self._denied_scanning
        if hopeless:
            self._refused()
        return self.reason

    def _sift(self, failures: Iterable[Failure]) -> int:
        """Look for reasons to stop; return how many failures are refusals."""
        denied = 0
        for failure in failures:
            if failure.errno == errno.EROFS and failure.note != READ_ONLY_PART:
                self.reason = self.reason or READ_ONLY
            elif failure.errno == errno.EROFS:  # here, but not all over the share: an entry's own
                self._read_only += 1
                self._first = self._first or failure
            elif failure.errno in NO_FILES:
                self.reason = self.reason or too_few_files(failure.errno)
            elif failure.kind is FailureKind.NO_ROOM:
                self.reason = self.reason or FULL.format(first=errno.errorcode[failure.errno])
            elif failure.kind is FailureKind.MISMATCH:
                self.reason = self.reason or MISMATCH.format(note=failure.note)
            elif failure.errno in DENIED and not failure.note:
                denied += 1
                self._first = self._first or failure
        if self._denied + denied >= ENOUGH:
            self._refused()
        return denied

    def _refused(self) -> None:
        if not self._succeeded and not self.reason and self._first is not None:
            if self._first.errno == errno.EROFS:
                self.reason = READ_ONLY
                return
            first = f"{self._first.operation}: {errno.errorcode[self._first.errno]}"
            words = ACROSS if self._first.errno == errno.EXDEV else REFUSED
            mend = NOT_ROOT if os.geteuid() else SQUASHED
            self.reason = words.format(first=first, mend=mend)
