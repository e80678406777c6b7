"""Files that an undo made again, for the undo of an earlier run that had changed the old ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..journal.runs import list_runs, open_run
from ..journal.store import RunHeader
from ..model import Remade
from ..share import overlap
from .registry import known_kind


def remade_since(state: Path, target: RunHeader, places: Sequence[str]) -> dict[int, list[Remade]]:
    """Return what undos of later runs made again, by the inodes of the files that it replaces.

    *places* are those of the run *target*. Raises JournalError.
    """
    found: dict[int, list[Remade]] = {}
    for header in list_runs(state):
        kind = known_kind(header)
        is_later = (header.created, header.run) > (target.created, target.run)
        if kind is None or not (is_later and header.undone and overlap(places, header.places)):
            continue
        with closing(open_run(state, header.run)) as journal:
            for file in kind.remade(journal):
                found.setdefault(file.inode, []).append(file)
    return found
