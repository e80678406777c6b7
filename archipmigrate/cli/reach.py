"""How a share on an NFS mount is reached: directly, or through the mount, and what is said of that.

A mount does not learn at once of what was done past it: it may show attributes that are as old as
it keeps them. A session that looks through it waits for so long after one that went past it, or an
undo would take entries for unchanged.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..errors import ShareError
from ..journal.location import default_state
from ..journal.runs import list_runs
from ..journal.store import SUFFIX
from ..share import Share
from ..share.bypass import is_version_4, label, memory, open_direct
from ..ui.report import Report
from ..ui.text import quoted


def reach(args: argparse.Namespace, share: Share, report: Report, domain: str) -> Share:
    """Return the share, opened directly if it is on a mount that allows it, unless forbidden.

    *domain* is that of owners' names. Waits for a mount that may not know yet what was done past
    it. Raises ShareError if the nfs backend is named and cannot be, or names are to be mapped and
    the mount has the server's numbers.
    """
    if share.opened is not None or not share.is_nfs:
        return share
    if args.backend in ("auto", "nfs"):
        try:
            share = open_direct(share, domain)
        except ShareError as error:
            if args.backend == "nfs":
                words = f"--backend nfs: it can only be reached through the mount: {error}"
                raise ShareError(f"{quoted(share.path)}: {words}") from None
            report.remark(f"through the mount, not directly: {error}")
        else:
            way = f"directly by {label(share.nfs_version)}"
            report.remark(f"{way}, past the mount (--backend native goes through it)")
            return share
    if domain and not is_version_4(share.mount):
        raise ShareError(
            f"{quoted(share.path)}: owners' names are to be mapped ({domain}), "
            "and the mount has the server's numbers"
        )
    wait_for_mount(args.state or default_state(), share, report)
    return share


def wait_for_mount(state: Path, share: Share, report: Report) -> None:
    """Wait until an NFS mount has forgotten what it knew before the latest direct run.

    That may have been of a directory above or below, or by another name of the server; and if the
    clock was set back since, nobody knows when.
    """
    if not share.is_nfs:
        return
    changed = [
        _written(state, header.run) for header in list_runs(state) if header.backend == "nfs"
    ]
    longest = memory(share.mount)
    left = min(max(changed, default=0.0) + longest - time.time(), longest)
    if left > 0:
        report.remark(
            f"waiting {left:.0f} s: the mount may not know yet what a run did that went past it"
        )
        time.sleep(left)


def _written(state: Path, run: str) -> float:
    """Return when a run's journal was written last, in seconds since the epoch.

    Opening it makes an empty log, and an index of that which says nothing.
    """
    files = (
        path.stat() for path in state.glob(f"{run}{SUFFIX}*") if not path.name.endswith("-shm")
    )
    return max((found.st_mtime for found in files if found.st_size), default=0.0)
