"""Whether root may change owner and mode on the share: tried on a directory of our own.

An NFS server that squashes root lets nobody do what perms does. The directory is made, changed,
looked at and removed; a kill leaves it, empty, and the next check removes it.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from ..share import Share
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, number_of, opened

PROBE = ".archipmigrate-check-"
LEFT_AGE = 3600  # seconds after which nobody works on a probe any more
MODE = 0o2770


def squash(question: Question) -> Iterator[Finding]:
    """Probe each filesystem once."""
    if not question.probe:
        return
    if os.geteuid() != 0:
        yield warning(
            Topic.SQUASH,
            "not checked: only root may change owners",
            "run this as root, as the jobs have to be",
        )
        return
    site, seen = question.site, set()
    uid = number_of(site.user, lambda name: pwd.getpwnam(name).pw_uid)
    gid = number_of(site.group, lambda name: grp.getgrnam(name).gr_gid)
    for what, path in site.directories.items():
        with opened(path) as share:
            if share is None or (device := os.fstat(share.fd).st_dev) in seen:
                continue
            seen.add(device)
            yield _probed(what, share, 1 if uid is None else uid, 1 if gid is None else gid)


def _probed(what: str, share: Share, uid: int, gid: int) -> Finding:
    shown = os.fsdecode(share.path)
    try:
        found = _probe(share.fd, uid, gid)
    except OSError as error:
        return blocker(
            Topic.SQUASH,
            f"{what}: root may not change owner and mode in {shown} ({error.strerror})",
            "export the share with no_root_squash to this node, or run the jobs on the server",
            path=shown,
            errno=error.errno,
        )
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (uid, gid, MODE):
        came = f"{found.st_uid}:{found.st_gid} {stat.S_IMODE(found.st_mode):04o}"
        return blocker(
            Topic.SQUASH,
            f"{what}: in {shown} a directory given to {uid}:{gid} {MODE:04o} became {came}",
            "see to the server's squashing (all_squash, anonuid) and its mapping of names (idmapd)",
            path=shown,
        )
    return ok(Topic.SQUASH, f"{what}: root may change owner and mode there", path=shown)


def _probe(root: int, uid: int, gid: int) -> os.stat_result:
    """Make a directory, give it away, and return its status. Raises OSError."""
    _sweep(root)
    name = f"{PROBE}{secrets.token_hex(4)}"
    os.mkdir(name, 0o700, dir_fd=root)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        try:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, MODE)
            return os.fstat(fd)
        finally:
            os.close(fd)
    finally:
        os.rmdir(name, dir_fd=root)


def _sweep(root: int) -> None:
    """Remove what a killed check left."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        for name in os.listdir(fd):
            if name.startswith(PROBE):
                with suppress(OSError):
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if found.st_mtime < time.time() - LEFT_AGE:
                        os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)
