"""The outcome of a batch as the journal keeps it: how each change ended, times, identities.

u32 changes, i64 first ctime, u32 stamps, for each change u8 `model.Outcome`,
for each file that lost set-id bits u32 index, i64 ctime after the change,
u32 misread changes, u8 `model.IdentityKind`,
for each change that read back differently u32 index, u16 mode, [OWNERS: u32 uid], u32 gid: what it
left there,
for each change (not if the kind is NONE) u64 identity after the change

The highest bit of the kind, OWNERS, is set if such changes were to give their entries an owner.

Times before 1970 are negative. Times since then are packed as in the unsigned form of earlier
versions, whose outcomes end with the stamps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from ..journal.store import Journal
from ..model import Applied, Outcome, StopFlag, Unsettled
from ..packed.known import CAME, pack_came, unpack_came
from ..policy import NO_ID

HEAD = struct.Struct("<IqI")
STAMP = struct.Struct("<Iq")
MORE = struct.Struct("<IB")
OWNERS = 0x80
CAME_OF_GROUP = struct.Struct("<IHI")


def pack_outcome(applied: Applied) -> bytes:
    """Pack what a backend did, without failures."""
    head = HEAD.pack(len(applied.outcomes), applied.first_ctime, len(applied.stamps))
    stamps = b"".join(STAMP.pack(*stamp) for stamp in applied.stamps)
    flag, came = _pack_came(applied.came)
    more = MORE.pack(len(applied.came), applied.identity_kind | flag)
    return b"".join((head, applied.outcomes, stamps, more, came, applied.identities))


def _pack_came(came: Sequence[tuple[int, int, int, int]]) -> tuple[int, bytes]:
    if any(uid != NO_ID for _, _, uid, _ in came):
        return OWNERS, pack_came(came)
    return 0, b"".join(CAME_OF_GROUP.pack(index, mode, gid) for index, mode, _, gid in sorted(came))


def all_of(applied: Applied, stop: StopFlag) -> Applied:
    """Return *applied*. Raises Unsettled if the stop flag ended it before all was tried."""
    if stop[0] and Outcome.UNTRIED in applied.outcomes:
        raise Unsettled
    return applied


def outcomes_of(journal: Journal) -> Iterator[int]:
    """Yield the outcomes of all changes of a run that is settled. Raises JournalError."""
    for number in journal.batches():
        yield from unpack_outcome(journal.outcome(number)).outcomes


def unpack_outcome(packed: bytes) -> Applied:
    """Return what `pack_outcome` packed, without failures."""
    count, first_ctime, stamp_count = HEAD.unpack_from(packed)
    at = HEAD.size + count
    outcomes, packed = packed[HEAD.size : at], packed[at:]
    at = stamp_count * STAMP.size
    stamps = list(STAMP.iter_unpack(packed[:at]))
    if len(packed) == at:  # of an earlier version
        return Applied(outcomes, (), stamps, first_ctime)
    misread, kind = MORE.unpack_from(packed, at)
    at += MORE.size
    if kind & OWNERS:
        end = at + misread * CAME.size
        came = unpack_came(packed[at:end])
    else:
        end = at + misread * CAME_OF_GROUP.size
        every = CAME_OF_GROUP.iter_unpack(packed[at:end])
        came = tuple((index, mode, NO_ID, gid) for index, mode, gid in every)
    return Applied(outcomes, (), stamps, first_ctime, came, kind & ~OWNERS, packed[end:])
