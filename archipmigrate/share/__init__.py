"""The share: a directory that the user named, opened once, with its identity and its filesystem.

A share is its filesystem's identity (server:export, or UUID) and the inode of its root, wherever it
is mounted: a run that was cut off resumes after a remount under another path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..errors import ShareError
from .url import MAP_THEM, NAMED, TIMEOUT, Remote, is_url, parse_url, refusal, with_domain

try:
    from .. import _nfs
except ImportError:  # no C compiler where this was installed
    HAS_NFS = False
else:
    HAS_NFS = True

NFS = ("nfs", "nfs4")
LEFT = f"version 3 is spoken: {NAMED} (--nfs4-domain DOMAIN would map them)"
# _IOR(0x15, 0, struct fsuuid2 {u8 len; u8 uuid[16]}): linux/fs.h, since 6.9
FS_IOC_GETFSUUID = 0x80111500


@dataclass(frozen=True, slots=True)
class Mount:
    """What /proc/self/mountinfo says of the mount that a descriptor is on, in its escapes."""

    fstype: str
    source: str
    options: str
    point: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """An open share: `path` resolved, `fd` an O_PATH descriptor that is the root from now on.

    One that is spoken to directly is `opened`; if its server turns out to have names for owners,
    `reopen` opens it by version 3, or raises ShareError. One that is named by a URL has no
    descriptor (-1) then. `remark` is what users should know of it. `lock` is the descriptor that
    excludes other runs (-1: none), for processes that are started to work on the share.
    """

    path: bytes
    fd: int
    identity: str
    mount: Mount
    opened: _nfs.Opened | None = None
    reopen: Callable[[], _nfs.Opened] | None = None
    remark: str = ""
    lock: int = -1

    @property
    def is_nfs(self) -> bool:
        """Whether the share lies on an NFS server."""
        return self.mount.fstype in NFS

    @property
    def nfs_version(self) -> int:
        """The version of NFS that is spoken directly; 0 if none is."""
        return 0 if self.opened is None else _nfs.version(self.opened)

    def used_inodes(self) -> int:
        """Return how many inodes the share's filesystem has in use; 0 if it does not say."""
        with contextlib.suppress(OSError):
            if self.fd < 0 and self.opened is not None:
                return _nfs.used_inodes(self.opened)
            room = os.fstatvfs(self.fd)
            return room.f_files - room.f_ffree
        return 0

    def close(self) -> None:
        """Give up the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)


def open_share(path: str | bytes, *, remote: bool = False, domain: str = "") -> Share:
    """Open the directory at *path*, following a symbolic link there this once.

    With *remote* it may be a URL (see `remote`); *domain* is its owners' then. Raises ShareError if
    it is not there, no directory, or the root of this system.
    """
    shown = os.fsdecode(path)
    if is_url(path):
        if not remote:
            raise ShareError(f"{shown}: this needs a mount: name the directory where it is mounted")
        url = with_domain(shown, domain) if domain else shown
        return _open_remote(url, parse_url(url))
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ShareError(f"{shown}: {error.strerror}: name the directory of the share") from None
    try:
        found = os.fstat(fd)
        _refuse_root(found, shown)
        mount = mount_of(fd)
        identity = identity_of(fd)
        return Share(os.readlink(f"/proc/self/fd/{fd}".encode()), fd, identity, mount)
    except OSError as error:
        os.close(fd)
        raise unanswered(shown, error) from None
    except BaseException:
        os.close(fd)
        raise


def unanswered(shown: str, error: OSError) -> ShareError:
    """Return what to tell the user if a share that is there does not answer."""
    return ShareError(
        f"{shown}: {error.strerror}: the share does not answer; what was done is in the journal, "
        "and `archipmigrate resume` goes on when it does"
    )


def _open_remote(url: str, remote: Remote) -> Share:
    if not HAS_NFS:
        raise ShareError(f"{url}: the nfs backend is not there: install with a C compiler at hand")
    opened, remark = _first(url, remote)
    source = remote.source
    identity = f"nfs:{source}#{_nfs.root_inode(opened)}"
    reopen = partial(_reopen, url, remote, _nfs.root_inode(opened))
    return Share(os.fsencode(url), -1, identity, Mount("nfs", source, ""), opened, reopen, remark)


def _first(url: str, remote: Remote) -> tuple[_nfs.Opened, str]:
    """Mount a share by the first version of NFS that serves it; say so if owners' names decided."""
    errors: list[OSError] = []
    for version in remote.versions:
        try:
            opened = _mount(remote, version)
        except OSError as error:
            errors.append(error)
        else:
            return opened, LEFT if any(map(_is_named, errors)) else ""
    # A server without a port mapper has version 4 only: what that said is what matters.
    first = _is_named(errors[0]) or errors[-1].filename == "port mapper"
    raise refusal(url, errors[0] if first else errors[-1])


def _is_named(error: OSError) -> bool:
    return error.errno == errno.EPROTOTYPE


def _reopen(url: str, remote: Remote, inode: int) -> _nfs.Opened:
    """Mount by version 3 a share whose server has names for owners. Raises ShareError."""
    if remote.domain:
        raise ShareError(
            f"{url}: the server refuses the group by the name that it has here, or its number "
            f"if it has none: both must know it by a name of the domain {remote.domain}"
        )
    if 3 not in remote.versions:
        raise ShareError(f"{url}: {NAMED}: {MAP_THEM}")
    try:
        opened = _mount(remote, 3)
    except OSError as error:
        raise ShareError(
            f"{url}: {NAMED}, and has no version 3 ({error.filename}: {error.strerror}): {MAP_THEM}"
        ) from None
    if _nfs.root_inode(opened) != inode:
        raise ShareError(f"{url}: {NAMED}, and by version 3 this is another directory: {MAP_THEM}")
    return opened


def _mount(remote: Remote, version: int) -> _nfs.Opened:
    """Mount a share by a version of NFS. Raises OSError; its filename is what failed."""
    options = remote.options
    return _nfs.mount(
        remote.server,
        remote.path,
        version,
        options.get("nfsport", 0),
        options.get("mountport", 0),
        options.get("uid", -1),
        options.get("gid", -1),
        options.get("timeout", TIMEOUT),
        remote.domain,
    )


def identity_of(fd: int) -> str:
    """Return what names an open directory, wherever its filesystem is mounted.

    Raises ShareError where /proc is not mounted.
    """
    found = os.fstat(fd)
    return f"{_filesystem(fd, mount_of(fd), found)}#{found.st_ino}"


def _refuse_root(found: os.stat_result, shown: str) -> None:
    if os.path.samestat(found, os.stat("/")):
        raise ShareError(f"{shown} is the root of this system, not a share: refused")


def mount_of(fd: int) -> Mount:
    """Return the mount that an open descriptor is on.

    Raises ShareError where /proc is not mounted.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}") as lines:
            number = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
        with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
            for line in lines:
                if line.split(maxsplit=1)[0] == number:
                    return parse_mount(line)
    except FileNotFoundError:
        raise ShareError("/proc is not mounted here: it is needed to name descriptors") from None
    return Mount("unknown", "unknown", "")  # a mount of another namespace


def parse_mount(line: str) -> Mount:
    """Read a line of mountinfo: proc(5). Options are the mount's, then its filesystem's."""
    ours, _, rest = line.rstrip("\n").partition(" - ")
    fstype, source, superblock = rest.split(" ")[:3]
    point, options = ours.split(" ")[4:6]
    return Mount(fstype, source, f"{options},{superblock}", point)


def _filesystem(fd: int, mount: Mount, found: os.stat_result) -> str:
    """Return what names the filesystem, whatever its mount point and device number."""
    if mount.fstype in NFS:
        return f"nfs:{mount.source}"
    try:
        readable = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except PermissionError:
        readable = -1
    if readable >= 0:
        try:
            reply = fcntl.ioctl(readable, FS_IOC_GETFSUUID, bytes(17))
            uuid = reply[1 : 1 + reply[0]]
            if any(uuid):
                return f"uuid:{uuid.hex()}"
        except OSError:
            pass  # before Linux 6.9, or a filesystem without UUID
        finally:
            os.close(readable)
    return _by_uuid(found.st_dev) or f"fsid:{mount.fstype}:{os.fstatvfs(fd).f_fsid:x}"


def _by_uuid(device: int) -> str | None:
    """Return the UUID that udev linked to a block device, None if there is none."""
    try:
        with os.scandir("/dev/disk/by-uuid") as links:
            for link in links:
                target = link.stat()
                if stat.S_ISBLK(target.st_mode) and target.st_rdev == device:
                    return f"uuid:{link.name.replace('-', '')}"
    except OSError:
        pass
    return None
