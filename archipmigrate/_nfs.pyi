from array import array
from typing import NamedTuple, final

# The C module (native/python/nfs_module.c). Absent where there was no compiler.

class Attributes(NamedTuple):
    inode: int
    mode: int
    uid: int
    gid: int
    ctime: int  # ns

class ScanResult(NamedTuple):
    tally: dict[str, int]
    changes: bytes
    change_count: int
    rest: tuple[bytes, int] | None
    wide: tuple[bytes, int, bytes] | None  # path, inode, cursor
    again: list[tuple[bytes, int, bool]]
    failures: list[tuple[bytes, str, int]]
    links: list[tuple[int, int, int]]
    notices: list[tuple[bytes, str]]
    handles: bytes  # for apply: handles, and when the entries changed last
    keys: bytes  # u64 of each name that was read by a cursor
    deferred: tuple[bytes, int] | None

class ApplyResult(NamedTuple):
    outcomes: bytes
    failures: list[tuple[int, str, int, str]]
    stamps: list[tuple[int, int]]
    first_ctime: int
    came: list[tuple[int, int, int, int]]
    identity_kind: int
    identities: bytes
    mismatch: bool
    kept: int

# Thread-safe. It closes with its last reference.
@final
class OpenShare:
    @property
    def version(self) -> int: ...
    @property
    def root_inode(self) -> int: ...
    @property
    def unknown_owner(self) -> bytes: ...
    @property
    def bound(self) -> int: ...  # calls that may be in flight now
    @property
    def is_unguarded(self) -> bool: ...  # the server refuses guarded changes
    @property
    def calls(self) -> list[int]: ...
    def set_bound(self, calls: int, /) -> None: ...  # the maximum of that, from 1 to 512
    def root_attributes(self) -> Attributes: ...
    def used_inodes(self) -> int: ...

    # Both raise OSError: EPROTOTYPE if owners are names that cannot be used, and (apply) ECANCELED
    # if it was stopped, and the server did not answer all calls in flight in time.
    def scan(
        self,
        *,
        body: bytes,
        cursor: bytes,
        cursor_path: bytes,
        continues: bool,  # a wide directory, of which the other version had read a part
        passed: array[int],  # the sorted keys of names in that part
        wants_keys: bool,
        counted: bool,
        last_try: bool,
        uid: int,
        gid: int,
        modes: bytes,
        excludes: bytes,
        snapshots: bytes,
        skip_links: bool,
        cross: bool,
        retain: bool,
        seconds: float,
        entries: int,
        changes: int,
        stop: bytes | bytearray,
        wide: int,
    ) -> ScanResult: ...
    def join(self, other: OpenShare, /) -> str | None: ...
    def apply(
        self,
        *,
        changes: bytes,
        verb: int,
        deny_limit: int,
        known: tuple[bytes, int, bytes, int, int],  # packed.known.pack_known
        handles: bytes,
        is_retry: bool,  # entries that are as they should become may have been changed by us
        stop: bytes | bytearray,
    ) -> ApplyResult: ...

# Ports of 0 are the usual one, and the port mapper's; uid and gid of -1 are the process's.
# `patience` is in seconds. `domain` is that of owners' names; "" if they must be numbers. With a
# handle as `root` the path is not used; `mount_server` is mountd's address, if it is another.
def mount(
    server: str,
    path: bytes,
    version: int,
    *,
    nfs_port: int = 0,
    mount_port: int = 0,
    mount_server: str | None = None,
    root: bytes = b"",
    uid: int = -1,
    gid: int = -1,
    patience: float = 60,
    domain: str = "",
) -> OpenShare: ...
def mounted(fd: int, /) -> tuple[Attributes, bytes]: ...
