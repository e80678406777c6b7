"""Why changes of entries failed, in words: of all that a backend reports."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence

from ..model import Applied, Failure, FailureKind
from ..packed.changes import Change
from ..policy import NO_ID

# What backends call the operation of a change that reads back differently.
READ_BACK = "read back"
MAPPED = "the server maps ids (all_squash, anongid, or NFSv4 names that do not match)"
SET_GID_DROPPED = (
    "set-gid was dropped, as it is for a caller who is not in the group and has no CAP_FSETID"
)
QUOTA = "what an entry occupies counts for its new owner, whose quota is used up"
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
        self._came = {number(index): (mode, uid, gid) for index, mode, uid, gid in applied.came}
        self._mismatch = applied.mismatch

    def __contains__(self, index: int) -> bool:
        return index in self._why

    def operation(self, index: int) -> str:
        """Return at which operation a change failed, or was raced."""
        return self._why[index][0]

    def failure(self, change: Change, wanted: tuple[int, int, int], hint: int = 0) -> Failure:
        """Return the failure of a change.

        It was to give its entry the *wanted* mode, owner (NO_ID: its own) and group.
        """
        operation, number, note = self._why[change.index]
        kind = FailureKind.ENTRY
        if operation == READ_BACK:
            kind = FailureKind.MISMATCH if self._mismatch else kind
            note = misread(wanted, self._came[change.index])
        elif number == errno.EDQUOT and not change.keeps_owner:
            note = note or QUOTA
        return Failure(change.path, operation, number, note, hint, kind)


def misread(wanted: tuple[int, int, int], came: tuple[int, int, int]) -> str:
    """Say what was wanted and what came of it, which differ, and what may be the cause.

    They are mode, owner (NO_ID: not changed) and group.
    """
    mode, came_mode = wanted[0], came[0]
    if came[1:] != wanted[1:]:
        cause = MAPPED
    elif stat.S_ISDIR(mode) and mode & ~came_mode & stat.S_ISGID:
        cause = SET_GID_DROPPED
    else:
        cause = MODE_LOST
    return f"wanted {_worded(*wanted)}; came {_worded(*came)}: {cause}"


def _worded(mode: int, uid: int, gid: int) -> str:
    owner = "" if uid == NO_ID else f"owner {uid}, "
    return f"mode {stat.S_IMODE(mode):04o}, {owner}group {gid}"
