"""Where a directory lies, in names that tell whether one directory is above or below another.

    FILESYSTEM:/PATH   the filesystem, as in `identity`, and the path in it: the same by whatever
                       mount, bind mount or URL of it the directory was opened
    path:/PATH         the path on this host: it also tells of filesystems that are mounted below

A directory has one of each, unless one of them is not known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import ShareError
from .identity import NFS, filesystem_of
from .mountinfo import Mount, mount_of, path_within

PATH = "path"


def places_of(fd: int, mount: Mount, path: bytes) -> tuple[str, ...]:
    """Return the places of an open directory, whose real path is *path*.

    Raises OSError, ShareError.
    """
    here = _place(PATH, path)
    within = path_within(fd)
    if within is None:
        return (here,)
    if mount.fstype in NFS:
        return here, nfs_place(mount.source, within[1])
    return here, _place(filesystem_of(fd, mount), within[1])


def places_at(path: str) -> tuple[str, ...]:
    """Return the places of the directory at *path*; only its path if it cannot be opened."""
    real = os.fsencode(os.path.realpath(path))
    try:
        fd = os.open(real, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return (_place(PATH, real),)
    try:
        return places_of(fd, mount_of(fd), real)
    except (OSError, ShareError):
        return (_place(PATH, real),)
    finally:
        os.close(fd)


def nfs_place(source: str, within: bytes = b"") -> str:
    """Return the place of a directory on an NFS server; *source* is SERVER:EXPORT."""
    server, _, export = source.rpartition(":/")
    return _place(f"nfs:{server}", b"/" + os.fsencode(export).strip(b"/") + b"/" + within)


def overlap(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Return whether a directory is another one, or above or below it, by any of their places."""
    others = [f"{place.rstrip('/')}/" for place in theirs]
    return any(
        other.startswith(place) or place.startswith(other)
        for place in (f"{place.rstrip('/')}/" for place in ours)
        for other in others
    )


def _place(filesystem: str, path: bytes) -> str:
    plain = os.fsdecode(os.path.normpath(b"/" + path.strip(b"/")))
    return f"{filesystem}:{plain}"
