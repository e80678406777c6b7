"""How many lanes serve a share, and the backend that they work through."""

from __future__ import annotations

import os
from dataclasses import replace

from ..backend.base import Backend
from ..backend.select import CALLS, REMOTE_LANES, is_python, open_backend
from ..engine.job import Lanes
from ..engine.limits import UNIT_SECONDS
from ..share import Share, unanswered
from .options import AUTO, RunOptions

NFS_JOBS = 8
MOST_JOBS = 64
MOST_LOCAL = 8  # lanes a core: for a cold disk


def choose_lanes(share: Share, options: RunOptions) -> Lanes:
    """Return how many lanes serve this share, and how long their units are."""
    cores = os.cpu_count() or 1
    first, most = (NFS_JOBS, MOST_JOBS) if share.is_nfs else (cores, MOST_LOCAL * cores)
    if share.opened is not None:
        first = most = min(REMOTE_LANES, _calls(options))
    elif options.jobs != AUTO:
        first = most = options.jobs
    return Lanes(first, UNIT_SECONDS, max(first, most), options.max_ops)


def choose_backend(share: Share, options: RunOptions) -> tuple[Backend, Lanes]:
    """Open the backend, and return it with the lanes that serve it best.

    The Python backend has one process a core on a local disk, and as many lanes: more would only
    wait. Where it is this process alone it has one lane. Raises BackendMissing, UsageError,
    ShareError.
    """
    lanes = choose_lanes(share, options)
    fixed = is_python(options.backend, share) and not share.is_nfs and options.jobs == AUTO
    if fixed:
        lanes = replace(lanes, most=lanes.jobs)
    try:
        backend = open_backend(options.backend, share, lanes.most, _calls(options))
    except OSError as error:
        raise unanswered(os.fsdecode(share.path), error) from None
    if fixed:
        from ..backend.python.backend import PythonBackend  # noqa: PLC0415 -- few use it

        if isinstance(backend, PythonBackend):
            lanes = replace(lanes, jobs=1, most=1)
    return backend, lanes


def _calls(options: RunOptions) -> int:
    """Return how many NFS calls may be in flight where lanes share them: what --jobs says."""
    return CALLS if options.jobs == AUTO else options.jobs
