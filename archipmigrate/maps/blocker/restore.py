"""One volume back from v2 to what it was, if nothing of it has changed since.

    check     locks; header and blocks must be what the upgrade wrote, byte for byte
    (which volumes are to go back becomes durable here)
    act       old files put back, under their names           v0.4 still finds the new map
              new header removed, or the old bytes written    from here on the old one
              new blocks removed, what they replaced put back

What is back already stays as it is, so that a killed or failed undo is simply repeated.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from xxhash import xxh3_128

from ...tree.files import open_file, read_pieces, same_on_disk, status, unlink
from .entries import Pieces, new_blocks, new_blocks_from
from .record import OldFile, Record
from .store import Different, Store, give_attrs, names_of_inodes, read_first


def check(store: Store, record: Record) -> None:
    """Take the locks of a volume and see that it may go back.

    Raises Locked, Different with what is in the way, OSError; no lock is held then.
    """
    for name in record.lock_names:
        store.locks.sweep(name)
    store.take_locks(record.lock_names)
    try:
        if not record.in_place and record.source.pieces is None:
            raise Different("its old map was not kept (--no-keep)")
        if _finds_new(store, record):
            _check_blocks(store, record)
    except BaseException:
        with suppress(OSError):
            store.release_locks(record.lock_names)
        raise


def apply(store: Store, record: Record) -> bool:
    """Put a volume back whose locks are held; they are released on return, whatever happens.

    Return False if v0.4 found the old map already. Raises Different, OSError; it can be repeated
    then.
    """
    try:
        changed = _put_back(store, record)
    except BaseException:
        with suppress(OSError):
            store.release_locks(record.lock_names)
        raise
    store.release_locks(record.lock_names)
    return changed


def settle(store: Store, record: Record) -> bool:
    """Finish what a killed undo left. Returns and raises as `check` and `apply` do."""
    for name in record.lock_names:
        store.locks.sweep(name)
    store.take_locks(record.lock_names)
    return apply(store, record)


def _finds_new(store: Store, record: Record) -> bool:
    """Whether the new header is there, not the old one again. Raises Different."""
    there = read_first(store, record, len(record.raw_header) + 1)
    if record.in_place:
        return _finds_new_in_place(store, record, there or b"")
    if there not in (None, record.raw_header):
        raise Different("its map has changed since")
    return there is not None


def _finds_new_in_place(store: Store, record: Record, there: bytes) -> bool:
    source = record.source
    with store.maps.directory(source.place) as directory:
        found = status(directory, source.name)
    if found is None or found.st_ino != source.inode:
        raise Different("its map is another file now")
    first = there[: len(record.raw_header)]
    is_old = first[: len(record.first)] == record.first and found.st_size == source.length
    # A header that an undo before this one wrote back in part is neither.
    is_ours = record.is_torn(first) and found.st_size in (source.length, record.new_length)
    if not is_old and not is_ours:
        raise Different("its map has changed since")
    return not is_old


def _check_blocks(store: Store, record: Record) -> None:
    for number, content in enumerate(_expected_blocks(store, record)):
        digest, length = xxh3_128(), 0
        for piece in content:
            digest.update(piece)
            length += len(piece)
        place, name = record.block(number)
        try:
            with store.maps.directory(place) as directory:
                same = same_on_disk(directory, name, length, digest.hexdigest())
        except FileNotFoundError:
            raise Different(f"block {number} is gone") from None
        if not same:
            raise Different(f"block {number} has changed since")


def _expected_blocks(store: Store, record: Record) -> Iterator[Pieces]:
    if record.in_place:
        yield from new_blocks(store.maps, record, store.codec)
    elif record.version == 2:
        blocks = [file for file in record.sources if file.name != record.source.name]
        for number, file in enumerate(blocks):
            yield _cut(store.content(file), record.header.block_length(number))
    else:
        yield from new_blocks_from(record, store.codec, store.content(record.source))


def _cut(pieces: Iterator[bytes], length: int) -> Pieces:
    for piece in pieces:
        yield piece[:length]
        length -= min(length, len(piece))


def _put_back(store: Store, record: Record) -> bool:
    new = _finds_new(store, record)
    if record.in_place:
        _write_first(store, record)
    else:
        for files in reversed(names_of_inodes(record.sources)):
            store.restore_file(files)
        if new:
            with store.maps.directory(record.header_place) as directory:
                unlink(directory, record.volume)
                os.fsync(directory)
    replaced = {file.name: file for file in record.replaced}
    for number in range(record.header.blocks):
        place, name = record.block(number)
        old = replaced.get(name)
        with suppress(FileNotFoundError), store.maps.directory(place) as directory:
            if not (old and _is_old(directory, old)) and unlink(directory, name):
                os.fsync(directory)
        if old is not None and old.pieces is not None:
            store.restore_file([old])
    return new


def _is_old(directory: int, file: OldFile) -> bool:
    """Whether what a new block had replaced is back already."""
    if status(directory, file.name) is None:
        return False
    return same_on_disk(directory, file.name, file.length, file.digest)


def _write_first(store: Store, record: Record) -> None:
    """Write a map's first bytes back into it, and cut it to its old length."""
    source = record.source
    with store.maps.directory(source.place) as directory:
        fd = open_file(directory, source.name, os.O_RDWR)
    try:
        if os.fstat(fd).st_ino != source.inode:
            raise Different("its map is another file now")
        if record.first and os.pwrite(fd, record.first, 0) != len(record.first):
            raise OSError(errno.EIO, "a header was written in part")
        os.ftruncate(fd, source.length)
        give_attrs(fd, source)
        os.fsync(fd)
        if b"".join(read_pieces(fd, 0, len(record.first))) != record.first:
            raise OSError(errno.EIO, "the header reads back differently")
    finally:
        os.close(fd)
