from array import array
from typing import NewType, TypeAlias

# The C module (native/nfs_module.c). Absent where there was no compiler.

# An open share; it is closed when nobody has it any more.
Opened = NewType("Opened", object)

# Ports of 0 are the usual one, and the port mapper's; uid and gid of -1 are the process's.
# `patience` is in seconds. `domain` is that of owners' names; "" if they are to be numbers. With a
# handle as `root` the path is not used; `mount_server` is mountd's address, if it is another.
def mount(
    server: str,
    path: bytes,
    version: int,
    nfs_port: int,
    mount_port: int,
    uid: int,
    gid: int,
    patience: float,
    domain: str,
    root: bytes = b"",
    mount_server: str | None = None,
    /,
) -> Opened: ...

# Inode, mode, uid, gid, ctime (ns).
Attributes: TypeAlias = tuple[int, int, int, int, int]

def root_attributes(share: Opened, /) -> Attributes: ...
def mounted(fd: int, /) -> tuple[Attributes, bytes]: ...
def root_inode(share: Opened, /) -> int: ...
def used_inodes(share: Opened, /) -> int: ...
def version(share: Opened, /) -> int: ...
def unknown_owner(share: Opened, /) -> bytes: ...
def calls(share: Opened, /) -> list[int]: ...

# How many calls may be in flight: at most (from 1 to 512), and now, which may be fewer.
def set_bound(share: Opened, calls: int, /) -> None: ...
def bound(share: Opened, /) -> int: ...

# Both verbs raise OSError; EPROTOTYPE if owners are names that do not serve. apply: ECANCELED if it
# was stopped, and what was under way was not answered in time.
def scan(  # one argument a field of Unit, policy, options and limits
    share: Opened,
    body: bytes,
    cursor: bytes,
    cursor_path: bytes,
    goes_on: bool,  # a wide directory, of which another version had read a part
    passed: array[int],  # the sorted keys of names in that part
    notes_names: bool,
    counted: bool,
    last_try: bool,
    gid: int,
    directory_bits: int,
    file_bits: int,
    excludes: bytes,
    skip_links: bool,
    cross: bool,
    hold: bool,
    seconds: float,
    entries: int,
    changes: int,
    stop: bytes | bytearray,
    wide: int,
    /,
) -> tuple[
    dict[str, int],
    bytes,
    int,
    tuple[bytes, int] | None,
    tuple[bytes, int, bytes] | None,
    list[tuple[bytes, int, bool]],
    list[tuple[bytes, str, int]],
    list[tuple[int, int, int]],
    bytes,  # what apply is to have: handles, and when the entries changed last
    bytes,  # u64 keys of the names that were read by a cursor
]: ...
def apply(
    share: Opened,
    changes: bytes,
    verb: int,
    deny_limit: int,
    held: bytes,
    again: bool,
    stop: bytes | bytearray,
    /,
) -> tuple[bytes, list[tuple[int, str, int, str]], list[tuple[int, int]], int]: ...
