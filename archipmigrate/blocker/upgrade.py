"""One volume from v1, v0 or a half-done rename to v2, so that a mapper can read it at every instant.

    prepare   locks; look, judge, keep what goes away         nothing of the volume is changed
    (the pre-image becomes durable here)
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
import stat
from contextlib import suppress
from dataclasses import dataclass, replace

from xxhash import xxh3_128

from ..mapfile import v2
from ..mapfile.head import HEAD_BYTES
from ..mapfile.v2 import encode_header_v2
from ..mapfile.verdict import Plan, Result, Verdict
from .entries import BadEntry, checked, new_blocks
from .look import Look, Spot, find_block, look_at_volume, v03_lock
from .record import OldFile, Record, lock_names
from .store import Different, Locked, Store, held_by, names_of_inodes, read_first
from .tree import digest_on_disk, open_file, read_pieces, status, unlink

# A volume whose plan changes while its locks are taken is judged so often again.
ATTEMPTS = 3


class Unfinished(Exception):
    """The new map is in place, or may be, and the rest failed: a later session goes on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a volume is, and, if it is to be upgraded, its pre-image: its locks are held then."""

    verdict: Verdict
    record: Record | None = None


class Refused(Exception):
    """A volume turns out not to be one that can be upgraded."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


def peek(store: Store, volume: bytes) -> Prepared:
    """Say what `prepare` would, and touch nothing. Raises OSError."""
    look = look_at_volume(store.maps, volume, store.sizes)
    verdict = look.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, look, verdict)
        for name in lock_names(volume, verdict.plan):
            holder = store.locks.holder(name)
            if holder is not None:
                raise Locked(held_by(name, holder))
        _record(replace(store, kept=None), look, verdict)
    except Locked as locked:
        return Prepared(replace(verdict, result=Result.LOCKED, reason=str(locked)))
    except Refused as refused:
        return Prepared(replace(verdict, result=refused.result, reason=str(refused)))
    return Prepared(replace(verdict, result=Result.WOULD_UPGRADE))


def checked_verdict(store: Store, volume: bytes, verdict: Verdict) -> Verdict:
    """Read the blocks of a current map; return the verdict, or `invalid`. Raises OSError."""
    assert verdict.head is not None  # noqa: S101 -- a current volume has a map
    if verdict.head.is_deleted:
        return verdict
    header = verdict.head.header
    try:
        for number in range(header.blocks):
            spot = find_block(store.maps, volume, number)
            if spot is None:
                raise Refused(Result.INVALID, f"block {number} is missing")
            _check_block(store, spot, header.block_length(number))
    except Refused as refused:
        return replace(verdict, result=refused.result, reason=str(refused))
    return verdict


def prepare(store: Store, volume: bytes, plan: Plan) -> Prepared:
    """Take the locks that *plan* needs, judge again, keep what goes away.

    Raises OSError, JournalError; no lock is held then.
    """
    for _ in range(ATTEMPTS):
        names = lock_names(volume, plan)
        try:
            store.take_locks(names)
        except Locked as locked:
            verdict = look_at_volume(store.maps, volume, store.sizes).verdict
            if verdict.plan is not Plan.NONE:
                verdict = replace(verdict, result=Result.LOCKED, reason=str(locked))
            return Prepared(verdict)
        try:
            prepared = _under_locks(store, volume)
        except BaseException:
            with suppress(OSError):
                store.release_locks(names)
            raise
        if prepared.record is not None and prepared.verdict.plan is plan:
            return prepared
        store.release_locks(names)
        if prepared.record is None:
            return prepared
        plan = prepared.verdict.plan
    raise OSError(errno.EAGAIN, "the volume keeps changing")


def _under_locks(store: Store, volume: bytes) -> Prepared:
    look = look_at_volume(store.maps, volume, store.sizes)
    verdict = look.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, look, verdict)
        return Prepared(verdict, _record(store, look, verdict))
    except Refused as refused:
        return Prepared(replace(verdict, result=refused.result, reason=str(refused)))


def _refuse_v03_lock(store: Store, look: Look, verdict: Verdict) -> None:
    if verdict.plan is not Plan.IN_PLACE and v03_lock(store.maps, look.volume.prefixed.name):
        shown = look.volume.prefixed.name.decode(errors="backslashreplace")
        raise Refused(Result.LOCKED, f"{shown} is held by v0.3 (its lock lies beside it)")


def _record(store: Store, look: Look, verdict: Verdict) -> Record:
    """Make the pre-image, with what goes away kept. Raises Refused."""
    volume, head = look.volume.name, verdict.head
    assert head is not None  # noqa: S101 -- what has a plan has a map
    maps = look.sources(prefixed=verdict.plan is not Plan.IN_PLACE)
    first = _first(store, maps[0])
    record = Record(
        volume, verdict.plan, head.version or 0, encode_header_v2(verdict.target), first, ()
    )
    sources: list[OldFile] = []
    for spot in maps:
        if sources and sources[-1].inode == spot.status.st_ino:
            known = sources[-1]
            sources.append(replace(known, place=spot.place, name=spot.name))
        else:
            sources.append(_old_file(store, spot, keep=verdict.plan is not Plan.IN_PLACE))
    for number, spot in enumerate(look.blocks if verdict.plan is Plan.FINISH else ()):
        sources.append(_old_block(store, spot, record.header.block_length(number)))
    replaced = []
    for number in range(record.header.blocks):
        there = find_block(store.maps, volume, number)
        if there is None:
            continue
        if not stat.S_ISREG(there.status.st_mode):
            shown = there.name.decode(errors="backslashreplace")
            raise Refused(Result.CONFLICT, f"{shown}, which is to be a block, is no regular file")
        replaced.append(_old_file(store, there, keep=True))
    return replace(record, sources=sources, replaced=replaced)


def _first(store: Store, spot: Spot) -> bytes:
    with store.maps.directory(spot.place) as directory:
        fd = open_file(directory, spot.name)
    try:
        return os.pread(fd, HEAD_BYTES, 0)
    finally:
        os.close(fd)


def _old_file(store: Store, spot: Spot, *, keep: bool) -> OldFile:
    found = spot.status
    file = OldFile(
        spot.place,
        spot.name,
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        found.st_size,
    )
    if not keep or store.kept is None:
        return file
    digest = xxh3_128()
    with store.maps.directory(spot.place) as directory:
        fd = open_file(directory, spot.name)
    try:
        pieces = []
        for piece in read_pieces(fd):
            digest.update(piece)
            pieces.append(store.kept.add(piece))
    finally:
        os.close(fd)
    return replace(file, pieces=pieces, digest=digest.hexdigest())


def _old_block(store: Store, spot: Spot, needed: int) -> OldFile:
    """Check a block of a half-renamed map, and keep it. Raises Refused."""
    _check_block(store, spot, needed)
    return _old_file(store, spot, keep=True)


def _check_block(store: Store, spot: Spot, needed: int) -> None:
    """See that every entry of a block can be read. Raises Refused."""
    with store.maps.directory(spot.place) as directory:
        fd = open_file(directory, spot.name)
    try:
        for _ in checked(read_pieces(fd, 0, needed), store.codec):
            pass
    except BadEntry as bad:
        shown = spot.name.decode(errors="backslashreplace")
        raise Refused(Result.INVALID, f"{shown}: {bad}") from None
    finally:
        os.close(fd)


# -- act


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
    if record.in_place:
        if _is_torn(there, record) and _is_there(store, record.source):
            return "old"
        return "new" if _is_v2(there) else "other"
    sources = [_is_there(store, file) for file in record.sources]
    if not there:
        return "old" if all(sources) else "other"
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
