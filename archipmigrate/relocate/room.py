"""Whether there is room for the new directories and copies, and which objects must be copied."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ..packed.moves import ROOTS, Root
from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY
from ..ui.text import count, quoted
from .copying import shares_data
from .roots import Roots
from .tables import Crossing

# On ext4 a directory takes an inode and a block; others need less.
DIRECTORY_BYTES = 4096
FIRST_LEVEL, SECOND_LEVEL = 256, 65536  # directories, at most
SHOWN = 4  # pairs of filesystems
COPY = "--copy"
NO_COPY = "a rename does not reach from one filesystem to another"


def lacking_room(
    roots: Roots, leaves: Mapping[Root, int], crossings: Sequence[Crossing] = ()
) -> str:
    """Return why there is no room for new leaf directories, by root, and copies; "" if there is.

    What lies on one filesystem shares its room. Raises OSError.
    """
    with ExitStack() as stack:
        directories: Counter[int] = Counter()
        copies: Counter[int] = Counter()
        data: Counter[int] = Counter()
        opened: dict[int, int] = {}
        for root, number in leaves.items():
            device = os.fstat(roots[root].fd).st_dev
            directories[device] += directories_for(number)
            opened[device] = roots[root].fd
        for crossing in crossings:
            source = _open(stack, roots, crossing.source)
            target = _open(stack, roots, crossing.target)
            device = os.fstat(target).st_dev
            copies[device] += crossing.objects
            if not _shares(source, target):
                data[device] += crossing.bytes
            opened.setdefault(device, target)
        for device, fd in opened.items():
            if why := _lacking(fd, directories[device], copies[device], data[device]):
                return why
    return ""


def directories_for(leaves: int) -> int:
    """Return how many directories are made for so many new leaves, at most."""
    return leaves + min(leaves, SECOND_LEVEL) + min(leaves, FIRST_LEVEL)


def _lacking(fd: int, directories: int, copies: int, data: int) -> str:
    room = os.fstatvfs(fd)
    privileged = os.geteuid() == 0
    inodes = room.f_ffree if privileged else room.f_favail
    spare = (room.f_bfree if privileged else room.f_bavail) * room.f_frsize
    wanted = directories * DIRECTORY_BYTES + data
    words = f"the new places need up to {count(directories, 'directory')}"
    if copies:
        words += f", and {count(copies, 'copy')} of {data >> 20:,} MiB"
    if room.f_files and inodes < directories + copies:  # some filesystems do not count inodes
        return f"{words}, and the filesystem has {count(inodes, 'inode')} left: make room there"
    if spare < wanted:
        return (
            f"{words}, which take up to {wanted >> 20:,} MiB, and the filesystem has "
            f"{spare >> 20:,} MiB left: make room there"
        )
    return ""


def needs_copies(roots: Roots, crossings: Sequence[Crossing]) -> str:
    """Return which objects can only be moved by copying them; "" if there are none.

    Raises OSError.
    """
    moved = [crossing for crossing in crossings if crossing.moved]
    if not moved:
        return ""
    lines = []
    with ExitStack() as stack:
        for crossing in moved[:SHOWN]:
            fd = _open(stack, roots, crossing.target)
            room = os.fstatvfs(fd)
            lines.append(
                f"{count(crossing.objects, 'object')} with {crossing.bytes:,} bytes of data from "
                f"{quoted(crossing.source)} to {quoted(crossing.target)}, where "
                f"{room.f_bavail * room.f_frsize:,} bytes are left"
            )
    if more := moved[SHOWN:]:
        lines.append(f"{count(sum(c.objects for c in more), 'object')} to other places")
    return f"{NO_COPY}: {'; '.join(lines)}: {COPY} moves them by copying"


def is_refusal(reason: str) -> bool:
    """Whether a run stopped because it would have to copy."""
    return reason.startswith(NO_COPY)


def _open(stack: ExitStack, roots: Roots, path: bytes) -> int:
    label, _, rest = path.partition(b"/")
    fd = open_beneath(roots[ROOTS[label]].fd, rest, DIRECTORY)
    stack.callback(os.close, fd)
    return fd


def _shares(source: int, target: int) -> bool:
    """Whether files on a filesystem can share their data (reflink), so that a copy needs none."""
    if os.fstat(source).st_dev != os.fstat(target).st_dev:
        return False
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        with ExitStack() as stack:
            files = [os.open(b".", flags, 0o600, dir_fd=fd) for fd in (source, target)]
            for fd in files:
                stack.callback(os.close, fd)
            os.write(files[0], bytes(DIRECTORY_BYTES))
            return shares_data(*files)
    except OSError:
        return False
