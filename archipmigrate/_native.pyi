from array import array
from typing import NamedTuple

# The C module (native/python/native_module.c). Absent where there was no compiler.

# Which of openat2, fchmodat2, statx and listxattrat the running kernel has; what is set False is
# done without.
FEATURES: dict[str, bool]

class ScanResult(NamedTuple):
    tally: dict[str, int]  # the fields of model.Tally
    changes: bytes  # packed; empty if there are none
    change_count: int
    rest: tuple[bytes, int] | None  # packed groups, number of names
    chunks: list[tuple[bytes, int]]  # of a wide directory
    wide: tuple[int, bytes, int] | None  # descriptor (the caller's to close), path, inode
    again: list[tuple[bytes, int, bool]]  # packed groups, number of names, are they counted
    failures: list[tuple[bytes, str, int]]  # path, operation, errno
    links: list[tuple[int, int, int]]  # offset of the change, device, inode
    notices: list[tuple[bytes, str]]  # path, kind
    open_dirs: bytearray | None  # C ints: a directory frame's descriptor (the caller's), or -1
    deferred: tuple[bytes, int] | None  # packed groups, number of directories to be changed last

class ApplyResult(NamedTuple):
    outcomes: bytes  # one byte a change: model.Outcome
    failures: list[tuple[int, str, int, str]]  # index, operation, errno, note
    stamps: list[tuple[int, int]]  # index, ctime in ns
    first_ctime: int  # ns; 0: nothing was changed
    came: list[tuple[int, int, int, int]]  # index, mode, uid (NO_ID: owners stay), gid
    identity_kind: int  # model.IdentityKind
    identities: bytes  # u64 a change; empty if they are of no kind
    mismatch: bool
    kept: int

# Raises ValueError if the unit or an argument is malformed, MemoryError.
def scan(
    *,
    root: int,
    body: bytes,
    cursor: int,  # taken over; -1: none
    cursor_path: bytes,
    cursor_inode: int,
    counted: bool,
    last_try: bool,
    uid: int,  # NO_ID: owners stay as they are
    gid: int,
    modes: bytes,  # `policy.packed_modes`
    excludes: bytes,  # u8 length, name; for each
    snapshots: bytes,  # likewise
    skip_links: bool,
    cross: bool,
    xattrs: bool,
    remote: bool,
    never_device: int,
    never_inode: int,  # 0: there is no such directory
    seconds: float,
    entries: int,
    changes: int,
    stop: bytes | bytearray,
    descriptors: int,
    most_open_dirs: int,
    wide: int,
    chunks: int,
) -> ScanResult: ...

# Raises ValueError if the changes or an argument are malformed: nothing is changed. MemoryError:
# some may have been.
def apply(
    *,
    root: int,
    changes: bytes,
    verb: int,  # model.Verb
    deny_limit: int,
    known: tuple[bytes, int, bytes, int, int],  # packed.known.pack_known
    kept: int,  # as the last call gave it; 0 at first
    descriptors: int,
    open_dirs: array[int],  # as scan gave it; what was taken over is -1 afterwards
    stop: bytes | bytearray,
) -> ApplyResult: ...

# Packed groups of a survey; what is known of the directories of each root (relocate.roots.LEAVES
# bytes, zeroed at first; it is filled in). Returns packed moves, their number, how many new
# directories they need in each root, maps (name, directory), files that are current, those of
# Pithos; packed groups that the limits left over, and those left to the caller. Raises ValueError,
# MemoryError, OSError.
def survey_objects(
    *,
    blocks: int,
    maps: int,
    blocks_leaves: bytearray,
    maps_leaves: bytearray,
    body: bytes,
    seconds: float,
    entries: int,
    moves: int,
    wide: int,
    stop: bytes | bytearray,
) -> tuple[bytes, int, tuple[int, int], list[tuple[bytes, bytes]], int, int, bytes, bytes]: ...

# Of whole entries of a v1 map (33 bytes each), but for those of zeros: how many of the objects are,
# below a root, where v0.4 looks, and the indices of the others. MemoryError.
def check_objects(root: int, entries: bytes, /) -> tuple[int, list[int]]: ...

# Packed moves (packed.moves). A root is (fd, umask, uid or -1, gid or -1, whether objects are
# renamed there, what is known of its directories: relocate.native.PARENTS bytes, zeroed at first).
# Returns an outcome a move (model.Outcome; 255: left to the caller), how many of each root are
# CHANGED, and the errno of the one that FAILED. Nothing is synced. Raises ValueError if they are
# malformed: nothing is moved. MemoryError.
def move_objects(
    *,
    blocks: tuple[int, int, int, int, bool, bytearray],
    maps: tuple[int, int, int, int, bool, bytearray],
    moves: bytes,
    back: bool,
    deny_limit: int,
    stop: bytes | bytearray,
) -> tuple[bytes, tuple[int, int], int]: ...

# Entries of a map of version 0 or 1 (ValueError: not whole) as v2 entries.
def convert_entries(version: int, entries: bytes, /) -> bytes: ...

# The index of the first v2 entry whose name is too long, or -1.
def check_entries(block: bytes, /) -> int: ...

# Packed changes, and one byte a change that is not 0 for those that are chosen. These three raise
# ValueError if the changes are malformed, or of another number; MemoryError.

# The changes, those that are not chosen with Flag.DROPPED; how many are chosen, and how many
# directories among them.
def drop_others(changes: bytes, chosen: bytes, /) -> tuple[bytes, int, int]: ...

# One byte a change: 1 for those that are chosen and of some inodes (u64 little-endian, ascending).
def with_inodes(changes: bytes, chosen: bytes, inodes: bytes, /) -> bytes: ...

# The fields of `packed.changes.Change` of those that are chosen.
def read_chosen(
    changes: bytes, chosen: bytes, /
) -> list[tuple[int, int, bytes, bool, int, int, int, int, int, int, int, int, int, int, int]]: ...

# Packed groups of a survey of maps, each a directory to walk whole. Returns the plain files, as
# `maps.journal.tables.put_plain_files` takes them; how many directories were read; packed groups
# that the limits left over, and those left to the caller. Raises ValueError, MemoryError, OSError.
def survey_maps(
    *,
    root: int,
    body: bytes,
    seconds: float,
    entries: int,
    wide: int,
    stop: bytes | bytearray,
) -> tuple[list[tuple[bytes, int, int, int, int, int, int, str]], int, bytes, bytes]: ...

# Files of maps (maps.blocker.files): of NewFile, PartLink or Leaving. A root is (fd, uid or -1, gid
# or -1). Return an errno each, or 0, and make_files an inode, too. Raise ValueError if a directory
# or a name could lead elsewhere: nothing is done. MemoryError.
def make_files(
    root: tuple[int, int, int], files: tuple[tuple[bytes, bytes, bytes], ...], named: bool, /
) -> list[tuple[int, int]]: ...
def link_files(
    root: tuple[int, int, int],
    links: tuple[tuple[bytes, bytes, bytes, int], ...],
    durable: bool,
    /,
) -> list[int]: ...
def remove_files(
    root: tuple[int, int, int],
    files: tuple[tuple[bytes, bytes, int, int, int, bytes | None], ...],
    durable: bool,
    /,
) -> list[int]: ...
