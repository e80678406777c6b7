"""Whether two files have the same content, and a copy of a file. No link is followed."""

from __future__ import annotations

import contextlib
import os

from ..maps.format.v1 import HEADER_SIZE, decode_header_v1
from ..packed.moves import Twin
from ..tree.files import open_file, read_pieces


def same_content(first: int, second: int, name: bytes) -> bool:
    """Whether the file *name* has the same bytes in two open directories. Raises OSError."""
    with contextlib.ExitStack() as stack:
        ours, others = (open_file(directory, name) for directory in (first, second))
        stack.callback(os.close, ours)
        stack.callback(os.close, others)
        if os.fstat(ours).st_size != os.fstat(others).st_size:
            return False
        return all(a == b for a, b in zip(read_pieces(ours), read_pieces(others), strict=False))


def is_v1_map(directory: int, name: bytes) -> bool:
    """Whether a file begins as v0.3's maps do. Raises OSError."""
    fd = open_file(directory, name)
    try:
        decode_header_v1(os.pread(fd, HEADER_SIZE, 0))
    except ValueError:
        return False
    finally:
        os.close(fd)
    return True


def data_bytes(directory: int, name: bytes) -> int:
    """Return how many bytes of a file are data, not holes. Raises OSError."""
    fd = open_file(directory, name)
    try:
        return sum(end - begin for begin, end in _extents(fd))
    finally:
        os.close(fd)


def _extents(fd: int) -> list[tuple[int, int]]:
    """Return where the data of a file begins and ends; all of it where that cannot be known."""
    size, at = os.fstat(fd).st_size, 0
    found = []
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, at))
    return found


def copy_back(source: int, target: int, name: bytes, attrs: Twin) -> None:
    """Copy a file from one open directory to another under its name, never over anything.

    Holes stay holes; owner, mode and time of modification become those of *attrs*. The content is
    durable before the name is there. Raises OSError.
    """
    part = part_name(name)
    sweep_part(target, name)
    with contextlib.ExitStack() as stack:
        read = open_file(source, name)
        stack.callback(os.close, read)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(part, flags, 0o600, dir_fd=target)
        stack.callback(os.close, made)
        try:
            for begin, end in _extents(read):
                at = begin
                for piece in read_pieces(read, begin, end):
                    _write(made, piece, at)
                    at += len(piece)
            os.ftruncate(made, os.fstat(read).st_size)
            os.fchown(made, attrs.uid, attrs.gid)
            os.fchmod(made, attrs.mode & 0o7777)
            os.utime(made, ns=(attrs.mtime, attrs.mtime))
            os.fsync(made)
            _put(target, part, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=target)
            raise


def _put(directory: int, part: bytes, name: bytes) -> None:
    os.link(part, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    os.unlink(part, dir_fd=directory)


def _write(fd: int, piece: bytes, at: int) -> None:
    done = 0
    while done < len(piece):
        done += os.pwrite(fd, piece[done:], at + done)


def sweep_part(directory: int, name: bytes) -> None:
    """Remove what a copy to *name* left that was killed. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part_name(name), dir_fd=directory)


def part_name(name: bytes) -> bytes:
    """Return what the part of a copy is called."""
    return b"." + name[:200] + b".archipmigrate"
