"""How a share on an NFS mount is reached: directly, or through the mount.

A mount caches attributes, and does not notice what is changed past it. So a session that goes
through the mount waits until the cache has expired after the latest direct run; otherwise an undo
would find entries apparently unchanged. A filesystem that was mounted after that run has cached
nothing from before it, and is not waited for.
"""

from __future__ import annotations

import time
from glob import escape
from pathlib import Path

from ..errors import ShareError
from ..jobs.kind import Reporter
from ..jobs.options import RunOptions
from ..journal.runs import SHARE_SUFFIX, read_runs
from ..journal.store import SUFFIX
from ..share import Share
from ..share.bypass import cached_seconds, is_version_4, label, open_direct
from ..share.mountinfo import read_age
from ..ui.text import quoted

# Mountstats counts whole seconds, and so do the times of files on some filesystems.
AGE_ERROR = 2


def reach(share: Share, options: RunOptions, domain: str, reporter: Reporter) -> Share:
    """Return the share, opened directly if it is on a mount that allows it and nothing forbids it.

    *domain* is that of NFSv4 owners. If the share is reached through its mount, wait until that has
    forgotten what was before the latest direct run. Raises ShareError if the nfs backend is
    demanded and cannot serve, or there is a domain and the mount shows the server's numbers.
    """
    if share.opened is not None or not share.is_nfs:
        return share
    if options.backend in ("auto", "nfs"):
        try:
            share = open_direct(share, domain)
        except ShareError as error:
            if options.backend == "nfs":
                words = f"--backend nfs: it can only be reached through the mount: {error}"
                raise ShareError(f"{quoted(share.path)}: {words}") from None
            reporter.remark(f"through the mount, not directly: {error}")
        else:
            way = f"directly by {label(share.nfs_version)}"
            reporter.remark(f"{way}, past the mount (--backend native goes through it)")
            return share
    if domain and not is_version_4(share.mount):
        raise ShareError(
            f"{quoted(share.path)}: --nfs4-domain needs NFSv4; "
            "this mount is v3 and shows the server's numbers"
        )
    wait_for_mount(share, options.state_path, reporter)
    return share


def wait_for_mount(share: Share, state: Path, reporter: Reporter) -> None:
    """Wait until an NFS mount has forgotten what it knew before the latest direct run.

    That run may have been of a directory above or below, or by another name of the server, so any
    run counts.
    """
    if not share.is_nfs:
        return
    runs = read_runs(state)
    direct = [header.run for header in runs.headers if header.backend == "nfs"]
    # An unreadable journal may be of a direct run, too.
    changed = [_written(state, run) for run in [*direct, *(bad.run for bad in runs.unreadable)]]
    latest = max(changed, default=0.0)
    left = left_to_wait(latest, cached_seconds(share.mount), read_age(share.mount), time.time())
    if left > 0:
        reporter.remark(
            f"waiting {left:.0f} s: the mount may still have old attributes of what a run changed "
            "past it"
        )
        time.sleep(left)


def left_to_wait(changed: float, longest: float, age: float | None, now: float) -> float:
    """Return for how many seconds a mount may still show what was before a change past it.

    *changed* and *now* are seconds since the epoch. The mount keeps attributes for *longest*
    seconds, and is *age* seconds old (None: not known). If the clock was set back since the change,
    the wait is *longest*.
    """
    if age is not None and changed + AGE_ERROR < now - age:
        return 0.0
    return max(0.0, min(changed + longest - now, longest))


def _written(state: Path, run: str) -> float:
    """Return when a run's journal was last written, in seconds since the epoch.

    Opening a journal creates an empty log, and an index of it, whose times say nothing; nor does
    that of the file that names the share.
    """
    files = (
        path.stat()
        for path in state.glob(f"{escape(run)}{SUFFIX}*")
        if not path.name.endswith(("-shm", SHARE_SUFFIX))
    )
    return max((found.st_mtime for found in files if found.st_size), default=0.0)
