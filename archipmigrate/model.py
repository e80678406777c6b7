"""The values that pass between the rooms: units, scans, outcomes, tallies, failures.

They have no behaviour beyond arithmetic. Paths are bytes, relative to the root of the share, joined
by `/`; the root itself is `b""`. Times are nanoseconds since the epoch, modes are `st_mode` (type
and bits).
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeAlias

# Transient errors: the entry is retried after a pause, RETRIES times, before it is a failure.
TRANSIENT = frozenset((errno.EIO, errno.ETIMEDOUT, errno.ENOSPC, errno.EDQUOT, errno.ESTALE))
RETRIES = 3

# Entries that are named where many have something in common.
MOST_EXAMPLES = 5

# One byte. Once it is not 0, no new work is begun.
StopFlag: TypeAlias = bytes | bytearray
NEVER = bytes(1)

# The scope of units that wait until nothing else is left.
DEFERRED = -1

# What a column of SQLite holds.
Column: TypeAlias = bytes | str | int | float | None


class FailureKind(Enum):
    """What a failure says about the changes to come."""

    ENTRY = "entry"  # nothing beyond what its errno says
    NO_ROOM = "no room"  # the share or a quota is full: all that must be written there will fail
    MISMATCH = "mismatch"  # a change reads back differently, the first of its kind: all will


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
    """Something the administrator should know of an entry, such as why it is skipped.

    `ui.notices` has the kinds.
    """

    path: bytes
    kind: str


@dataclass(slots=True)
class Examples:
    """How many entries have something in common, and the paths of the first few of them."""

    count: int = 0
    paths: list[bytes] = dataclasses.field(default_factory=list)

    def add(self, path: bytes) -> None:
        """Add one entry."""
        self.merge(Examples(1, [path]))

    def merge(self, other: Examples) -> None:
        """Add the entries of *other*."""
        self.count += other.count
        self.paths += other.paths[: MOST_EXAMPLES - len(self.paths)]


@dataclass(slots=True)
class Tally:
    """Counts of entries by type (the sum is `entries`) and by how they ended.

    `journal.counting` has the rule by which entries are counted.
    """

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
    def finished(self) -> int:
        """How many entries need no more work."""
        return self.changed + self.compliant + self.skipped + self.failed

    @property
    def waiting(self) -> int:
        """How many directories and files a session that was cut off has seen and not yet done."""
        return max(self.directories + self.files - self.finished - self.vanished, 0)

    def add(self, other: Tally) -> None:
        """Add the counts of *other* to these."""
        for name in TALLY_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name, in the order of the fields."""
        return {name: getattr(self, name) for name in TALLY_FIELDS}

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Tally:
        """Return the tally that `as_dict` returned *counts* for."""
        return cls(**{name: counts.get(name, 0) for name in TALLY_FIELDS})


TALLY_FIELDS = tuple(f.name for f in dataclasses.fields(Tally))


class Cursor(Protocol):
    """The position in a wide directory from which it is read on. Not kept in the journal."""

    def close(self) -> None:
        """Close its descriptor."""


class Retained(Protocol):
    """What a scan keeps open for the apply of the same changes: directories, handles, locks."""

    def close(self) -> None:
        """Release what apply did not take over. Called once, even if apply never was."""


class JobTables(Protocol):
    """The tables that a job has in the journal, beside the engine's. `Journal` is one of these.

    Names of tables are the job's to choose, other than those of `journal.store.SCHEMA`. The last
    column of each is `seal`. Statements fill it by the function `sealed`, whose arguments are the
    table's name and all other values in their order.
    """

    def execute(self, statement: str, *values: Column) -> int:
        """Change tables; return how many rows changed. Only in a write (see `Scan.writes`)."""

    def execute_many(self, statement: str, rows: Iterable[Sequence[Column]]) -> None:
        """Change tables once for each row of values. Only in a write."""

    def select(self, query: str, *values: Column) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds. Raises JournalError."""

    def add_seals(self, table: str, columns: str) -> None:
        """Add seals to a table of an earlier version, whose *columns* are these. Only in a write.

        Does nothing if the table has them.
        """

    def check_seals(self, table: str, columns: str) -> None:
        """Check the seals of a table, if it has any. Raises JournalError if one is wrong."""


# A part of a transaction: changes a job's tables and nothing else.
TablesWrite: TypeAlias = Callable[[JobTables], None]


@dataclass(frozen=True, slots=True)
class Unit:
    """Work that one lane does at a time.

    `body` belongs to the job (of walks it is packed groups, see `packed.groups`). `entries` is the
    number of names in it, `retries` how often they have been retried; `counted` says that they are
    in the tally already. `cursor` reads a wide directory on; `body` is then that whole directory,
    with which a later session would begin again. `scope` is the wide directory that the unit was
    found in, if that is still being read (0: none; see `engine.scopes`); DEFERRED: the unit waits
    until nothing else is left to do.
    """

    body: bytes
    entries: int = 1
    retries: int = 0
    counted: bool = False
    cursor: Cursor | None = None
    scope: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A change of a file with several links: its offset in the pre-image, and the inode."""

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
    is to be retried after a pause, because of transient errors. `deferred` must wait until all of
    that is done: directories whose own change comes after that of what is in them.

    `links` are the changes of files with several links, each to be changed by one batch only. The
    engine puts those that a batch in flight is about to change into `contested`: they are scanned
    again.
    `retained` is kept open for apply; whoever gets the scan closes it. `attempted` counts the
    failures of a scan that has to change something itself, such as taking a lock. `writes` go into
    the transaction that finishes the unit. `operations` are those on the share beside the entries
    that were counted: --max-ops limits them, too.
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
    deferred: Unit | None = None
    contested: Sequence[Unit] = ()
    operations: int = 0


class Outcome(IntEnum):
    """How one change ended. The numbers are bytes in the journal and in C."""

    CHANGED = 0
    GONE = 1  # nothing of that name any more
    DIFFERENT = 2  # not the entry, or not the attrs, that the pre-image says
    DROPPED = 3  # a hard link whose inode another change covers
    UNTRIED = 4  # the call ended before it
    FAILED = 5  # see the failures
    UNCHANGED = 6  # still, or again, as the pre-image says
    SETID_OFF = 7  # put back, but for the set-id bits that it had


class IdentityKind(IntEnum):
    """What the identities of a batch are. The numbers are bytes in the journal and in C.

    An identity is 64 bits by which an inode is told from another one that has its number later.
    Hashes are FNV-1a (64 bits; 1 in place of 0).
    """

    NONE = 0
    BIRTH = 1  # time of birth, ns: statx, or time_create of NFSv4
    HANDLE = 2  # hash of what name_to_handle_at returns, where no time of birth is known
    V3_HANDLE = 3  # hash of the server's handle, by NFSv3
    V4_HANDLE = 4  # hash of the server's handle, by NFSv4


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of entries since their change, for when they are put back.

    `came` are (index, mode, uid, gid) of changes that read back differently: what the entry had
    then, which counts as the run's own; uid is NO_ID (`policy`) where owners stay as they are.
    `identities` is one u64 a change (little-endian; 0: not known), noted after the change, or
    empty; `kind` is an `IdentityKind`. Where it is NONE, as in journals of earlier versions, only
    `born_before` (ns; 0: any time) tells reused inode numbers. `changed_until` (ns; 0: not known)
    is when the run had made its last change: over NFS, an entry of no identity that can be compared
    goes back if it has not changed since.
    """

    came: Sequence[tuple[int, int, int, int]] = ()
    kind: int = IdentityKind.NONE
    identities: bytes = b""
    born_before: int = 0
    changed_until: int = 0

    def identity(self, index: int) -> int:
        """Return the identity of an entry; 0 if it is not known."""
        return int.from_bytes(self.identities[8 * index : 8 * index + 8], "little")

    def of(self, indices: Sequence[int]) -> Known:
        """Return what is known of some changes, as if they were all, in this order."""
        came = {index: (mode, uid, gid) for index, mode, uid, gid in self.came}
        return Known(
            tuple((at, *came[index]) for at, index in enumerate(indices) if index in came),
            self.kind,
            b"".join(self.identities[8 * index : 8 * index + 8] for index in indices),
            self.born_before,
            self.changed_until,
        )


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class Applied:
    """What a backend did with packed changes.

    `outcomes` has one `Outcome` byte a change. `failures` are (index, operation, errno, note) of
    those that FAILED; one with operation "raced" is of a CHANGED entry that somebody else changed
    just before. `stamps` are (index, ctime) of files that lost set-id bits. `first_ctime` is the
    time of the first change by the filesystem's clock (0: none): every changed entry is older.

    `came`, `identity_kind` and `identities` are for `Known`. `mismatch` says that the call ended
    because a change read back differently, the first of its kind.
    """

    outcomes: bytes
    failures: Sequence[tuple[int, str, int, str]] = ()
    stamps: Sequence[tuple[int, int]] = ()
    first_ctime: int = 0
    came: Sequence[tuple[int, int, int, int]] = ()
    identity_kind: int = IdentityKind.NONE
    identities: bytes = b""
    mismatch: bool = False

    @property
    def known(self) -> Known:
        """What putting these changes back has to know."""
        born_before = max(self.first_ctime, 0)  # a clock before 1970 says nothing about births
        return Known(self.came, self.identity_kind, self.identities, born_before)


@dataclass(frozen=True, slots=True)
class Remade:
    """A file that an undo made in place of one that its run had removed.

    `inode` is that of the removed file. Both have the other attributes: `size` in bytes, `mtime`
    in ns.
    """

    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int


class Unsettled(Exception):
    """A stop came among changes of which some may have been made; settling finds out which."""


class Verb(IntEnum):
    """What `Backend.apply` does with a change."""

    FORWARD = 0  # make it
    SETTLE = 1  # find out how far a killed session came with it; finish it if half done
    BACK = 2  # put the entry back, without the set-id bits that the change took from a file


@dataclass(frozen=True, slots=True)
class Limits:
    """When a scan ends early: after seconds, after entries scanned, after changes found, at a stop.

    What is left of the unit comes back in the scan.
    """

    seconds: float
    entries: int
    changes: int
    stop: StopFlag = NEVER
