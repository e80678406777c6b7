"""The kinds of jobs there are. A new one is a package with a `KIND`, and a line here.

Only this room compares names of jobs or of runs. Others ask for the kind of a run, or whether it is
of a kind, and the kind for what it is. A kind is imported when it is first asked for, so that a
command loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import UsageError
from ..journal.store import RunHeader
from .kind import JobKind

# Names, as commands, run headers and names of runs have them, and the modules that have a `KIND`.
KINDS = {
    "perms": "..perms.kind",
    "mapfiles": "..maps.kind",
    "relocate": "..relocate.kind",
    "locks": "..locks.kind",
    "prune": "..relocate.prune_kind",
    "merge-diverged": "..relocate.diverged_kind",
    "prelink": "..prelink.kind",
}
# Jobs that others propose to users: RELOCATE where objects are not where v0.4 looks.
RELOCATE, PERMS, MAPFILES = "relocate", "perms", "mapfiles"
# The job that removes locks that nobody can hold.
LOCKS = "locks"
# The job that removes the empty directories that RELOCATE leaves.
PRUNE = "prune"
# The job of a run that takes back another, whatever the kind of that.
UNDO = "undo"
RESTORE_SET_ID = "restore_set_id"


def kind_named(name: str) -> JobKind[Any]:
    """Return a kind by its name. Raises UsageError if there is none."""
    if name not in KINDS:
        raise UsageError(f"this version knows no job {name!r}: use the one that began the run")
    module = import_module(KINDS[name], __package__)
    kind: JobKind[Any] = module.KIND
    return kind


def kind_of(header: RunHeader) -> JobKind[Any]:
    """Return the kind of a run; for an undo, that of the run that it takes back.

    Raises UsageError if this version does not know it.
    """
    target = undo_target(header)
    # A run is called <job>-<time>-<token>.
    return kind_named(target.rsplit("-", 2)[0] if target else header.job)


def known_kind(header: RunHeader) -> JobKind[Any] | None:
    """Return the kind of a run that works itself; None for an undo, and for an unknown job."""
    return kind_named(header.job) if header.job in KINDS else None


def is_of(header: RunHeader, kind: JobKind[Any]) -> bool:
    """Whether a run is of *kind*. An undo is of none, whatever it takes back."""
    return header.job == kind.name


def undo_target(header: RunHeader) -> str:
    """Return the name of the run that an undo takes back; "" if *header* is not of an undo."""
    return str(header.settings.get("of", "")) if header.job == UNDO else ""


def undo_settings(target: str, *, restore_set_id: bool) -> dict[str, object]:
    """Return the settings of an undo of the run *target*; those that are not used are left out."""
    return {"of": target, **({RESTORE_SET_ID: True} if restore_set_id else {})}


def restores_set_id(header: RunHeader) -> bool:
    """Say whether an undo gives files their set-id bits back."""
    return header.settings.get(RESTORE_SET_ID) is True
