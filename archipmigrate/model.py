"""The values that pass between the rooms: attrs, units, scans, outcomes, tallies, failures.

Owns no behaviour beyond arithmetic. Paths are bytes, relative to the share's root, joined with `/`;
the root itself is `b""`. Times are nanoseconds since the epoch, modes `st_mode` (type and bits).
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeAlias

# Errors that may pass: tried again after a pause, RETRIES times, before they are failures.
TRANSIENT = frozenset((errno.EIO, errno.ETIMEDOUT, errno.ENOSPC, errno.EDQUOT, errno.ESTALE))
RETRIES = 3

# One byte; once it is not 0, nothing more is begun.
StopFlag: TypeAlias = bytes | bytearray
NEVER = bytes(1)

# What a column of SQLite holds.
Column: TypeAlias = bytes | str | int | float | None


class FailureKind(Enum):
    """What a failure says about the changes to come."""

    ENTRY = "entry"  # nothing, or what its errno says
    NO_ROOM = "no room"  # the share, or its quota, is full: whatever must be written there fails
    MISMATCH = "mismatch"  # a change reads back differently: the server maps ids, all will


@dataclass(frozen=True, slots=True)
class Failure:
    """One entry that could not be scanned or changed: which, at what operation, and why.

    `hint` says how to scan it again (see `packed.groups.Hint`; 0: never). `kind` is not kept in the
    journal; it only matters to the session in which the failure happens.
    """

    path: bytes
    operation: str
    errno: int
    note: str = ""
    hint: int = 0
    kind: FailureKind = dataclasses.field(default=FailureKind.ENTRY, compare=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a changed entry that one should know; kinds are in `ui.report.NOTICES`."""

    path: bytes
    kind: str


@dataclass(slots=True)
class Tally:
    """Counts of entries: of which type they are (the sum is `entries`), and what became of them."""

    entries: int = 0
    directories: int = 0
    files: int = 0
    others: int = 0
    changed: int = 0
    compliant: int = 0
    skipped: int = 0
    vanished: int = 0
    failed: int = 0
    hard_linked: int = 0

    @property
    def ended(self) -> int:
        """How many of the things to be done are done, one way or another."""
        return self.changed + self.compliant + self.skipped + self.failed

    def add(self, other: Tally) -> None:
        """Add the counts of *other* to these."""
        for name in TALLY_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name, in the order of the fields."""
        return {name: getattr(self, name) for name in TALLY_FIELDS}

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Tally:
        """Read back what `as_dict` gave."""
        return cls(**{name: counts.get(name, 0) for name in TALLY_FIELDS})


TALLY_FIELDS = tuple(f.name for f in dataclasses.fields(Tally))


class Cursor(Protocol):
    """The place where the reading of a wide directory goes on. It lives in this process only."""

    def close(self) -> None:
        """Give up the place and its descriptor."""


class Retained(Protocol):
    """What a scan keeps open for the apply of the same changes: directories, handles, locks."""

    def close(self) -> None:
        """Release what apply did not take over. Called once, even if apply never was."""


class JobTables(Protocol):
    """The tables that a job has in the journal, beside the engine's. `Journal` is one of these.

    Names of tables are the job's to choose, other than those of `journal.store.SCHEMA`.
    """

    def execute(self, statement: str, *values: Column) -> int:
        """Change tables; return how many rows changed. Only in a write (see `Scan.writes`)."""

    def execute_many(self, statement: str, rows: Iterable[Sequence[Column]]) -> None:
        """Change tables once for each row of values. Only in a write."""

    def select(self, query: str, *values: Column) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds. Raises JournalError."""


# A part of a transaction: changes a job's tables and nothing else.
TablesWrite: TypeAlias = Callable[[JobTables], None]


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work that one worker does in one go.

    `body` is what its job reads (for walks: packed groups, see `frames`), `entries` how many names
    it holds, `retries` how often they have been looked at again, `counted` whether they are in the
    tally already. `cursor` continues a wide directory; `body` is then that whole directory,
    which is what a later session starts from. `scope` is the wide directory on whose complete
    reading the unit's counts depend (0: none).
    """

    body: bytes
    entries: int = 1
    retries: int = 0
    counted: bool = False
    cursor: Cursor | None = None
    scope: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A change of a file with several links: the offset of its record, and its inode."""

    offset: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What the scan of one unit found.

    `preimage` is what must be durable before apply may change anything, in a form that the job
    owns: the engine and the journal only store it and hand it back. Backends fill in packed changes
    (`packed.changes`). `count` is the number of changes in it; 0: there is nothing to apply.

    What is left of the unit comes back as new units: `rest` is what the limits left over; `chunks`
    are names of a wide directory, for any lane, and `wide` goes on reading that directory; `again`
    is to be retried after a pause, because of transient errors.

    `links` are the changes of files with several links, each to be changed by one batch only.
    `retained` is kept open for apply; whoever gets the scan closes it. `attempted` counts the
    failures of a scan that has to change something itself, such as taking a lock. `writes` go into
    the transaction that finishes the unit.
    """

    tally: Tally
    preimage: bytes = b""
    count: int = 0
    rest: Unit | None = None
    chunks: Sequence[Unit] = ()
    wide: Unit | None = None
    again: Sequence[Unit] = ()
    failures: Sequence[Failure] = ()
    links: Sequence[Link] = ()
    notices: Sequence[Notice] = ()
    retained: Retained | None = None
    attempted: int = 0
    writes: Sequence[TablesWrite] = ()


class Outcome(IntEnum):
    """What became of one change. The numbers are bytes in the journal and in C."""

    CHANGED = 0
    GONE = 1  # nothing of that name any more
    DIFFERENT = 2  # not the entry, or not the attrs, that the pre-image says
    DROPPED = 3  # a hard link whose inode another change covers
    UNTRIED = 4  # the run stopped before it
    FAILED = 5  # see the failures
    UNCHANGED = 6  # still, or again, as the pre-image says
    SETID_OFF = 7  # put back, but for set-id bits that are not safe to give back


@dataclass(frozen=True, slots=True)
class Applied:
    """What a backend did with packed changes.

    `outcomes` is one `Outcome` byte a change; `failures` say which (index, operation, errno, note),
    and with operation "raced" which CHANGED ones had changed unnoticed since they were looked at;
    `stamps` are (index, ctime) of files that lost set-id bits; `first_ctime` is the filesystem's
    own time of the first change (0: none), which every changed entry is older than.
    """

    outcomes: bytes
    failures: Sequence[tuple[int, str, int, str]] = ()
    stamps: Sequence[tuple[int, int]] = ()
    first_ctime: int = 0


class Unsettled(Exception):
    """Stopped among changes of which some may have been made: settling finds out which."""


class Verb(IntEnum):
    """What `apply` does with a change."""

    FORWARD = 0  # make it
    SETTLE = 1  # see how far a killed run came with it, and finish it if it was half done
    CHECK = 2  # only stamp files with SETID to which nobody wrote (size and mtime are the record's)
    BACK = 3  # put the entry back as it was


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one unit may take: seconds, entries looked at, changes found; and the stop flag.

    `stop` is one byte, looked at as often as the limits; non-zero ends the unit early.
    """

    seconds: float
    entries: int
    changes: int
    stop: StopFlag = NEVER
