"""What one file below the maps or the lock directory is: a row for the journal, and no verdict.

Its name and its directory say which map, block or lock it would be. Of a map the head is read, of
everything else nothing but its status, except where a map may be called like a lock's part.
"""

from __future__ import annotations

import os
import stat

from ...layout.names import Name, Role, parse_map_name, parse_name
from ...layout.placement import LEVELS, Placement, sha256_dir, v03_dir
from ...tree.files import open_file
from ..blocker.volume_files import NOT_REGULAR, KnownSizes, read_map_head
from ..format.head import invalid
from ..format.placement import map_placement_of
from ..journal.tables import LOCKS, FoundFile
from .packed_head import pack_head

MOST_HOLDER = 512  # bytes of a lock's content, padded as direct mode does


def found_file(
    directory: bytes, fd: int, name: bytes, found: os.stat_result, sizes: KnownSizes
) -> FoundFile:
    """Return the row of a file in a directory that is open as *fd*. Raises OSError."""
    parsed = _parse(directory, fd, name, found)
    path = join(directory, name)
    if directory == LOCKS and parsed.role not in (Role.LOCK, Role.LOCK_PART):
        return foreign(path, "not a lock")
    placement = _placement(directory, name, parsed)
    is_elsewhere = placement in (Placement.ELSEWHERE, Placement.LOCKS)
    is_odd = parsed.role in (Role.LOCK_PART, Role.OWN_PART, Role.FOREIGN)
    is_regular = stat.S_ISREG(found.st_mode)
    content = ""
    if parsed.role is Role.MAP:
        content = pack_head(read_map_head(fd, name, sizes) if is_regular else invalid(NOT_REGULAR))
    return FoundFile(
        parsed.volume,
        parsed.role,
        parsed.prefixed,
        parsed.number,
        placement,
        path if is_elsewhere or is_odd else b"",
        found.st_ino,
        found.st_size if is_regular else -1,
        content,
    )


def foreign(path: bytes, why: str) -> FoundFile:
    """Return the row of a file that belongs to no volume, to be listed with the reason."""
    return FoundFile(b"", Role.FOREIGN, False, 0, Placement.ELSEWHERE, path, 0, 0, "", why)


def is_layout_directory(path: bytes) -> bool:
    """Whether v0.4, or others, may look for files in a directory of this name."""
    names = path.split(b"/")
    return len(names) <= LEVELS and all(len(name) == 2 for name in names)


def is_place_of_map(directory: bytes, name: bytes) -> bool:
    """Whether v0.4, v0.3 or Pithos would look for a map of this name in this directory."""
    return (
        directory.count(b"/") == LEVELS - 1
        and parse_name(name).role is Role.MAP
        and map_placement_of(name, tuple(directory.split(b"/"))) is not Placement.ELSEWHERE
    )


def is_lock_of(fd: int, name: bytes, found: os.stat_result, holders: frozenset[bytes]) -> bool:
    """Whether a file is a lock, or the part of one, that one of *holders* made.

    A part may be empty still: then its name decides. Raises OSError.
    """
    parsed = parse_name(name)
    if parsed.role not in (Role.LOCK, Role.LOCK_PART):
        return False
    content = _small_content(fd, name, found)
    is_part = parsed.role is Role.LOCK_PART and parsed.holder in holders
    return content in holders or (is_part and not content)


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory; without a name, of the directory itself."""
    if not name:
        return directory
    return directory + b"/" + name if directory else name


def _parse(directory: bytes, fd: int, name: bytes, found: os.stat_result) -> Name:
    """Take a name apart.

    A map may have the name of a part: of a lock's, into which `filed` writes its string; or of a
    file's, which lies beside the file that it becomes, and never where a map of its own name would.
    """
    parsed = parse_name(name)
    if directory == LOCKS or parsed.role not in (Role.LOCK_PART, Role.OWN_PART):
        return parsed
    if map_placement_of(name, tuple(directory.split(b"/"))) is Placement.ELSEWHERE:
        return parsed
    if parsed.role is Role.LOCK_PART:
        content = _small_content(fd, name, found)
        if content in (b"", parsed.holder):
            return parsed
    return parse_map_name(name)


def _placement(directory: bytes, name: bytes, parsed: Name) -> Placement:
    if directory == LOCKS:
        return Placement.LOCKS
    path = tuple(directory.split(b"/"))
    if parsed.role is Role.MAP:
        return map_placement_of(name, path)
    if path == sha256_dir(name):
        return Placement.V04
    # v0.3 keeps a lock beside its map.
    if parsed.role is Role.LOCK and path == v03_dir(name):
        return Placement.V03
    return Placement.ELSEWHERE


def _small_content(fd: int, name: bytes, found: os.stat_result) -> bytes | None:
    """Return the content of a file, without NULs at the end; None if it is too large for a lock."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_HOLDER:
        return None
    file = open_file(fd, name)
    try:
        return os.pread(file, MOST_HOLDER, 0).rstrip(b"\0")
    finally:
        os.close(file)
