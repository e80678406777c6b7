"""Guest programs: the nfs backend on the kernel's server. See `runtime` for how they are made."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import time
from pathlib import Path
from typing import Any

from archipmigrate.backend.nfs import NfsBackend
from archipmigrate.engine import controllers
from archipmigrate.testshare import make_share
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    MOUNT,
    STATE,
    delay,
    export,
    mount,
    report,
    serve,
    umount,
)
from tests.support import crafted_tree as crafted
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift

PERMS = ("perms", "--json", "--no-progress", "--group", GID)


def url(version: int, name: str) -> str:
    """Return the URL of a directory in the export, which is the root of version 4.

    No ports: the usual one, and the port mapper's.
    """
    return f"nfs://127.0.0.1{EXPORT if version == 3 else ''}/{name}?version={version}"


def ended(*args: object, backend: str = "auto") -> dict[str, Any]:
    """Run the program in this process; return its exit status, summary and last calls."""
    made: list[list[int]] = []
    close = NfsBackend.close

    def count(self: NfsBackend) -> None:
        made.append(self.calls())
        close(self)

    NfsBackend.close = count  # type: ignore[method-assign]
    began = time.monotonic()
    done = Program(backend, STATE)(*args)
    NfsBackend.close = close  # type: ignore[method-assign]
    return {
        "status": done.status,
        "summary": done.summary if done.out else {},
        "err": done.err,
        "calls": made[-1] if made else [],
        "seconds": time.monotonic() - began,
    }


def shown(tree: dict[bytes, Any]) -> dict[str, Any]:
    """Return attrs in a form that JSON has."""
    return {repr(path): list(state) for path, state in tree.items()}


def crafted_tree(filesystem: str, version: int) -> None:
    """Migrate a crafted tree by the nfs backend, another by the native one; undo the first."""
    serve("rw,no_root_squash,secure", filesystem=filesystem)
    tree, other = EXPORT / "tree", EXPORT / "other"
    crafted.build(tree)
    crafted.build(other)
    report("before", shown(attrs(tree)))
    report("native", ended(*PERMS, other, backend="native"))
    report("expected", shown(attrs(other)))
    report("perms", ended(*PERMS, url(version, "tree")))
    report("after", shown(attrs(tree)))
    report(
        "verify", ended("verify", "--json", "--no-progress", "--group", GID, url(version, "tree"))
    )
    report("undo", ended("undo", "--json", "--no-progress"))
    report("undone", shown(attrs(tree)))


def owner(uid: int, version: int, mounted: str) -> None:
    """Give trees to an owner as well, on the disk, through a mount and directly; undo the latter.

    The mount comes first: it would wait for its attributes to expire after direct changes.
    """
    serve("rw,no_root_squash,secure", filesystem="ext4")
    tree, other = EXPORT / "tree", EXPORT / "other"
    crafted.build(tree)
    crafted.build(other)
    before = attrs(tree)
    words = (*PERMS, "--owner", uid)
    report("native", ended(*words, other, backend="native"))
    expected = attrs(other)
    mount(mounted)
    for name, where in (("mount", MOUNT / "tree"), ("direct", url(version, "tree"))):
        backend = "native" if name == "mount" else "auto"
        run = ended(*words, where, backend=backend)
        unlike = [repr(path) for path, found in attrs(tree).items() if found != expected[path]]
        undo = ended("undo", "--json", "--no-progress", backend=backend)
        back = {
            path: (mode & (expected[path][0] | ~0o6000), *ids)
            for path, (mode, *ids) in before.items()
        }
        not_back = [repr(path) for path, found in attrs(tree).items() if found != back[path]]
        for path, (mode, _, _) in before.items():
            if stat.S_IFMT(mode) != stat.S_IFLNK:
                os.chmod(os.fsencode(tree) + b"/" + path, stat.S_IMODE(mode))
        report(name, {"run": run, "unlike": unlike, "undo": undo, "not back": not_back})
    umount()


def refusals(version: int) -> None:
    """Meet a server that squashes root, and one that is read-only."""
    serve("rw,root_squash")
    make_share(str(EXPORT / "share"), objects=20, volumes=0)
    os.chmod(EXPORT / "share", 0o755)
    report("squashed", ended(*PERMS, url(version, "share")))
    export("ro,no_root_squash")
    report("read-only", ended(*PERMS, url(version, "share")))


def rate(objects: int, milliseconds: float, version: int) -> None:
    """Migrate a share over a link with latency."""
    serve(filesystem="ext4", size="400M")
    make_share(str(EXPORT / "share"), objects=objects, volumes=0, object_bytes=0)
    report("entries", len(attrs(EXPORT / "share")))
    if milliseconds:
        delay(milliseconds)
    report("perms", ended(*PERMS, url(version, "share")))
    report(
        "verify", ended("verify", "--json", "--no-progress", "--group", GID, url(version, "share"))
    )


# quota.h: Q_SETQUOTA for groups, and which limits are set.
SET_GROUP_QUOTA = 0x800008 << 8 | 1
LIMITS = 4 | 1  # of inodes, and of blocks


def limit_group(device: str, gid: int, inodes: int) -> None:
    """Let a group have at most *inodes* (quotactl(2), struct if_dqblk); 0: any number."""
    limits = struct.pack("8QI4x", 0, 0, 0, inodes, inodes, 0, 0, 0, LIMITS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.quotactl(SET_GROUP_QUOTA, device.encode(), gid, limits):
        raise OSError(ctypes.get_errno(), f"quotactl {device}")


def quota(version: int, files: int, room: int) -> None:
    """Change files of a user in a group's quota that has room for some of them, then for all.

    The calls are the user's: the server lets root exceed a quota.
    """
    controllers.FIRST_PAUSE = controllers.LONGEST_PAUSE = 0.1
    serve("rw,root_squash", filesystem="ext4", quota=True)
    mounts = Path("/proc/self/mounts").read_text(encoding="ascii").split("\n")
    device = next(line.split()[0] for line in mounts if f" {EXPORT} " in line)
    share = EXPORT / "share"
    share.mkdir()
    for number in range(files):
        (share / f"{number:04d}").touch()
    for path in (share, *share.iterdir()):
        os.chown(path, 1000, 1000)
    # The directory complies: how often one is tried that is put off until its files are done
    # depends on where the units end.
    os.chown(share, 1000, GID)
    share.chmod(0o2770)
    before = attrs(share)
    limit_group(device, GID, room + 1)
    where = f"{url(version, 'share')}&uid=1000&gid={GID}"
    report("full", ended(*PERMS, where))
    report("drift", len(drift(share)))
    limit_group(device, GID, 0)
    report("resume", ended("resume", "--failed", "--json", "--no-progress"))
    report("drift after", len(drift(share)))
    limit_group(device, 1000, room)
    report("undo", ended("undo", "--json", "--no-progress"))
    limit_group(device, 1000, 0)
    report("undo again", ended("undo", "--json", "--no-progress"))
    report("not back", attrs(share) != before)
