"""What is looked at before a job begins: the short form of a check.

No walk, no ssh, and nothing is written. Whatever the size of the share it is a few system calls,
and a journal opened for each run that is not over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import FatalError
from ..jobs.kind import JobKind
from ..jobs.options import RunOptions
from ..jobs.registry import is_of, undo_target
from ..journal.location import runtime_directory
from ..journal.lock import ShareLock
from ..journal.runs import resumable_runs
from ..journal.store import RunHeader
from ..share import Share, places_at
from ..share.daemons import running_daemons, shown_daemons
from .mounted import is_empty, unmounted_point
from .runs import unfinished_runs, ways_on

ANYWAY = "; --no-check begins anyway"


def check_before(
    kind: JobKind[Any],
    share: Share,
    options: RunOptions,
    *,
    more: Sequence[str] = (),
    v03_may_run: bool = False,
) -> None:
    """Check that a job of *kind* may begin, or go on, on a share.

    *more* are other directories that it works on. Raises FatalError with what to do: if the share
    is not mounted, if another unfinished run overlaps it, and if v0.3 runs here, unless it may. The
    share is closed then.
    """
    places = [*share.places, *(place for path in more for place in places_at(path))]
    try:
        _check_mounted(([os.fsdecode(share.path)] if share.fd >= 0 else []) + [*more])
        if not v03_may_run:
            _check_v03()
        _check_runs(kind, share, places, options)
    except BaseException:
        share.close()
        raise


def _check_mounted(directories: Sequence[str]) -> None:
    for path in directories:
        if point := unmounted_point(path):
            raise FatalError(f"{path}: {point} is in fstab and not mounted: mount {point}{ANYWAY}")
    if directories and all(map(_is_empty, directories)):
        shown = " and ".join(directories)
        raise FatalError(f"there is nothing in {shown}: is the share mounted?{ANYWAY}")


def _is_empty(path: str) -> bool:
    """Whether there is nothing in a directory; if it cannot be read, the job will say so."""
    try:
        return is_empty(path)
    except OSError:
        return False


def _check_v03() -> None:
    if running := [daemon for daemon in running_daemons() if daemon.is_v03]:
        raise FatalError(
            f"v0.3 runs here: {shown_daemons(running)}: stop it on all nodes (archipelago stop)"
            f"{ANYWAY}"
        )


def _check_runs(
    kind: JobKind[Any], share: Share, places: Sequence[str], options: RunOptions
) -> None:
    """Refuse while another run is unfinished; what of this kind is on this share, `begin` sorts."""
    locks = runtime_directory(options.state_path)
    for header in unfinished_runs(resumable_runs(options.state_path), places):
        is_same = header.share == share.identity
        if (is_same and (is_of(header, kind) or undo_target(header))) or _is_at_work(locks, header):
            continue
        raise FatalError(
            f"{header.run} is unfinished, on {header.path}: {ways_on(header, options)}{ANYWAY}"
        )


def _is_at_work(locks: Path, header: RunHeader) -> bool:
    """Whether a run works now: then its lock will refuse this one, and say so."""
    return bool(ShareLock.holder(locks, header.share))
