"""One volume from v1, v0 or a half-done rename to v2: a mapper can read it at every instant.

    (locks are held, the pre-image is durable: see `prepare`)
    act       blocks written, synced, read back               the old map is what v0.4 finds
              header put in place: one link, or 32 bytes      from here on the new one is
              old map removed; locks released

What fails before the header is in place is rolled back; what fails after it is finished by a later
session, as is what a kill cut off (`settle`): it does the same again, from the pre-image.

    killed                     v0.4 finds      settling
    before the header          the old map     writes the blocks again, goes on from there
    within 32 bytes in place   neither         the same: the pre-image has what is overwritten
    after the header           the new map     removes the old one
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ..mapfile import v2
from ..mapfile.head import HEAD_BYTES
from .entries import new_blocks
from .record import OldFile, Record
from .store import Different, Store, names_of_inodes, read_first
from .tree import digest_on_disk, open_file, status, unlink


class Unfinished(Exception):
    """The new map is in place, or may be, and the rest failed: a later session goes on."""


def act(store: Store, record: Record) -> None:
    """Upgrade a volume whose locks are held; they are released on return, whatever happens.

    Raises OSError, Different or BadEntry if nothing was changed, or all was rolled back, and
    Unfinished if not.
    """
    try:
        _refuse_different(store, record)
        _upgrade(store, record, begun=0)
    except BaseException:
        with suppress(OSError):  # a lock that stays is a dead run's, and is swept by the next one
            store.release_locks(record.lock_names)
        raise
    _release(store, record)


def settle(store: Store, record: Record) -> bool:
    """Finish what a killed session, or a failure, left of an upgrade.

    Return False if the volume is none of ours any more. Raises OSError, Locked, Unfinished.
    """
    standing = _standing(store, record)
    names = record.lock_names
    for name in names:
        store.locks.sweep(name)
    if standing == "new":
        try:
            _remove_old(store, record)
        except OSError as error:
            raise Unfinished(str(error)) from error
        store.sweep_part(record.header_place, record.volume)
    elif standing == "old":
        store.take_locks(names)
        _upgrade(store, record, begun=record.header.blocks)
    _release(store, record)
    return standing != "other"


def _release(store: Store, record: Record) -> None:
    try:
        store.release_locks(record.lock_names)
    except OSError as error:
        raise Unfinished(f"its lock could not be released: {error.strerror}") from error


def _standing(store: Store, record: Record) -> str:
    """Return whether v0.4 finds the "old" map (or a torn header), the "new" one, or "other"."""
    there = read_first(store, record, v2.HEADER_SIZE)
    if there == record.raw_header:
        return "new"
    sources = [_is_there(store, file) for file in record.sources]
    if there is None:
        return "old" if all(sources) and not record.in_place else "other"
    if record.in_place:
        if _is_torn(there, record) and all(sources):
            return "old"
        return "new" if _is_v2(there) else "other"
    return "new" if _is_v2(there) and not any(sources) else "other"


def _is_torn(there: bytes, record: Record) -> bool:
    """Whether each byte is the old or the new one: a header that was written in part, or not."""
    old, new = record.first.ljust(HEAD_BYTES, b"\0"), record.raw_header
    return len(there) >= len(record.first) and all(
        byte in pair for byte, *pair in zip(there, old, new, strict=False)
    )


def _is_v2(there: bytes) -> bool:
    try:
        v2.decode_header_v2(there)
    except ValueError:
        return False
    return True


def _is_there(store: Store, file: OldFile) -> bool:
    with suppress(FileNotFoundError), store.maps.directory(file.place) as directory:
        found = status(directory, file.name)
        return found is not None and found.st_ino == file.inode
    return False


def _refuse_different(store: Store, record: Record) -> None:
    for file in record.sources:
        with store.maps.directory(file.place) as directory:
            found = status(directory, file.name)
        if found is None or not file.is_same(found):
            raise Different(f"{file.name.decode(errors='backslashreplace')} was changed meanwhile")


def _upgrade(store: Store, record: Record, begun: int) -> None:
    """Do it; so many blocks may have been *begun* by a session before."""
    written = [begun]
    try:
        _write_blocks(store, record, written)
        if record.in_place:
            _write_header(store, record)
        else:
            _link_header(store, record)
    except Unfinished:
        raise
    except BaseException as error:
        _roll_back(store, record, written[0], error)
        raise
    try:
        _remove_old(store, record)
    except OSError as error:
        raise Unfinished(str(error)) from error


def _write_blocks(store: Store, record: Record, written: list[int]) -> None:
    for number, content in enumerate(new_blocks(store.maps, record, store.codec)):
        place, name = record.block(number)
        with store.maps.directory(place, make=True) as directory:
            written[0] = max(written[0], number + 1)
            unlink(directory, name)
            made = store.maps.create(directory, name, content)
            os.fsync(directory)
            if digest_on_disk(directory, name) != (made.length, made.digest):
                raise OSError(errno.EIO, "a block reads back differently")


def _link_header(store: Store, record: Record) -> None:
    name = record.volume
    with store.maps.directory(record.header_place, make=True) as directory:
        inode = -1
        try:
            with store.part(directory, name, (record.raw_header,)) as made:
                if digest_on_disk(directory, store.part_name(name)) != (made.length, made.digest):
                    raise OSError(errno.EIO, "the header reads back differently")
                inode = made.inode
                store.put_in_place(directory, name, made)
        except OSError as error:
            found = status(directory, name)
            if found is not None and found.st_ino == inode:
                raise Unfinished(str(error)) from error
            raise


def _write_header(store: Store, record: Record) -> None:
    with store.maps.directory(record.source.place) as directory:
        fd = open_file(directory, record.source.name, os.O_RDWR)
    try:
        if os.fstat(fd).st_ino != record.source.inode:
            raise Different("the map was exchanged")
        try:
            _overwrite(fd, record.raw_header)
        except OSError as error:
            try:
                _overwrite(fd, record.first)
                os.ftruncate(fd, record.source.length)
            except OSError:
                raise Unfinished(str(error)) from error
            raise
    finally:
        os.close(fd)


def _overwrite(fd: int, raw: bytes) -> None:
    """Write a file's first bytes in one call, durably, and see that they are there."""
    if os.pwrite(fd, raw, 0) != len(raw):
        raise OSError(errno.EIO, "a header was written in part")
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if os.pread(fd, len(raw), 0) != raw:
        raise OSError(errno.EIO, "the header reads back differently")


def _remove_old(store: Store, record: Record) -> None:
    """Remove the old map, its header first: blocks without one are nobody's."""
    if not record.in_place:
        for file in record.sources:
            store.remove_source(file)


def _roll_back(store: Store, record: Record, blocks: int, why: BaseException) -> None:
    """Take away the first *blocks*, put back what they replaced. Raises Unfinished."""
    try:
        for number in range(blocks):
            place, name = record.block(number)
            with suppress(FileNotFoundError), store.maps.directory(place) as directory:
                if unlink(directory, name):
                    os.fsync(directory)
        store.sweep_part(record.header_place, record.volume)
        for files in names_of_inodes(record.replaced):
            if files[0].pieces is not None:
                store.restore_file(files)
    except (OSError, Different) as error:
        raise Unfinished(f"{why}; and what was begun could not be taken back: {error}") from why
