"""The files of one volume, and what a single file is as a map. Reads only.

Asks for a volume's files by name, in each directory where v0.4, v0.3 or Pithos would have put them:
a few calls, and no listing of directories. What lies elsewhere only the survey finds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ...layout.names import is_digest, lock_name
from ...layout.placement import Placement, sha256_dir, v03_dir
from ...tree.files import DirPath, Tree, open_file, read_pieces, status
from ..format import v2
from ..format.head import HEAD_BYTES, Head, invalid, read_head
from ..format.placement import map_placements
from ..format.v0 import FitV0
from ..format.v2 import block_name
from ..format.verdict import Candidate, Side, Verdict, Volume

NOT_REGULAR = "not a regular file"


class KnownSizes(Protocol):
    """The sizes that Pithos has of volumes with v0 maps."""

    def of(self, name: bytes) -> tuple[int, ...]:
        """Return the sizes given for a map, in bytes: none, one, or two that differ."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A file of a volume: its directory, its name, and its status when it was found."""

    parent: DirPath
    name: bytes
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """The files of one volume, and the volume as its verdict needs it.

    `maps` are all files of its two names, those without the prefix first. `blocks` are the blocks
    of the map with the prefix, in order, up to the first one that is missing.
    """

    volume: Volume
    maps: list[VolumeFile]
    blocks: list[VolumeFile]

    @property
    def verdict(self) -> Verdict:
        """The verdict on the volume."""
        return self.volume.verdict()

    def of_name(self, *, prefixed: bool) -> list[VolumeFile]:
        """Return the maps of one of the two names."""
        name = self.volume.side(prefixed=prefixed).name
        return [file for file in self.maps if file.name == name]


def find_volume_files(tree: Tree, name: bytes, sizes: KnownSizes) -> VolumeFiles:
    """Find the files of the volume called *name*, which has no prefix. Raises OSError."""
    files = VolumeFiles(Volume(name), [], [])
    for side in (files.volume.plain, files.volume.prefixed):
        for placement, parent in map_placements(side.name):
            _find_map(tree, files, side, placement, parent, sizes)
    for side in (files.volume.plain, files.volume.prefixed):
        head = side.head
        if head is not None and head.version == v2.VERSION:
            for block in _blocks(tree, side.name, head.header.blocks):
                side.add_block(side.complete, Placement.V04, block.status.st_size)
                if side.prefixed:
                    files.blocks.append(block)
    return files


def _find_map(
    tree: Tree,
    files: VolumeFiles,
    side: Side,
    placement: Placement,
    parent: DirPath,
    sizes: KnownSizes,
) -> None:
    with suppress(FileNotFoundError), tree.directory(parent) as directory:
        found = status(directory, side.name)
        if found is None:
            return
        regular = stat.S_ISREG(found.st_mode)
        head = read_map_head(directory, side.name, sizes) if regular else invalid(NOT_REGULAR)
        if side.add_map(Candidate(placement, found.st_ino, head)):
            files.maps.append(VolumeFile(parent, side.name, found))


def _blocks(tree: Tree, name: bytes, count: int) -> Iterator[VolumeFile]:
    """Yield the blocks of a map, up to the first one that is missing or no regular file."""
    for number in range(count):
        block = find_block(tree, name, number)
        if block is None or not stat.S_ISREG(block.status.st_mode):
            return
        yield block


def find_block(tree: Tree, name: bytes, number: int) -> VolumeFile | None:
    """Return a map's block in the directory where v0.4 looks for it, if there is one.

    Raises OSError.
    """
    block = block_name(name, number)
    parent = sha256_dir(block)
    try:
        with tree.directory(parent) as directory:
            found = status(directory, block)
    except FileNotFoundError:
        return None
    return VolumeFile(parent, block, found) if found is not None else None


def read_map_head(directory: int, name: bytes, sizes: KnownSizes) -> Head:
    """Read what a file is as a map: its first 32 bytes, a v0 map whole.

    Raises OSError, FileNotFoundError among them.
    """
    try:
        fd = open_file(directory, name)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
            return invalid(NOT_REGULAR)
        raise
    try:
        length = os.fstat(fd).st_size
        digest = is_digest(name)
        return read_head(
            os.pread(fd, HEAD_BYTES, 0),
            length,
            digest=digest,
            sizes=sizes.of(name) if digest else (),
            fit=lambda size: _misfit(fd, size),
        )
    finally:
        os.close(fd)


def _misfit(fd: int, size: int) -> str:
    """Read a v0 map and return why it does not fit a size, or ""."""
    fit = FitV0()
    for piece in read_pieces(fd):
        fit.feed(piece)
    return fit.misfit(size) or ""


def v03_lock(tree: Tree, name: bytes) -> os.stat_result | None:
    """Return the status of the lock of a map where v0.3 puts it, beside the map. Raises OSError."""
    lock = lock_name(name)
    parent = v03_dir(lock)
    return None if parent is None else tree.status((*parent, lock))


def is_v03_lock(found: os.stat_result) -> bool:
    """Whether a lock is as v0.3 makes it: an empty file, 0700; a group may have been added."""
    is_executable = found.st_mode & stat.S_IRWXU == stat.S_IRWXU
    return stat.S_ISREG(found.st_mode) and not found.st_size and is_executable
