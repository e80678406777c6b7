"""Whether a run may have changed an entry, and until when, judged by its journal alone."""

from __future__ import annotations

import errno

from ..jobs.outcome import unpack_outcome
from ..journal.store import Journal
from ..model import Failure, Outcome
from ..packed.changes import Change, read_changes

# Operations that change nothing when they fail, and come before any that does: chown is the first.
FIRST = ("open", "stat", "chown")
# One SETATTR makes both changes; these are the errors of a check before it.
REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS)
SECOND = 1_000_000_000  # ns
# What comes later after the first change of the last batch is not taken for a change of that batch.
LAST_BATCH = 60 * SECOND


def may_have_changed(journal: Journal) -> bool:
    """Say whether a run may have changed an entry. Raises JournalError.

    An entry that only failed was not changed if its last attempt failed at its first operation, and
    found it as all attempts before had. In doubt it may have been.
    """
    if journal.unsettled():
        return True
    failed: dict[bytes, Change] = {}
    for number in journal.batches():
        outcomes = unpack_outcome(journal.outcome(number)).outcomes
        if Outcome.CHANGED in outcomes:
            return True
        if Outcome.FAILED not in outcomes:
            continue
        for change in read_changes(journal.preimage(number)):
            if outcomes[change.index] == Outcome.FAILED:
                before = failed.setdefault(change.path, change)
                if _attrs(before) != _attrs(change):
                    return True
    failures = [failure for failure in journal.failures() if failure.path in failed]
    known = {failure.path for failure in failures}
    return known != set(failed) or not all(_was_first(failed[f.path], f) for f in failures)


def changed_until(journal: Journal) -> int:
    """Return the time (ns, of the filesystem's clock) that no change of a run is later than.

    A time too early for some changes is possible: then undo leaves their entries as they are. 0: it
    is not known. Raises JournalError.
    """
    times = [unpack_outcome(journal.outcome(number)).first_ctime for number in journal.batches()]
    times = [time for time in times if time > 0]
    if not times:
        return 0
    until = max(times) + LAST_BATCH
    header = journal.read_header()
    if header.sessions == 1 and header.seconds:
        until = min(until, min(times) + int(header.seconds * SECOND))
    return until


def _attrs(change: Change) -> tuple[int, int, int]:
    return change.mode, change.uid, change.gid


def _was_first(change: Change, failure: Failure) -> bool:
    """Say whether the operation that failed was the first, so that nothing was changed."""
    if failure.operation == "setattr":
        return failure.errno in REFUSED
    if failure.operation == "chmod":
        return change.gid == change.new_gid and change.keeps_owner
    return failure.operation in FIRST
