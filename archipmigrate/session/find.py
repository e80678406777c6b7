"""Which run is meant: the one that is named, or the latest that fits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..jobs.registry import undo_target
from ..journal.runs import list_runs, open_run
from ..journal.store import RunHeader


def named_run(state: Path, run: str) -> RunHeader:
    """Return the header of the run of this name. Raises UsageError if there is none."""
    return _named(state, run, list(list_runs(state)))


def undoable_run(state: Path, run: str | None = None) -> RunHeader:
    """Return the run of this name, or the latest that can be undone, if it is no undo itself.

    The latest is one whose undo has not completed: it was not begun, was cut off, or failed in
    part. A run that changed something is preferred. Raises UsageError.
    """
    every = list(list_runs(state))
    runs = [header for header in every if not undo_target(header)]
    if run is not None:
        return _named(state, run, runs)
    undoing = {undo_target(header) for header in every if header.is_resumable}
    fitting = [
        header
        for header in runs
        if not header.undone or header.run in undoing or _has_failed(state, header.undone)
    ]
    changed = (header for header in reversed(fitting) if _has_changed(state, header.run))
    found = next(changed, None) or _latest(fitting)
    if found is None:
        raise UsageError(f"nothing to undo in {state}")
    return found


def resumable_run(state: Path, run: str | None = None, *, failed: bool = False) -> RunHeader:
    """Return the run of this name, or the latest unfinished run.

    With *failed* a run that has failures to try again will do, too. Raises UsageError.
    """
    every = list(list_runs(state))
    if run is not None:
        return _named(state, run, every)
    found = _latest(header for header in every if can_resume(header, failed=failed))
    if found is None:
        more = ", and no failures to try again" if failed else ""
        raise UsageError(f"nothing to resume in {state}{more}")
    return found


def can_resume(header: RunHeader, *, failed: bool = False) -> bool:
    """Say whether a run is unfinished or, with *failed*, has failures to try again."""
    return header.is_resumable or (failed and header.status == "failures" and not header.undone)


def _named(state: Path, run: str, runs: list[RunHeader]) -> RunHeader:
    for header in runs:
        if header.run == run:
            return header
    known = ", ".join(header.run for header in runs)
    raise UsageError(f"no run {run!r} in {state} ({f'there: {known}' if known else 'it has none'})")


def _latest(headers: Iterable[RunHeader]) -> RunHeader | None:
    return max(headers, key=lambda header: (header.created, header.run), default=None)


def _has_failed(state: Path, undo: str) -> bool:
    """Say whether an undo failed for some entries, other than those changed by somebody else."""
    try:
        journal = open_run(state, undo)
    except UsageError:  # forgotten
        return False
    try:
        return journal.tally().failed > 0
    finally:
        journal.close(fold=False)


def _has_changed(state: Path, run: str) -> bool:
    """Say whether a run may have changed something."""
    journal = open_run(state, run)
    try:
        return next(journal.batches(), None) is not None
    finally:
        journal.close(fold=False)
