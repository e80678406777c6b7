"""How many entries a share has: as the last complete walk found them, for the progress of the next.

One small file a share, beside the journals. It is for people only: nothing is decided by it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..numerals import read_number
from ..share import Share

WALKED = ("done", "failures")  # how a session ends that has seen every entry


def read_extent(state: Path, identity: str) -> int | None:
    """Return the entries of the share of this identity; None if they are not known."""
    try:
        fd = os.open(_file(state, identity), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        return read_number(file.read(32).decode(errors="replace").strip())


def keep_extent(state: Path, identity: str, entries: int) -> None:
    """Keep the entries of a share, if there is a state directory, and room in it."""
    path = _file(state, identity)
    new = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        fd = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with open(fd, "wb") as file:
            file.write(b"%d\n" % entries)
        new.rename(path)


def most_entries(share: Share) -> int | None:
    """Return how many entries *share* has at most; None if it is only a part of a filesystem.

    What an NFS server says is about the filesystem that it exports from.
    """
    mount = share.mount
    if share.is_nfs or mount.root != "/" or os.fsdecode(share.path) != mount.point:
        return None
    return share.used_inodes() or None


def _file(state: Path, identity: str) -> Path:
    name = xxh3_64_hexdigest(identity.encode(errors="surrogateescape"))
    return state / f"{name}.extent"
