"""One volume from v1, v0 or a half-done rename to v2: a mapper can read it at every instant.

    (locks are held, the pre-image is durable: see `prepare`)
    act       blocks written, synced, read back               the old map is what v0.4 finds
              header put in place: one link, or 32 bytes      from here on the new one is
              old map removed; locks released

What fails before the header is in place is rolled back; what fails after it is finished by a later
session, as is what a kill cut off (`settle`).

    killed                     v0.4 finds      settling
    before the header          the old map     does it again if nobody wrote to the map since
    within 32 bytes in place   neither         does it again: the pre-image has what is overwritten
    after the header           the new map     removes the old one
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from enum import Enum, auto

from ...tree.files import open_file, same_on_disk, status, unlink
from ..format import v2
from ..format.placement import v03_place
from .entries import BadEntry, new_blocks
from .look import v03_lock
from .record import OldFile, Record
from .store import Different, Locked, Store, names_of_inodes, read_first


class HalfDone(Exception):
    """The new map is in place and the rest failed: a later session goes on."""


class Torn(HalfDone):
    """A header may be written in part: the locks stay, for nobody may open the map like that."""


class _Standing(Enum):
    """What v0.4 finds."""

    OLD = auto()  # the old map, as it was
    TORN = auto()  # a header of which some bytes are new
    NEW = auto()  # the new map
    OTHER = auto()  # what is none of this run's


def apply(store: Store, record: Record) -> None:
    """Upgrade a volume whose locks are held; they are released on return, but for a torn header.

    Raises OSError, Different or BadEntry if nothing was changed, or all was rolled back, and
    HalfDone if not.
    """
    try:
        _refuse_different(store, record)
        _upgrade(store, record, begun=0)
    except Torn:
        raise
    except BaseException:
        with suppress(OSError):  # a lock that stays is a dead run's, and is swept by the next one
            store.release_locks(record.lock_names)
        raise
    _release(store, record)


def settle(store: Store, record: Record, *, finish: bool = True) -> bool:
    """Finish what a killed session, or a failure, left of an upgrade.

    What was not begun, or is not *finish*ed, becomes as it was, and is none of ours any more: False
    then. Raises OSError, Locked, Different, HalfDone if it has to be settled again.
    """
    standing = _standing(store, record)
    for name in record.lock_names:
        store.locks.sweep(name)
    try:
        done = _settle(store, record, standing, finish=finish)
    except Different:
        _release(store, record)
        raise
    _release(store, record)
    return done


def _settle(store: Store, record: Record, standing: _Standing, *, finish: bool) -> bool:
    if standing is _Standing.OLD:
        return _settle_old(store, record, finish=finish)
    if standing is _Standing.NEW:
        _finish_new(store, record)
    elif standing is _Standing.TORN:
        store.take_locks(record.lock_names)
        try:
            _upgrade(store, record, begun=record.header.blocks)
        except OSError as error:
            raise Torn(error.strerror) from error
    return standing is not _Standing.OTHER


def _settle_old(store: Store, record: Record, *, finish: bool) -> bool:
    try:
        store.take_locks(record.lock_names)
    except Locked:
        return False  # somebody works on the old map; blocks that we began are nobody's
    done, blocks = False, record.header.blocks
    try:
        if finish and _is_unchanged(store, record):
            _upgrade(store, record, begun=blocks)
            done = True
        else:
            _roll_back(store, record, blocks, OSError(errno.ECANCELED, "not begun"))
    except (OSError, BadEntry):
        pass  # rolled back: to be looked at again as any other volume
    return done


def _finish_new(store: Store, record: Record) -> None:
    try:
        _remove_old(store, record)
        store.sweep_part(record.header_place, record.volume)
    except OSError as error:
        raise HalfDone(error.strerror) from error


def _release(store: Store, record: Record) -> None:
    try:
        store.release_locks(record.lock_names)
    except OSError as error:
        raise HalfDone(f"its lock could not be released: {error.strerror}") from error


def _standing(store: Store, record: Record) -> _Standing:
    there = read_first(store, record, v2.HEADER_SIZE)
    if there == record.raw_header:
        return _Standing.NEW
    sources = [_found(store, file) is not None for file in record.sources]
    if record.in_place:
        if there is None or not all(sources):
            return _Standing.OTHER
        return _standing_in_place(record, there)
    if there is None:
        return _Standing.OLD if all(sources) else _Standing.OTHER
    return _Standing.NEW if _is_v2(there) and not any(sources) else _Standing.OTHER


def _standing_in_place(record: Record, there: bytes) -> _Standing:
    if there == record.first:
        return _Standing.OLD
    if record.is_torn(there):
        return _Standing.TORN
    return _Standing.NEW if _is_v2(there) else _Standing.OTHER


def _is_v2(there: bytes) -> bool:
    try:
        v2.decode_header_v2(there)
    except ValueError:
        return False
    return True


def _found(store: Store, file: OldFile) -> os.stat_result | None:
    """Return the status of an old file, None if it is not there any more."""
    with suppress(FileNotFoundError), store.maps.directory(file.place) as directory:
        found = status(directory, file.name)
        return found if found is not None and found.st_ino == file.inode else None
    return None


def _is_unchanged(store: Store, record: Record) -> bool:
    """Whether nobody wrote to the old map since it was looked at, or is about to (v0.3)."""
    for file in record.sources:
        found = _found(store, file)
        if found is None or not file.is_same(found):
            return False
        if file.place == v03_place(file.name) and v03_lock(store.maps, file.name):
            return False
    return True


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
    except HalfDone:
        raise
    except BaseException as error:
        _roll_back(store, record, written[0], error)
        raise
    try:
        _remove_old(store, record)
    except OSError as error:
        raise HalfDone(error.strerror) from error


def _write_blocks(store: Store, record: Record, written: list[int]) -> None:
    for number, content in enumerate(new_blocks(store.maps, record, store.codec)):
        place, name = record.block(number)
        with store.maps.directory(place, make=True) as directory:
            written[0] = max(written[0], number + 1)
            unlink(directory, name)
            made = store.maps.create(directory, name, content)
            os.fsync(directory)
            if not same_on_disk(directory, name, made.length, made.digest):
                raise OSError(errno.EIO, "a block reads back differently")


def _link_header(store: Store, record: Record) -> None:
    name = record.volume
    with store.maps.directory(record.header_place, make=True) as directory:
        inode = -1
        try:
            with store.part(directory, name, (record.raw_header,)) as made:
                part = store.part_name(name)
                if not same_on_disk(directory, part, made.length, made.digest):
                    raise OSError(errno.EIO, "the header reads back differently")
                inode = made.inode
                store.put_in_place(directory, name, made)
        except OSError as error:
            found = status(directory, name)
            if found is not None and found.st_ino == inode:
                raise HalfDone(error.strerror) from error
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
                raise Torn(error.strerror) from error
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
    """Take away the first *blocks*, put back what they replaced. Raises HalfDone."""
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
        raise HalfDone(f"{why}; and what was begun could not be taken back: {error}") from why
