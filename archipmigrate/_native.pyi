from array import array

# The C module (native/module.c). Absent where there was no compiler.

# Which of openat2, fchmodat2, statx and listxattrat the running kernel has; what is set False is
# done without.
FEATURES: dict[str, bool]

def scan(  # one argument a field of Unit, policy, options and limits
    root: int,
    body: bytes,
    cursor: int,
    cursor_path: bytes,
    cursor_inode: int,
    counted: bool,
    last_try: bool,
    gid: int,
    directory_bits: int,
    file_bits: int,
    excludes: bytes,
    skip_links: bool,
    cross: bool,
    xattrs: bool,
    seconds: float,
    entries: int,
    changes: int,
    stop: bytes | bytearray,
    descriptors: int,
    hold: int,
    wide: int,
    chunks: int,
    remote: bool,
    /,
) -> tuple[
    dict[str, int],
    bytes,
    int,
    tuple[bytes, int] | None,
    list[tuple[bytes, int]],
    tuple[int, bytes, int] | None,
    list[tuple[bytes, int, bool]],
    list[tuple[bytes, str, int]],
    list[tuple[int, int, int]],
    list[tuple[bytes, str]],
    bytearray | None,  # of C ints: a directory frame's descriptor, the caller's to close, or -1
]: ...
def apply(
    root: int,
    changes: bytes,
    verb: int,
    deny_limit: int,
    born_before: int,
    descriptors: int,
    held: array[int],  # as scan gave it; what was taken over is -1 afterwards
    stop: bytes | bytearray,
    /,
) -> tuple[bytes, list[tuple[int, str, int, str]], list[tuple[int, int]], int]: ...

# Entries of a map of version 0 or 1 (ValueError: not whole) as v2 entries.
def convert_entries(version: int, entries: bytes, /) -> bytes: ...

# The index of the first v2 entry whose name is too long, or -1.
def check_entries(block: bytes, /) -> int: ...
