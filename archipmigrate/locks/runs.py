"""Our own runs over maps: which of them still need their locks."""

from __future__ import annotations

from pathlib import Path

from ..jobs.registry import undo_target
from ..journal.location import runtime_directory
from ..journal.lock import ShareLock
from ..maps.open import runs_of_maps
from ..share import Share


def runs_with_locks(state: Path, share: Share) -> dict[bytes, str]:
    """Return what runs over these maps write into their locks, each with why they are needed.

    "": the run needs them no more. Reads the journals in *state*, which may not be there. Raises
    JournalError.
    """
    at_work = ShareLock.holder(runtime_directory(state), share.identity)
    return {
        found.holder: _why(found.header.run, undo_target(found.header), at_work, found.is_half_done)
        for found in runs_of_maps(state, share)
    }


def _why(run: str, target: str, at_work: str, is_half_done: bool) -> str:
    if run in at_work.replace(",", " ").split():
        return f"{at_work} is at work"
    if is_half_done:
        command = f"undo {target}" if target else f"resume {run}"
        return f"it left volumes half done: archipmigrate {command}"
    return ""
