"""What comes before an upgrade: locks, a last judgement, and the pre-image of all that goes away.

Nothing of the volume is changed here, and a lock is held afterwards only if there is a record.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from xxhash import xxh3_128

from ...tree.files import open_file, read_pieces
from ..format.head import HEAD_BYTES, SLACK, needed_length
from ..format.placement import v03_place
from ..format.v2 import BLOCK_SIZE, encode_header_v2
from ..format.verdict import Plan, Result, Verdict
from .entries import BadEntry, checked
from .look import Look, Spot, find_block, look_at_volume, v03_lock
from .record import OldFile, Record, lock_names
from .store import Locked, Store, held_by

# A volume whose plan changes while its locks are taken is judged so often again.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a volume is, and, if it is to be upgraded, its pre-image: its locks are held then."""

    verdict: Verdict
    record: Record | None = None


class Vanished(Exception):
    """There is no map of that volume any more."""


class Refused(Exception):
    """A volume turns out not to be one that can be upgraded."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


def judged(store: Store, volume: bytes) -> Look:
    """Look at a volume. Raises Vanished, OSError."""
    look = look_at_volume(store.maps, volume, store.sizes)
    if not look.volume.exists:
        raise Vanished
    return look


def peek(store: Store, volume: bytes) -> Prepared:
    """Say what `prepare` would, and touch nothing (no `kept` either). Raises Vanished, OSError."""
    look = judged(store, volume)
    verdict = look.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, look, verdict)
        for name in lock_names(volume, verdict.plan):
            holder = store.locks.holder(name)
            if holder is not None:
                raise Locked(held_by(name, holder))
        _record(store, look, verdict)
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

    Raises Vanished, OSError, JournalError; no lock is held then.
    """
    for _ in range(ATTEMPTS):
        names = lock_names(volume, plan)
        try:
            store.take_locks(names)
        except Locked as locked:
            verdict = judged(store, volume).verdict
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
    look = judged(store, volume)
    verdict = look.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, look, verdict)
        return Prepared(verdict, _record(store, look, verdict))
    except Refused as refused:
        return Prepared(replace(verdict, result=refused.result, reason=str(refused)))


def _refuse_v03_lock(store: Store, look: Look, verdict: Verdict) -> None:
    name = look.volume.prefixed.name
    places = [spot.place for spot in look.sources(prefixed=True)]
    if verdict.plan is Plan.RENAME and v03_place(name) in places and v03_lock(store.maps, name):
        shown = name.decode(errors="backslashreplace")
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
            keep = verdict.plan is not Plan.IN_PLACE
            sources.append(_old_file(store, spot, needed_length(head), keep=keep))
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
        replaced.append(_old_file(store, there, BLOCK_SIZE, keep=True))
    return replace(record, sources=sources, replaced=replaced)


def _first(store: Store, spot: Spot) -> bytes:
    with _opened(store, spot) as fd:
        return os.pread(fd, HEAD_BYTES, 0)


@contextmanager
def _opened(store: Store, spot: Spot) -> Iterator[int]:
    """Open a file that was looked at. Raises OSError: ESTALE if another has its name now."""
    with store.maps.directory(spot.place) as directory:
        fd = open_file(directory, spot.name)
    try:
        if os.fstat(fd).st_ino != spot.status.st_ino:
            raise OSError(errno.ESTALE, "the file was exchanged")
        yield fd
    finally:
        os.close(fd)


def _old_file(store: Store, spot: Spot, needed: int, *, keep: bool) -> OldFile:
    """Note what a file is, of which so many bytes are *needed*, and keep it. Raises Refused."""
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
    if not keep or not store.keeps:
        return file
    if found.st_size > needed + SLACK:
        shown = spot.name.decode(errors="backslashreplace")
        raise Refused(
            Result.INVALID,
            f"{shown} has {found.st_size - needed:,} bytes more than it needs, too many to keep "
            "for undo: cut them off (truncate), or use --no-keep",
        )
    if store.kept is None:
        return file
    digest = xxh3_128()
    pieces = []
    with _opened(store, spot) as fd:
        for piece in read_pieces(fd, 0, found.st_size):
            digest.update(piece)
            pieces.append(store.kept.add(piece))
    return replace(file, pieces=pieces, digest=digest.hexdigest())


def _old_block(store: Store, spot: Spot, needed: int) -> OldFile:
    """Check a block of a half-renamed map, and keep it. Raises Refused."""
    _check_block(store, spot, needed)
    return _old_file(store, spot, needed, keep=True)


def _check_block(store: Store, spot: Spot, needed: int) -> None:
    """See that every entry of a block can be read. Raises Refused."""
    with _opened(store, spot) as fd:
        try:
            for _ in checked(fd, needed, store.codec):
                pass
        except BadEntry as bad:
            shown = spot.name.decode(errors="backslashreplace")
            raise Refused(Result.INVALID, f"{shown}: {bad}") from None
