"""One volume back from v2 to what it was, if nobody has changed it since.

    check     locks acquired; header and blocks are what the upgrade wrote, byte for byte
    (which volumes go back becomes durable here)
    apply     old files put back under their names            v0.4 still finds the new map
              new header removed, or the old bytes written    from here on the old one
              new blocks removed, what they replaced put back

What is back already stays, so a killed or failed undo is simply repeated.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from xxhash import xxh3_128

from ...tree.files import open_file, read_pieces, same_on_disk, status, unlink
from . import put
from .entries import Pieces, new_blocks, new_blocks_from
from .preimage import OldFile, VolumePreimage
from .store import Different, Store


def check(store: Store, preimage: VolumePreimage) -> None:
    """Acquire the locks of a volume and check that it may go back.

    Raises Locked, Different, with the reason, OSError; no lock is held then.
    """
    for name in preimage.lock_names:
        store.locks.sweep(name)
    store.acquire_locks(preimage.lock_names)
    try:
        if not preimage.in_place and preimage.source.pieces is None:
            raise Different("its old map was not kept (--no-keep)")
        if _finds_new(store, preimage):
            _check_blocks(store, preimage)
    except BaseException:
        with suppress(OSError):
            store.release_locks(preimage.lock_names)
        raise


def apply(store: Store, preimage: VolumePreimage) -> bool:
    """Put a volume back whose locks are held; release them, whatever happens.

    Durable on return. Return False if v0.4 found the old map already. Raises Different, OSError; it
    can be repeated then.
    """
    try:
        changed = _put_back(store, preimage)
    except BaseException:
        with suppress(OSError):
            store.release_locks(preimage.lock_names)
        raise
    store.release_locks(preimage.lock_names)
    return changed


def settle(store: Store, preimage: VolumePreimage) -> bool:
    """Finish putting back a volume that a killed undo began. Returns and raises as `apply` does.

    Raises Locked, too.
    """
    for name in preimage.lock_names:
        store.locks.sweep(name)
    store.acquire_locks(preimage.lock_names)
    return apply(store, preimage)


def _finds_new(store: Store, preimage: VolumePreimage) -> bool:
    """Whether v0.4 finds the new header, not the old map again. Raises Different."""
    there = store.read_first(preimage, len(preimage.raw_header) + 1)
    if preimage.in_place:
        return _finds_new_in_place(store, preimage, there or b"")
    if there not in (None, preimage.raw_header):
        raise Different("its map has changed since")
    return there is not None


def _finds_new_in_place(store: Store, preimage: VolumePreimage, there: bytes) -> bool:
    source = preimage.source
    with store.maps.directory(source.parent) as directory:
        found = status(directory, source.name)
    if found is None or found.st_ino != source.inode:
        raise Different("its map is another file now")
    first = there[: len(preimage.raw_header)]
    is_old = first[: len(preimage.first)] == preimage.first and found.st_size == source.length
    # An undo before this one may have written a header back in part.
    is_ours = preimage.is_torn(first) and found.st_size in (source.length, preimage.new_length)
    if not is_old and not is_ours:
        raise Different("its map has changed since")
    return not is_old


def _check_blocks(store: Store, preimage: VolumePreimage) -> None:
    for number, content in enumerate(_expected_blocks(store, preimage)):
        digest, length = xxh3_128(), 0
        for piece in content:
            digest.update(piece)
            length += len(piece)
        parent, name = preimage.block(number)
        try:
            with store.maps.directory(parent) as directory:
                same = same_on_disk(directory, name, length, digest.hexdigest())
        except FileNotFoundError:
            raise Different(f"block {number} is gone") from None
        if not same:
            raise Different(f"block {number} has changed since")


def _expected_blocks(store: Store, preimage: VolumePreimage) -> Iterator[Pieces]:
    if preimage.in_place:
        yield from new_blocks(store.maps, preimage, store.codec)
    elif preimage.version == 2:
        blocks = [file for file in preimage.sources if file.name != preimage.source.name]
        for number, file in enumerate(blocks):
            yield _cut(store.content(file), preimage.header.block_length(number))
    else:
        yield from new_blocks_from(preimage, store.codec, store.content(preimage.source))


def _cut(pieces: Iterator[bytes], length: int) -> Pieces:
    for piece in pieces:
        yield piece[:length]
        length -= min(length, len(piece))


def _put_back(store: Store, preimage: VolumePreimage) -> bool:
    found_new = _finds_new(store, preimage)
    if preimage.in_place:
        _write_first(store, preimage)
    else:
        for files in reversed(put.grouped_by_inode(preimage.sources)):
            put.restore_file(store, files)
        if found_new:
            with store.maps.directory(preimage.header_parent) as directory:
                unlink(directory, preimage.volume)
                os.fsync(directory)
    _put_blocks_back(store, preimage)
    return found_new


def _put_blocks_back(store: Store, preimage: VolumePreimage) -> None:
    """Remove the new blocks, and put back the files that they replaced."""
    replaced = {file.name: file for file in preimage.replaced}
    for number in range(preimage.header.blocks):
        parent, name = preimage.block(number)
        old = replaced.get(name)
        with suppress(FileNotFoundError), store.maps.directory(parent) as directory:
            if not (old and _is_old(directory, old)) and unlink(directory, name):
                os.fsync(directory)
        if old is not None and old.pieces is not None:
            put.restore_file(store, [old])


def _is_old(directory: int, file: OldFile) -> bool:
    """Whether the file that a new block had replaced is back already."""
    if status(directory, file.name) is None:
        return False
    return same_on_disk(directory, file.name, file.length, file.digest)


def _write_first(store: Store, preimage: VolumePreimage) -> None:
    """Write a map's first bytes back into it, and cut it to its old length."""
    source = preimage.source
    with store.maps.directory(source.parent) as directory:
        fd = open_file(directory, source.name, os.O_RDWR)
    try:
        if os.fstat(fd).st_ino != source.inode:
            raise Different("its map is another file now")
        if preimage.first and os.pwrite(fd, preimage.first, 0) != len(preimage.first):
            raise OSError(errno.EIO, "a header was written in part")
        os.ftruncate(fd, source.length)
        put.give_attrs(fd, source)
        os.fsync(fd)
        if b"".join(read_pieces(fd, 0, len(preimage.first))) != preimage.first:
            raise OSError(errno.EIO, "the header reads back differently")
    finally:
        os.close(fd)
