"""The outcome of a batch as the journal keeps it: how each change ended, and times.

u32 changes, i64 first ctime, u32 stamps, for each change u8 `model.Outcome`,
for each file that lost set-id bits u32 index, i64 ctime after the change

Times before 1970 are negative. Times since then are packed as in the unsigned form of earlier
versions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..journal.store import Journal
from ..model import Applied, Failure, FailureKind, Outcome, StopFlag, Unsettled

HEAD = struct.Struct("<IqI")
STAMP = struct.Struct("<Iq")
# What backends call the operation of a change that reads back differently.
READ_BACK = "read back"


def pack_outcome(applied: Applied) -> bytes:
    """Pack what a backend did, without failures."""
    stamps = b"".join(STAMP.pack(*stamp) for stamp in applied.stamps)
    head = HEAD.pack(len(applied.outcomes), applied.first_ctime, len(applied.stamps))
    return head + applied.outcomes + stamps


def failure_of(path: bytes, operation: str, errno: int, note: str, hint: int = 0) -> Failure:
    """Return the failure of an entry, as a backend reports it in `Applied.failures`."""
    kind = FailureKind.MISMATCH if operation == READ_BACK else FailureKind.ENTRY
    return Failure(path, operation, errno, note, hint, kind)


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
    count, first_ctime, _ = HEAD.unpack_from(packed)
    outcomes = packed[HEAD.size : HEAD.size + count]
    stamps = [(index, ctime) for index, ctime in STAMP.iter_unpack(packed[HEAD.size + count :])]
    return Applied(outcomes, (), stamps, first_ctime)
