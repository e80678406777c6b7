"""One volume from v1, v0 or a rename that was cut off to v2. A mapper can read it at every instant.

    (its locks are held and its pre-image is durable: see `prepare`)
    apply     blocks written, synced, read back               v0.4 finds the old map
              header put in place: one link, or 32 bytes      from here on the new one
              old map removed; locks released

An error before the header is in place is rolled back. After that, the volume is half done: a later
session settles it, and what a kill cut off, too.

    killed                     v0.4 finds      settling
    before the header          the old map     upgrades, if nobody has written to the map since
    within 32 bytes in place   neither         upgrades: the pre-image has the bytes that were there
    after the header           the new map     removes the old one
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ...layout.names import shown
from ...tree.files import is_inode, open_file, same_on_disk, status, unlink
from . import put
from .entries import BadEntry, new_blocks
from .preimage import VolumePreimage
from .standing import Standing, is_unchanged, standing_of
from .store import Different, Locked, Store


class HalfDone(Exception):
    """The new map is in place, and an error came after that: a later session has to settle it."""


class Torn(HalfDone):
    """A header may be written in part: nobody may open the map, so its locks stay."""


def apply(store: Store, preimage: VolumePreimage, begun: int = 0) -> None:
    """Upgrade a volume whose locks are held; release them, unless its header is torn.

    The first *begun* blocks may have been written before. Durable on return. Raises OSError,
    Different or BadEntry if nothing was changed or all was rolled back, and HalfDone if the volume
    has to be settled.
    """
    try:
        if not begun:
            refuse_different(store, preimage)
        _upgrade(store, preimage, begun=begun)
    except Torn:
        raise
    except BaseException:
        with suppress(OSError):  # a lock that stays is a dead run's, and the next one sweeps it
            store.release_locks(preimage.lock_names)
        raise
    release(store, preimage)


def settle(store: Store, preimage: VolumePreimage, *, finish: bool = True) -> bool:
    """Settle an upgrade that a killed session, or an error, left.

    Without *finish*, roll it back if its header is not in place. Return whether the volume is
    upgraded now; if not, it is as it was, or others have changed it and it is not ours to settle.
    Raises OSError, Locked, Different or HalfDone if it has to be settled again.
    """
    standing = standing_of(store, preimage)
    for name in preimage.lock_names:
        store.locks.sweep(name)
    try:
        done = _settle(store, preimage, standing, finish=finish)
    except Different:
        release(store, preimage)
        raise
    release(store, preimage)
    return done


def _settle(store: Store, preimage: VolumePreimage, standing: Standing, *, finish: bool) -> bool:
    if standing is Standing.OLD:
        return _settle_old(store, preimage, finish=finish)
    if standing is Standing.NEW:
        _finish_new(store, preimage)
    elif standing is Standing.TORN:
        store.acquire_locks(preimage.lock_names)
        try:
            _upgrade(store, preimage, begun=preimage.header.blocks)
        except OSError as error:
            raise Torn(error.strerror) from error
    return standing is not Standing.OTHER


def _settle_old(store: Store, preimage: VolumePreimage, *, finish: bool) -> bool:
    try:
        store.acquire_locks(preimage.lock_names)
    except Locked:
        return False  # somebody works on the old map; blocks that we began belong to no map
    done, blocks = False, preimage.header.blocks
    try:
        if finish and is_unchanged(store, preimage):
            _upgrade(store, preimage, begun=blocks)
            done = True
        else:
            _roll_back(store, preimage, blocks, OSError(errno.ECANCELED, "not begun"))
    except (OSError, BadEntry):
        pass  # rolled back: it is scanned again like any other volume
    return done


def _finish_new(store: Store, preimage: VolumePreimage) -> None:
    remove_old(store, preimage)
    try:
        put.sweep_part(store, preimage.header_parent, preimage.volume)
    except OSError as error:
        raise HalfDone(error.strerror) from error


def release(store: Store, preimage: VolumePreimage) -> None:
    """Release the locks of a volume. Raises HalfDone."""
    try:
        store.release_locks(preimage.lock_names)
    except OSError as error:
        raise HalfDone(f"its lock could not be released: {error.strerror}") from error


def refuse_different(store: Store, preimage: VolumePreimage) -> None:
    """Check that nobody has written to the old map since its pre-image.

    Raises Different, OSError.
    """
    for file in preimage.sources:
        with store.maps.directory(file.parent) as directory:
            found = status(directory, file.name)
        if found is None or not file.is_same(found):
            raise Different(f"{shown(file.name)} was changed meanwhile")


def _upgrade(store: Store, preimage: VolumePreimage, begun: int) -> None:
    """Upgrade a volume of which a session before may have written the first *begun* blocks."""
    written = [begun]
    try:
        _write_blocks(store, preimage, written)
        if preimage.in_place:
            _write_header(store, preimage)
        else:
            _link_header(store, preimage)
    except HalfDone:
        raise
    except BaseException as error:
        _roll_back(store, preimage, written[0], error)
        raise
    remove_old(store, preimage)


def _write_blocks(store: Store, preimage: VolumePreimage, written: list[int]) -> None:
    """Write all blocks; raise `written[0]` to the number of those that are begun."""
    for number, content in enumerate(new_blocks(store.maps, preimage, store.codec)):
        parent, name = preimage.block(number)
        with store.maps.directory(parent, make=True) as directory:
            written[0] = max(written[0], number + 1)
            unlink(directory, name)
            made = store.maps.create(directory, name, content)
            os.fsync(directory)
            if not same_on_disk(directory, name, made.length, made.digest):
                raise OSError(errno.EIO, "a block reads back differently")


def _link_header(store: Store, preimage: VolumePreimage) -> None:
    name = preimage.volume
    with store.maps.directory(preimage.header_parent, make=True) as directory:
        inode = -1
        try:
            with put.part(store, directory, name, (preimage.raw_header,)) as made:
                part_name = store.part_name(name)
                if not same_on_disk(directory, part_name, made.length, made.digest):
                    raise OSError(errno.EIO, "the header reads back differently")
                inode = made.inode
                put.link_part(store, directory, name, made)
        except OSError as error:
            if is_inode(directory, name, inode):
                raise HalfDone(error.strerror) from error
            raise


def has_header(store: Store, preimage: VolumePreimage, inode: int) -> bool:
    """Whether the new header, which is *inode*, is in place. Raises OSError."""
    with store.maps.directory(preimage.header_parent) as directory:
        return is_inode(directory, preimage.volume, inode)


def _write_header(store: Store, preimage: VolumePreimage) -> None:
    with store.maps.directory(preimage.source.parent) as directory:
        fd = open_file(directory, preimage.source.name, os.O_RDWR)
    try:
        if os.fstat(fd).st_ino != preimage.source.inode:
            raise Different("the map was exchanged")
        try:
            _overwrite(fd, preimage.raw_header)
        except OSError as error:
            try:
                _overwrite(fd, preimage.first)
                os.ftruncate(fd, preimage.source.length)
            except OSError:
                raise Torn(error.strerror) from error
            raise
    finally:
        os.close(fd)


def _overwrite(fd: int, raw: bytes) -> None:
    """Write a file's first bytes in one call, sync them and read them back."""
    if os.pwrite(fd, raw, 0) != len(raw):
        raise OSError(errno.EIO, "a header was written in part")
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if os.pread(fd, len(raw), 0) != raw:
        raise OSError(errno.EIO, "the header reads back differently")


def remove_old(store: Store, preimage: VolumePreimage) -> None:
    """Remove the old map, its header first: without it, its blocks belong to no map.

    Raises HalfDone, and Different if somebody has written to it since.
    """
    if preimage.in_place:
        return
    try:
        for file in preimage.sources:
            put.remove_old_file(store, file)
    except OSError as error:
        raise HalfDone(error.strerror) from error


def _roll_back(store: Store, preimage: VolumePreimage, blocks: int, why: BaseException) -> None:
    """Remove the first *blocks* new blocks and put back what they replaced. Raises HalfDone."""
    try:
        for number in range(blocks):
            parent, name = preimage.block(number)
            with suppress(FileNotFoundError), store.maps.directory(parent) as directory:
                if unlink(directory, name):
                    os.fsync(directory)
        put.sweep_part(store, preimage.header_parent, preimage.volume)
        for files in put.grouped_by_inode(preimage.replaced):
            if files[0].pieces is not None:
                put.restore_file(store, files)
    except (OSError, Different) as error:
        raise HalfDone(f"{why}; and the rollback failed: {error}") from why
