"""Whether a site lies on one filesystem, and whether anything leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..share import Share, mount_of
from ..share.mountinfo import is_below, mount_points
from ..ui.text import quoted
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, opened
from .site import LOCKS


def filesystem(question: Question) -> Iterator[Finding]:
    """Compare the filesystems of the directories; look for mounts and links below them.

    Links further down are found by the walk: they are among what leads outside.
    """
    devices: dict[int, list[str]] = {}
    bad = False
    for what, path in question.site.directories.items():
        with opened(path) as share:
            if share is None:
                continue
            devices.setdefault(os.fstat(share.fd).st_dev, []).append(what)
            for finding in _leading_out(what, path, share):
                bad = True
                yield finding
    if len(devices) > 1:
        bad = True
        yield from _several(question, list(devices.values()))
    if devices and not bad:
        yield ok(Topic.FILESYSTEM, "one filesystem, no mounts below, no links at the top")


def _leading_out(what: str, path: str, share: Share) -> Iterator[Finding]:
    if os.path.islink(path):
        yield warning(
            Topic.FILESYSTEM,
            f"{what}: {path} is a symbolic link to {quoted(share.path)}",
            "have the configuration name the directory itself, the same on all nodes",
            path=path,
        )
    below = sorted(quoted(point) for point in mount_points() if is_below(point, share.path))
    if below:
        yield blocker(
            Topic.FILESYSTEM,
            f"{what}: mounted below it: {', '.join(below[:4])}",
            "move what is there into the share itself: no object can be moved across",
            mounts=below,
        )
    try:
        with os.scandir(path) as entries:
            links = sorted(quoted(os.fsencode(e.name)) for e in entries if e.is_symlink())
    except OSError:
        return  # the mounts' topic says it
    if links:
        yield blocker(
            Topic.FILESYSTEM,
            f"{what}: symbolic links at its top: {', '.join(links[:4])}",
            "put the directories themselves in their places: links are not followed",
            links=links,
        )


def _several(question: Question, groups: list[list[str]]) -> Iterator[Finding]:
    shown = "; ".join(" and ".join(group) for group in groups)
    locks = question.site.locks
    if locks and not _is_shared(locks) and _is_shared(question.site.maps):
        yield blocker(
            Topic.FILESYSTEM,
            f"{LOCKS}: {locks} is on a disk of this host, while the maps are shared",
            "have lock_dir on the share: locks of other nodes are not seen here",
        )
    yield warning(
        Topic.FILESYSTEM,
        f"several filesystems: {shown}",
        "see that every node mounts each of them; room is needed on each",
        filesystems=groups,
    )


def _is_shared(path: str) -> bool:
    with opened(path) as share:
        return share is not None and mount_of(share.fd).fstype.startswith(
            ("nfs", "ceph", "gluster", "fuse.gluster", "ocfs2", "gfs2", "lustre")
        )
