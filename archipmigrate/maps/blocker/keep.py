"""Make the pre-image of a volume: check the files that its upgrade removes, and keep their content.

Changes nothing on the share. In a dry run (no `old_maps`) it refuses what the run would refuse, and
keeps nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from xxhash import xxh3_128

from ...layout.names import shown
from ...tree.files import open_file, read_pieces
from ..format.head import HEAD_BYTES, SLACK, Head, needed_length
from ..format.v2 import BLOCK_SIZE, HeaderV2, encode_header_v2
from ..format.verdict import Plan, Result, Verdict
from .entries import BadEntry, checked
from .preimage import OldFile, VolumePreimage
from .store import Store
from .volume_files import VolumeFile, VolumeFiles, find_block


class Refused(Exception):
    """A volume that cannot be upgraded after all: the result that it counts as, and the reason."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


def keep_volume(store: Store, files: VolumeFiles, verdict: Verdict) -> VolumePreimage:
    """Return the pre-image of a volume that has a plan; keep the files that go away.

    Their content is durable after `OldMaps.sync`. Raises Refused, OSError, JournalError.
    """
    head = verdict.head
    assert head is not None  # noqa: S101 -- a volume with a plan has a map
    maps = files.of_name(prefixed=verdict.plan is not Plan.IN_PLACE)
    target = verdict.target
    return VolumePreimage(
        files.volume.name,
        verdict.plan,
        head.version or 0,
        encode_header_v2(target),
        _first_bytes(store, maps[0]),
        [
            *_old_maps(store, maps, head, keep=verdict.plan is not Plan.IN_PLACE),
            *(_old_blocks(store, files, target) if verdict.plan is Plan.FINISH else ()),
        ],
        _replaced_blocks(store, files.volume.name, target),
    )


def _old_maps(store: Store, maps: list[VolumeFile], head: Head, *, keep: bool) -> Iterator[OldFile]:
    """Yield the files that have the old map's name. Of two names of one inode keep the first."""
    last: OldFile | None = None
    for file in maps:
        if last is not None and last.inode == file.status.st_ino:
            last = replace(last, parent=file.parent, name=file.name)
        else:
            last = _old_file(store, file, needed_length(head), keep=keep)
        yield last


def _old_blocks(store: Store, files: VolumeFiles, target: HeaderV2) -> Iterator[OldFile]:
    """Yield the blocks of a map whose rename was cut off, once their entries were checked."""
    for number, block in enumerate(files.blocks):
        needed = target.block_length(number)
        check_block(store, block, needed)
        yield _old_file(store, block, needed, keep=True)


def _replaced_blocks(store: Store, volume: bytes, target: HeaderV2) -> list[OldFile]:
    """Return the files that lie where the new blocks go."""
    replaced = []
    for number in range(target.blocks):
        there = find_block(store.maps, volume, number)
        if there is None:
            continue
        if not stat.S_ISREG(there.status.st_mode):
            raise Refused(
                Result.CONFLICT,
                f"{shown(there.name)}, which is to be a block, is no regular file",
            )
        replaced.append(_old_file(store, there, BLOCK_SIZE, keep=True))
    return replaced


def _old_file(store: Store, file: VolumeFile, needed: int, *, keep: bool) -> OldFile:
    """Return a file as it is, its content kept; a map needs the first *needed* bytes of it."""
    found = file.status
    old = OldFile(
        file.parent,
        file.name,
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        found.st_size,
    )
    if not keep or not store.keeps:
        return old
    if found.st_size > needed + SLACK:
        raise Refused(
            Result.INVALID,
            f"{shown(file.name)} has {found.st_size - needed:,} bytes more than it needs, too many "
            "to keep for undo: cut them off (truncate), or use --no-keep",
        )
    if store.old_maps is None:
        return old
    digest = xxh3_128()
    pieces = []
    with _opened(store, file) as fd:
        for piece in read_pieces(fd, 0, found.st_size):
            digest.update(piece)
            pieces.append(store.old_maps.add(piece))
    return replace(old, pieces=pieces, digest=digest.hexdigest())


def check_block(store: Store, block: VolumeFile, needed: int) -> None:
    """Check that the first *needed* bytes of a block are entries that a mapper can read.

    Raises Refused, OSError.
    """
    with _opened(store, block) as fd:
        try:
            for _ in checked(fd, needed, store.codec):
                pass
        except BadEntry as bad:
            raise Refused(Result.INVALID, f"{shown(block.name)}: {bad}") from None


def _first_bytes(store: Store, file: VolumeFile) -> bytes:
    with _opened(store, file) as fd:
        return os.pread(fd, HEAD_BYTES, 0)


@contextmanager
def _opened(store: Store, file: VolumeFile) -> Iterator[int]:
    """Open a file that was found. Raises OSError: ESTALE if another one has its name by now."""
    with store.maps.directory(file.parent) as directory:
        fd = open_file(directory, file.name)
    try:
        if os.fstat(fd).st_ino != file.status.st_ino:
            raise OSError(errno.ESTALE, "the file was exchanged")
        yield fd
    finally:
        os.close(fd)
