"""Identities, which tell an inode from another one that has its number later (`model.Known`)."""

from __future__ import annotations

import ctypes
import sys

from ...model import IdentityKind
from .statx import AT_EMPTY_PATH, Status

FUSE_SUPER_MAGIC = 0x65735546  # its handles are numbers of the kernel's cache
MAX_HANDLE = 128
OFFSET, PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a, 64 bits

_libc = ctypes.CDLL(None, use_errno=True)


class _Handle(ctypes.Structure):
    """struct file_handle: open_by_handle_at(2)."""

    _fields_ = (
        ("length", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("bytes", ctypes.c_ubyte * MAX_HANDLE),
    )


def kind_of(root: int, status: Status) -> IdentityKind:
    """Return what can tell the inodes of a filesystem apart; *root* is on it."""
    if status.born:
        return IdentityKind.BIRTH
    has_handles = _has_stable_handles(root) and by_handle(root) != 0
    return IdentityKind.HANDLE if has_handles else IdentityKind.NONE


def identity_of(kind: int, fd: int, status: Status) -> int:
    """Return an identity of what *fd* is open on; 0 if there is none of that kind."""
    if kind == IdentityKind.BIRTH:
        return status.born % 2**64
    return by_handle(fd) if kind == IdentityKind.HANDLE else 0


def by_handle(fd: int) -> int:
    """Return the identity by what name_to_handle_at returns; 0 if that is refused."""
    handle, mount = _Handle(length=MAX_HANDLE), ctypes.c_int()
    if _libc.name_to_handle_at(fd, b"", ctypes.byref(handle), ctypes.byref(mount), AT_EMPTY_PATH):
        return 0
    return hashed(bytes(handle.bytes[: handle.length]))


def hashed(handle: bytes) -> int:
    """Return the identity that a handle is hashed to: FNV-1a."""
    number = OFFSET
    for byte in handle:
        number = (number ^ byte) * PRIME % 2**64
    return number or 1


def _has_stable_handles(fd: int) -> bool:
    """Say whether handles stay the same for as long as the inodes of a filesystem do."""
    found = ctypes.create_string_buffer(256)  # struct statfs; f_type is the first, a long
    if _libc.fstatfs(fd, found) != 0:
        return False
    size = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(found.raw[:size], sys.byteorder) % 2**32 != FUSE_SUPER_MAGIC
