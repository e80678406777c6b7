"""The settings of a run over locks: where they lie, and which are to be removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from .classify import Verdict
from .lock import Kind

JOB = "locks"  # in headers and names of runs
NAMED = (Kind.HELD, Kind.OURS, Kind.TEMPORARY)


class Action(StrEnum):
    """What a run does."""

    LIST = "list"  # nothing: it only looks
    CLEAN = "clean"  # removes what nobody can hold any more
    BREAK = "break"  # removes what one holder holds, whom the user knows to be gone


@dataclass(frozen=True, slots=True)
class LocksSettings:
    """What must be the same for a run to be resumed, beside the maps directory, its share.

    `locks` is the lock directory ("": there is none) and `locks_identity` what it is, wherever it
    is mounted. `v03_stopped` says that no node runs v0.3. `holder` is whose locks are broken.
    """

    action: Action = Action.LIST
    locks: str = ""
    locks_identity: str = ""
    v03_stopped: bool = False
    holder: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LocksSettings:
        """Read what `as_dict` returned."""
        return cls(**{**stored, "action": Action(stored["action"])})

    def removes(self, verdict: Verdict) -> bool:
        """Whether a lock is to be removed."""
        if self.action is Action.CLEAN:
            return verdict.is_free and (verdict.kind is not Kind.V03 or self.v03_stopped)
        if self.action is Action.BREAK:
            holder = self.holder.encode(errors="surrogateescape")
            is_theirs = verdict.kind in NAMED and verdict.holder == holder
            return is_theirs and not verdict.is_needed
        return False
