"""Which run is meant: the one that is named, or the latest that fits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import JournalError, UsageError
from ..jobs.registry import known_kind, undo_target
from ..journal.runs import Runs, open_run, read_runs
from ..journal.store import RunHeader


def named_run(state: Path, run: str) -> RunHeader:
    """Return the header of the run of this name. Raises UsageError, JournalError."""
    return _named(state, run, read_runs(state))


def undoable_run(state: Path, run: str | None = None) -> RunHeader:
    """Return the run of this name, or the latest that can be undone, if it is no undo itself.

    The latest is one whose undo has not completed: it was not begun, was cut off, or failed in
    part. A run that may have changed something is preferred to one that cannot have. Raises
    UsageError; JournalError if the latest one may be one that cannot be read.
    """
    every = read_runs(state)
    runs = [header for header in every.headers if not undo_target(header)]
    if run is not None:
        return _named(state, run, Runs(runs, every.unreadable))
    undoing = {undo_target(header) for header in every.headers if header.is_resumable}
    fitting = [
        header
        for header in runs
        if not header.undone or header.run in undoing or _has_failed(state, header.undone)
    ]
    changed = (header for header in reversed(fitting) if may_have_changed(state, header))
    found = next(changed, None) or _latest(fitting)
    return _sure(found, every, f"nothing to undo in {state}")


def resumable_run(state: Path, run: str | None = None, *, failed: bool = False) -> RunHeader:
    """Return the run of this name, or the latest unfinished run.

    With *failed* a run that has failures to try again will do, too. Raises UsageError;
    JournalError if the latest one may be one that cannot be read.
    """
    every = read_runs(state)
    if run is not None:
        return _named(state, run, every)
    found = _latest(header for header in every.headers if can_resume(header, failed=failed))
    more = ", and no failures to try again" if failed else ""
    return _sure(found, every, f"nothing to resume in {state}{more}")


def can_resume(header: RunHeader, *, failed: bool = False) -> bool:
    """Say whether a run is unfinished or, with *failed*, has failures to try again."""
    return header.is_resumable or (failed and header.status == "failures" and not header.undone)


def _named(state: Path, run: str, runs: Runs) -> RunHeader:
    for header in runs.headers:
        if header.run == run:
            return header
    for found in runs.unreadable:
        if found.run == run:
            raise JournalError(found.why)
    known = ", ".join(header.run for header in runs.headers)
    raise UsageError(f"no run {run!r} in {state} ({f'there: {known}' if known else 'it has none'})")


def _sure(found: RunHeader | None, runs: Runs, nothing: str) -> RunHeader:
    """Return the run that was chosen, unless the one that is meant may be an unreadable one.

    Raises UsageError with the words for *nothing*, JournalError.
    """
    doubts = [bad for bad in runs.unreadable if found is None or bad.share == found.share]
    if doubts:
        words = f"{found.run} is readable: name it, if it is meant" if found else nothing
        raise JournalError(f"{'; '.join(bad.why for bad in doubts)}; {words}")
    if found is None:
        raise UsageError(nothing)
    return found


def _latest(headers: Iterable[RunHeader]) -> RunHeader | None:
    return max(headers, key=lambda header: (header.created, header.run), default=None)


def _has_failed(state: Path, undo: str) -> bool:
    """Say whether an undo failed for some entries, other than those changed by somebody else."""
    try:
        journal = open_run(state, undo)
    except UsageError:  # forgotten
        return False
    except JournalError:  # unreadable
        return True
    try:
        return journal.tally().failed > 0
    finally:
        journal.close(fold=False)


def may_have_changed(state: Path, header: RunHeader) -> bool:
    """Say whether a run may have changed something; of an unknown kind each may."""
    kind = known_kind(header)
    if kind is None:
        return True
    journal = open_run(state, header.run)
    try:
        return kind.may_have_changed(journal)
    except JournalError:
        return True
    finally:
        journal.close(fold=False)
