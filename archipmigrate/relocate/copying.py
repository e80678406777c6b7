"""A copy of a file, in every respect that v0.3 or v0.4 knows of. No link is followed.

    part        made under a temporary name; the data is copied, holes stay holes
    attrs       owner, mode, extended attributes, and last the time of modification
    synced      content and attrs are durable
    compared    what was read is what is on the disk, by its xxh3-128
    in place    the part gets its name, never over anything

So no half copy is ever at the new place. A kill leaves a part, which `sweep_part` removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass

from xxhash import xxh3_128

from ..packed.moves import Twin
from ..tree.files import open_file, read_pieces, same_on_disk
from ..tree.rename import rename_exclusive
from .extents import extents

FICLONE = 0x40049409  # _IOW(0x94, 9, int): linux/fs.h
# What a filesystem, or a pair of them, answers that cannot share data or copy by itself.
UNABLE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EPERM)
# Attributes that a filesystem derives from owner and mode, or that belong to a host's policy.
DERIVED = ("system.nfs4_acl", "system.nfs4_dacl", "system.nfs4_sacl", "security.selinux")
MISCOPIED = "the copy reads back differently"


class SourceChanged(Exception):
    """The file was changed while it was copied: there is no copy."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file when it was looked at: what tells whether it was changed since. Times are in ns."""

    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    ctime: int

    @classmethod
    def of(cls, found: os.stat_result) -> Seen:
        """Return what a status says."""
        owner = found.st_uid, found.st_gid
        times = found.st_mtime_ns, found.st_ctime_ns
        return cls(found.st_ino, found.st_mode, *owner, found.st_size, *times)


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was made: its inode, and the original as it was."""

    inode: int
    original: Seen


def copy_file(source: int, target: int, name: bytes, attrs: Twin | None = None) -> Copied:
    """Copy a file from one open directory to another under its name, never over anything.

    Owner, mode and time of modification become those of *attrs*, or else of the original. The name
    is durable once the caller has synced *target*. Raises OSError (FileExistsError if there is
    anything of that name), SourceChanged.
    """
    part, seen = _copy_to_part(source, target, name, attrs)
    try:
        _put(target, part_name(name), name)
        return Copied(os.fstat(part).st_ino, seen)
    except BaseException:
        with contextlib.suppress(OSError):
            sweep_part(target, name)
        raise
    finally:
        os.close(part)


def copy_part(source: int, target: int, name: bytes) -> int:
    """Copy a file as `copy_file` does, but leave the copy a part; return it, open for writing.

    The descriptor is the caller's. Raises OSError, SourceChanged.
    """
    return _copy_to_part(source, target, name, None)[0]


def _copy_to_part(source: int, target: int, name: bytes, attrs: Twin | None) -> tuple[int, Seen]:
    part = part_name(name)
    sweep_part(target, name)
    with contextlib.ExitStack() as stack:
        read = open_file(source, name)
        stack.callback(os.close, read)
        before = os.fstat(read)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(part, flags, 0o600, dir_fd=target)
        try:
            copy_data(read, made, before.st_size)
            _copy_attrs(read, made, before, attrs)
            os.fsync(made)
            digest = _digest(read)
            if Seen.of(os.fstat(read)) != Seen.of(before):
                raise SourceChanged
            if not same_on_disk(target, part, before.st_size, digest):
                raise OSError(errno.EIO, MISCOPIED)
        except BaseException:
            os.close(made)
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=target)
            raise
        return made, Seen.of(before)


def copy_data(read: int, made: int, size: int) -> None:
    """Copy the data of an open file to an empty one: shared if the filesystem can do that."""
    if not shares_data(read, made):
        for begin, end in extents(read):
            copy_range(read, made, begin, end)
        os.ftruncate(made, size)


def shares_data(read: int, made: int) -> bool:
    """Let a file share the data of another one (reflink); return whether that can be."""
    try:
        fcntl.ioctl(made, FICLONE, read)
    except OSError as error:
        if error.errno in UNABLE:
            return False
        raise
    return True


def copy_range(read: int, made: int, begin: int, end: int) -> None:
    """Copy bytes from *begin* to *end*: in the kernel, or on the server, if that can be done."""
    while begin < end:
        try:
            done = os.copy_file_range(read, made, end - begin, begin, begin)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            break
        if not done:
            break
        begin += done
    for piece in read_pieces(read, begin, end):
        _write(made, piece, begin)
        begin += len(piece)


def _write(fd: int, piece: bytes, at: int) -> None:
    done = 0
    while done < len(piece):
        done += os.pwrite(fd, piece[done:], at + done)


def _copy_attrs(read: int, made: int, found: os.stat_result, attrs: Twin | None) -> None:
    """Set owner before mode, and the mode before the attributes that a chown removes."""
    uid, gid, mode, mtime = found.st_uid, found.st_gid, found.st_mode, found.st_mtime_ns
    if attrs is not None:
        uid, gid, mode, mtime = attrs.uid, attrs.gid, attrs.mode, attrs.mtime
    os.fchown(made, uid, gid)
    os.fchmod(made, mode & 0o7777)
    kept = list(_listed(read))
    for attribute in set(_listed(made)) - set(kept):  # of the directory's default ACL
        os.removexattr(made, attribute)
    for attribute in kept:
        _copy_attribute(read, made, attribute)
    os.utime(made, ns=(found.st_atime_ns, mtime))


def _listed(fd: int) -> Iterator[str]:
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return
    yield from (name for name in names if name not in DERIVED)


def _copy_attribute(read: int, made: int, name: str) -> None:
    try:
        os.setxattr(made, name, os.getxattr(read, name))
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, f"{name}: {os.strerror(number)}: it would be lost") from None


def _digest(fd: int) -> str:
    digest = xxh3_128()
    for piece in read_pieces(fd):
        digest.update(piece)
    return digest.hexdigest()


def _put(directory: int, part: bytes, name: bytes) -> None:
    """Give a part its name: in one step, or (NFS) by a second name."""
    if not rename_exclusive(directory, directory, part, name):
        os.link(part, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        os.unlink(part, dir_fd=directory)


def sweep_part(directory: int, name: bytes) -> None:
    """Remove what a copy to *name* left that was killed. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part_name(name), dir_fd=directory)


def part_name(name: bytes) -> bytes:
    """Return what the part of a copy is called."""
    return b"." + name[:200] + b".archipmigrate"
