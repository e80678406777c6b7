"""Sample shares: trees of files like those of a real Archipelago v0.3 share, for trying things out.

Owns the making of one. The same arguments give the same names, bytes and modes, whatever the umask.
Objects are stand-ins: a few bytes each instead of 4 MiB.

    DIR/blocks/  the objects, archip_<64 hex digits>
    DIR/maps/    the volumes' v1 maps, archip_vol000000 and so on, which refer to the objects
    DIR/locks/   empty
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .mapfile import placement, v1

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Layout(StrEnum):
    """How deep below `maps/` and `blocks/` the files lie."""

    FILED = "filed"  # aa/bb/cc/<name>, as Archipelago v0.4 has it
    FLAT = "flat"  # all in one directory
    DEEP = "deep"  # eight levels instead of three


LEVELS = {Layout.FILED: placement.LEVELS, Layout.FLAT: 0, Layout.DEEP: 8}


@dataclass(frozen=True, slots=True)
class ShareSize:
    """What a share is made of: `directories` with its root, `files` with a map for each volume."""

    files: int
    directories: int
    volumes: int


def make_share(
    directory: str,
    *,
    objects: int,
    volumes: int,
    layout: Layout = Layout.FILED,
    seed: int = 0,
    object_bytes: int = 64,
) -> ShareSize:
    """Make a share in *directory*, which is made too unless it is there and empty.

    Each object holds 0 to *object_bytes* bytes. The objects are dealt out to the volumes in equal
    shares; about one map entry in four is the zero block.

    Raises ValueError if a number is out of range, and OSError: ENOTEMPTY if *directory* holds
    something, ENOTDIR if it is none; nothing was touched then. What was made before any other error
    stays.
    """
    if min(objects, volumes) < 0:
        raise ValueError("there is no negative number of objects or volumes")
    if not 0 <= object_bytes <= v1.OBJECT_SIZE:
        raise ValueError(f"an object has 0 to {v1.OBJECT_SIZE} bytes")
    rng = random.Random(seed)  # noqa: S311 (not for secrets: the same seed gives the same share)
    top = _open_empty(directory)
    opened = [top]
    try:
        trees = {}
        for name in ("maps", "blocks", "locks"):
            opened.append(_make_directory(top, name))
            trees[name] = _Tree(opened[-1], LEVELS[layout])
        parts = max(volumes, 1)  # without volumes, objects that no map refers to
        for number in range(parts):
            count = _part_of(objects, number, parts)
            digests = [_add_object(trees["blocks"], rng, object_bytes) for _ in range(count)]
            if number < volumes:
                trees["maps"].add(b"archip_vol%06d" % number, _map_of(digests, rng))
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return ShareSize(
        files=sum(tree.files for tree in trees.values()),
        directories=1 + sum(1 + tree.directories for tree in trees.values()),
        volumes=volumes,
    )


class _Tree:
    """The directory of one blocker while it is filled: places files, makes directories for them.

    Every mode is set by a chmod of its own: the umask, or a set-gid directory above, would have a
    say in what mkdir and open give.
    """

    def __init__(self, descriptor: int, levels: int) -> None:
        self._descriptor = descriptor
        self._levels = levels
        self.files = 0
        self.directories = 0

    def add(self, name: bytes, content: bytes) -> None:
        """Write a new file at its place."""
        place = placement.sha256_place(name, self._levels)
        if place:
            self._make(b"/".join(place))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        path = b"/".join((*place, name))
        file = os.open(path, flags, FILE_MODE, dir_fd=self._descriptor)
        try:
            os.fchmod(file, FILE_MODE)
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)
        self.files += 1

    def _make(self, path: bytes) -> None:
        """Make a directory unless it is there; first, if need be, the one that it is in."""
        try:
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make(path.rpartition(b"/")[0])
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        os.chmod(path, DIRECTORY_MODE, dir_fd=self._descriptor)
        self.directories += 1


def _open_empty(directory: str) -> int:
    """Open *directory*, made or found empty, and set its mode."""
    try:
        os.mkdir(directory, DIRECTORY_MODE)
    except FileExistsError:
        if os.listdir(directory):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), directory) from None
    os.chmod(directory, DIRECTORY_MODE)
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _make_directory(parent: int, name: str) -> int:
    """Make a directory in *parent* and open it."""
    os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
    os.chmod(name, DIRECTORY_MODE, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)


def _part_of(total: int, number: int, parts: int) -> int:
    """Return the size of part *number* of *total* things dealt out to *parts*."""
    return total * (number + 1) // parts - total * number // parts


def _add_object(blocks: _Tree, rng: random.Random, object_bytes: int) -> bytes:
    """Add an object of random name and content; return the digest that a map calls it by."""
    digest = rng.randbytes(32)
    blocks.add(b"archip_" + digest.hex().encode(), rng.randbytes(rng.randint(0, object_bytes)))
    return digest


def _map_of(digests: Sequence[bytes], rng: random.Random) -> bytes:
    """Return the map of a volume of these objects and some zero blocks, in random order."""
    entries = [v1.EntryV1(1, digest) for digest in digests]
    entries += [v1.EntryV1(0, v1.ZERO_DIGEST)] * (len(digests) // 3 + 1)
    rng.shuffle(entries)
    return v1.encode_v1(len(entries) * v1.OBJECT_SIZE, entries)
