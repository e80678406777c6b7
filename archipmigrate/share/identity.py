"""What names a filesystem, and a directory on it, wherever it is mounted.

A run is found again by this name after a remount under another path. So it must not depend on mount
points and device numbers.

    nfs:SERVER:EXPORT#INODE      an NFS mount: its source
    uuid:HEX#INODE               the filesystem's UUID, by ioctl or as udev linked it
    fsid:TYPE:HEX#INODE          f_fsid of statvfs(3), where there is no UUID
"""

from __future__ import annotations

import fcntl
import os
import stat

from .mountinfo import Mount, mount_of

NFS = ("nfs", "nfs4")
# _IOR(0x15, 0, struct fsuuid2 {u8 len; u8 uuid[16]}): linux/fs.h, since 6.9
FS_IOC_GETFSUUID = 0x80111500


def identity_of(fd: int, mount: Mount | None = None) -> str:
    """Return the name of an open directory; *mount* is the one that it is on, if that is known.

    Raises OSError, and ShareError where /proc is not mounted.
    """
    return f"{filesystem_of(fd, mount or mount_of(fd))}#{os.fstat(fd).st_ino}"


def filesystem_of(fd: int, mount: Mount) -> str:
    """Return the name of the filesystem that an open directory is on. Raises OSError."""
    if mount.fstype in NFS:
        return f"nfs:{mount.source}"
    uuid = _uuid_by_ioctl(fd) or _uuid_by_udev(os.fstat(fd).st_dev)
    return f"uuid:{uuid}" if uuid else f"fsid:{mount.fstype}:{os.fstatvfs(fd).f_fsid:x}"


def _uuid_by_ioctl(fd: int) -> str:
    """Ask the filesystem; empty before Linux 6.9, without a UUID, or without read permission."""
    try:
        readable = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except PermissionError:
        return ""
    try:
        reply = fcntl.ioctl(readable, FS_IOC_GETFSUUID, bytes(17))
    except OSError:
        return ""
    finally:
        os.close(readable)
    uuid = reply[1 : 1 + reply[0]]
    return uuid.hex() if any(uuid) else ""


def _uuid_by_udev(device: int) -> str:
    """Return the UUID that udev linked to a block device; empty if there is none."""
    try:
        with os.scandir("/dev/disk/by-uuid") as links:
            for link in links:
                target = link.stat()
                if stat.S_ISBLK(target.st_mode) and target.st_rdev == device:
                    return link.name.replace("-", "")
    except OSError:
        pass
    return ""
