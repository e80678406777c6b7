"""The share: a directory that the user named, opened once, with its identity and its filesystem.

    url        URLs of shares on NFS servers       remote      opening them
    mountinfo  what /proc says of mounts           identity    what names a directory
    bypass     from a mount to direct calls        places      what is above or below another one
    daemons    those of Archipelago that run here

A share is its filesystem's identity and the inode of its root, wherever it is mounted: an
interrupted run resumes after a remount under another path.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ShareError
from .identity import NFS, identity_of
from .mountinfo import Mount, mount_of, path_within
from .places import nfs_place, overlap, places_at, places_of
from .remote import open_remote, reopen_remote
from .url import Remote, is_url, parse_url, with_domain

if TYPE_CHECKING:
    from .. import _nfs

__all__ = [
    "NFS",
    "Mount",
    "Share",
    "identity_of",
    "mount_of",
    "open_share",
    "overlap",
    "path_within",
    "places_at",
    "unanswered",
]


OVERLAYS = ("overlay", "fuse.fuse-overlayfs")


@dataclass(frozen=True, slots=True)
class Share:
    """An open share: `path` resolved, `fd` an O_PATH descriptor that is the root from now on.

    `opened` is set if calls go directly to an NFS server; if that turns out to send owner names,
    `reopen` opens it by version 3, or raises ShareError. A share that a URL names has no descriptor
    (-1). `remark` is what users should know of it. `lock` is the descriptor that excludes other
    runs (-1: none), for child processes that work on the share. `places` say where it lies, for
    `places.overlap`.
    """

    path: bytes
    fd: int
    identity: str
    mount: Mount
    opened: _nfs.OpenShare | None = None
    reopen: Callable[[], _nfs.OpenShare] | None = None
    remark: str = ""
    lock: int = -1
    places: Sequence[str] = ()

    @property
    def is_nfs(self) -> bool:
        """Whether the share lies on an NFS server."""
        return self.mount.fstype in NFS

    @property
    def parts_links(self) -> bool:
        """Whether a change to one of several names of a file may part it from the others.

        An overlay copies a file up by the one name, unless it was mounted with an index
        (Documentation/filesystems/overlayfs.rst, "Inode properties").
        """
        return self.mount.fstype in OVERLAYS

    @property
    def nfs_version(self) -> int:
        """The version of NFS of direct calls; 0 if there are none."""
        return 0 if self.opened is None else self.opened.version

    def used_inodes(self) -> int:
        """Return how many inodes the share's filesystem has in use; 0 if it does not say."""
        with contextlib.suppress(OSError):
            if self.fd < 0 and self.opened is not None:
                return self.opened.used_inodes()
            room = os.fstatvfs(self.fd)
            return room.f_files - room.f_ffree
        return 0

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)


def _advice(shown: str) -> str:
    """Return what to name instead of what is no directory here."""
    server, colon, path = shown.partition(":")
    if colon and server and "/" not in server and path.startswith("/"):
        return f"name the directory where it is mounted, or call the server: nfs://{server}{path}"
    return "name the directory of the share"


def open_share(path: str | bytes, *, remote: bool = False, domain: str = "") -> Share:
    """Open the directory at *path*, following a symbolic link there this once.

    With *remote* it may be a URL (see `url`); *domain* is that of its owner names then. Raises
    ShareError if it does not exist, is no directory, or is the root of this system.
    """
    shown = os.fsdecode(path)
    if is_url(path):
        if not remote:
            raise ShareError(f"{shown}: this needs a mount: name the directory where it is mounted")
        url = with_domain(shown, domain) if domain else shown
        return _open_url(url, parse_url(url))
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ShareError(f"{shown}: {error.strerror}: {_advice(shown)}") from None
    try:
        _refuse_root(os.fstat(fd), shown)
        mount = mount_of(fd)
        resolved = os.readlink(f"/proc/self/fd/{fd}".encode())
        places = places_of(fd, mount, resolved)
        return Share(resolved, fd, identity_of(fd, mount), mount, places=places)
    except OSError as error:
        os.close(fd)
        raise unanswered(shown, error) from None
    except BaseException:
        os.close(fd)
        raise


def _open_url(url: str, remote: Remote) -> Share:
    opened, remark = open_remote(url, remote)
    source, inode = remote.source, opened.root_inode
    reopen = partial(reopen_remote, url, remote, inode)
    mount = Mount("nfs", source, "")
    identity = f"nfs:{source}#{inode}"
    places = (nfs_place(source),)
    return Share(os.fsencode(url), -1, identity, mount, opened, reopen, remark, places=places)


def unanswered(shown: str, error: OSError) -> ShareError:
    """Return what to tell the user when a share exists but does not answer."""
    return ShareError(
        f"{shown}: {error.strerror}: the share does not answer; what was done is in the journal, "
        "and `archipmigrate resume` continues when it does"
    )


def _refuse_root(found: os.stat_result, shown: str) -> None:
    if os.path.samestat(found, os.stat("/")):
        raise ShareError(f"{shown} is the root of this system, not a share: refused")
