"""Small shares as v0.3 leaves them, with an object of each kind that relocate knows.

blocks/  plain blocks (one of them empty), one that has both names, one that was copied to its
         new place, one that differs there, strays of Pithos' names
maps/    v1 maps that name those blocks, a lock, a placeholder, a name that is too short
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.map_shares import v1

VOLUMES = ("foobar", "ab..cdef")
PLAIN = 4  # blocks of `foobar` that are moved, the last one empty
DIGEST = hashlib.sha256(b"of Pithos").hexdigest()


def block_name(volume: str, number: int) -> str:
    """Return what v0.3 calls an object."""
    return "archip_" + hashlib.sha256(f"archip_{volume}_{number}".encode()).hexdigest()


def old_place(name: str) -> Path:
    """Return where v0.3 puts a name; `..` in it is taken literally."""
    return Path(os.path.normpath(f"{name[7:9]}/{name[9:11]}/{name[11:13]}")) / name


def new_place(name: str) -> Path:
    """Return where v0.4 looks for a name."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    return Path(digits[:2], digits[2:4], digits[4:6], name)


def pithos_place(name: str) -> Path:
    """Return where Pithos keeps an object, and v0.3 looks for any name first of all."""
    return Path(name[:2], name[2:4], name[4:6], name)


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file, in directories as v0.3 makes them."""
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(0o700)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: what undo must give back."""

    mode: int
    uid: int
    gid: int
    content: bytes
    inode: int
    mtime: int


def entries(top: Path) -> dict[str, Entry]:
    """Return the regular files below blocks and maps, by path."""
    found = {}
    for name in ("blocks", "maps"):
        for path in (top / name).rglob("*"):
            s = path.lstat()
            if stat.S_ISREG(s.st_mode):
                found[str(path.relative_to(top))] = Entry(
                    stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, path.read_bytes(), s.st_ino,
                    s.st_mtime_ns)  # fmt: skip
    return found


def make_old_share(top: Path, *, odd: bool = True) -> None:
    """Make a share; with *odd*, also what is at both places, and what is listed."""
    blocks, maps = top / "blocks", top / "maps"
    for directory in (blocks, maps):
        directory.mkdir(0o755, parents=True)
    names = [block_name("foobar", number) for number in range(PLAIN)]
    for number, name in enumerate(names):
        content = b"" if number == PLAIN - 1 else f"block {number}".encode() * 100
        put(blocks / old_place(name), content)
    if odd:
        names += _at_both_places(blocks)
        put(blocks / f"{DIGEST[7:9]}/{DIGEST[9:11]}/{DIGEST[11:13]}" / DIGEST, b"")
        put(maps / old_place("archip_never-made"), b"")
        put(maps / "sh/rt/xy/archip_shrt", v1([]))
    for volume in VOLUMES:
        map_entries = [(1, bytes.fromhex(name[7:])) for name in names if volume == "foobar"]
        put(maps / old_place(f"archip_{volume}"), v1(map_entries))
        if odd:
            put(maps / old_place(f"archip_{volume}_lock"), b"", 0o700)


def _at_both_places(blocks: Path) -> list[str]:
    """Make a block with both names, one that is there twice, and one that differs."""
    linked, merged, conflict = (block_name("both", number) for number in range(3))
    for name in (linked, merged, conflict):
        put(blocks / old_place(name), b"at both places " + name[:9].encode())
        put(blocks / new_place(name), b"").unlink()
    (blocks / new_place(linked)).hardlink_to(blocks / old_place(linked))
    put(blocks / new_place(merged), (blocks / old_place(merged)).read_bytes())
    os.utime(blocks / old_place(merged), ns=(10**18, 10**18 + 7))
    (blocks / old_place(merged)).chmod(0o640)
    put(blocks / new_place(conflict), b"newer")
    return [linked, merged, conflict]


def moved_paths(before: Mapping[str, Entry]) -> dict[str, str]:
    """Return the new paths of what relocate moves, merges or unlinks, by the old ones."""
    moved = {}
    for path in before:
        root, _, rest = path.partition("/")
        name = os.path.basename(path)
        is_block = root == "blocks" and name.startswith("archip_")
        is_map = root == "maps" and name in {f"archip_{volume}" for volume in VOLUMES}
        new = f"{root}/{new_place(name)}"
        if (is_block or is_map) and path != new and name != block_name("both", 2):
            assert rest == str(old_place(name))
            moved[path] = new
    return moved
