"""Why changes of entries failed, in words: of all that a backend reports."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from ..model import Applied, Failure, FailureKind
from ..packed.changes import Change

# What backends call the operation of a change that reads back differently.
READ_BACK = "read back"
MAPPED = "the server maps ids (all_squash, anongid, or NFSv4 names that do not match)"
SET_GID_DROPPED = (
    "set-gid was dropped, as it is for a caller who is not in the group and has no CAP_FSETID"
)
MODE_LOST = "the filesystem does not keep these mode bits, or somebody else set others"


class Reasons:
    """The reasons of one call of a backend."""

    def __init__(self, applied: Applied, indices: Sequence[int] | None = None) -> None:
        """Index them by change; *indices* are those of the changes that the call was made for."""
        number = indices.__getitem__ if indices is not None else int
        self._why = {
            number(index): (operation, error, note)
            for index, operation, error, note in applied.failures
        }
        self._came = {number(index): (mode, gid) for index, mode, gid in applied.came}
        self._mismatch = applied.mismatch

    def __contains__(self, index: int) -> bool:
        return index in self._why

    def operation(self, index: int) -> str:
        """Return at which operation a change failed, or was raced."""
        return self._why[index][0]

    def failure(self, change: Change, wanted: tuple[int, int], hint: int = 0) -> Failure:
        """Return the failure of a change that was to give its entry the *wanted* mode and group."""
        operation, number, note = self._why[change.index]
        kind = FailureKind.ENTRY
        if operation == READ_BACK:
            kind = FailureKind.MISMATCH if self._mismatch else kind
            note = misread(*wanted, *self._came[change.index])
        return Failure(change.path, operation, number, note, hint, kind)


def misread(mode: int, gid: int, came_mode: int, came_gid: int) -> str:
    """Say what was wanted and what came of it, which differ, and what may be the cause."""
    if came_gid != gid:
        cause = MAPPED
    elif stat.S_ISDIR(mode) and mode & ~came_mode & stat.S_ISGID:
        cause = SET_GID_DROPPED
    else:
        cause = MODE_LOST
    return (
        f"wanted mode {stat.S_IMODE(mode):04o}, group {gid}; "
        f"came mode {stat.S_IMODE(came_mode):04o}, group {came_gid}: {cause}"
    )
