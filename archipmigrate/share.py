"""The share: a directory that the user named, opened once, with its identity and its filesystem.

A share is its filesystem's identity (server:export, or UUID) and the inode of its root, wherever it
is mounted: a run that was cut off resumes after a remount under another path.
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass

from .errors import ShareError

NFS = ("nfs", "nfs4")
# _IOR(0x15, 0, struct fsuuid2 {u8 len; u8 uuid[16]}): linux/fs.h, since 6.9
FS_IOC_GETFSUUID = 0x80111500


@dataclass(frozen=True, slots=True)
class Mount:
    """What /proc/self/mountinfo says of the mount that a descriptor is on."""

    fstype: str
    source: str
    options: str


@dataclass(frozen=True, slots=True)
class Share:
    """An open share: `path` resolved, `fd` an O_PATH descriptor that is the root from now on."""

    path: bytes
    fd: int
    identity: str
    mount: Mount

    @property
    def is_nfs(self) -> bool:
        """Whether the share lies on a mounted NFS export."""
        return self.mount.fstype in NFS

    def close(self) -> None:
        """Give up the descriptor."""
        os.close(self.fd)


def open_share(path: str | bytes) -> Share:
    """Open the directory at *path*, following a symbolic link there this once.

    Raises ShareError if it is not there, no directory, or the root of this system.
    """
    shown = os.fsdecode(path)
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
    except BaseException:
        os.close(fd)
        raise


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
        with open("/proc/self/mountinfo") as lines:
            for line in lines:
                if line.split(maxsplit=1)[0] == number:
                    options, _, rest = line.partition(" - ")
                    fstype, source, superblock = rest.split()[:3]
                    return Mount(fstype, source, options.split()[5] + "," + superblock)
    except FileNotFoundError:
        raise ShareError("/proc is not mounted here: it is needed to name descriptors") from None
    return Mount("unknown", "unknown", "")  # a mount of another namespace


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
