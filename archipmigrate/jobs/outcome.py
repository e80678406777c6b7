"""The outcome of a batch as the journal keeps it: what became of each change, and times.

u32 changes, u64 first ctime, u32 stamps, a byte (`model.Outcome`) a change,
stamps: u32 index, u64 ctime after the change, for files that lost set-id bits
"""

from __future__ import annotations

import struct

from ..model import Applied, Outcome, StopFlag, Unsettled

HEAD = struct.Struct("<IQI")
STAMP = struct.Struct("<IQ")


def pack_outcome(applied: Applied) -> bytes:
    """Pack what a backend did, failures excepted."""
    stamps = b"".join(STAMP.pack(*stamp) for stamp in applied.stamps)
    head = HEAD.pack(len(applied.outcomes), applied.first_ctime, len(applied.stamps))
    return head + applied.outcomes + stamps


def all_of(applied: Applied, stop: StopFlag) -> Applied:
    """Return *applied*. Raises Unsettled if the stop flag kept a part of it from being tried."""
    if stop[0] and Outcome.UNTRIED in applied.outcomes:
        raise Unsettled
    return applied


def unpack_outcome(packed: bytes) -> Applied:
    """Return what `pack_outcome` packed, without failures."""
    count, first_ctime, _ = HEAD.unpack_from(packed)
    outcomes = packed[HEAD.size : HEAD.size + count]
    stamps = [(index, ctime) for index, ctime in STAMP.iter_unpack(packed[HEAD.size + count :])]
    return Applied(outcomes, (), stamps, first_ctime)
