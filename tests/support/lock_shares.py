"""Small shares with a lock of each kind that `locks` knows, and what must come back of each."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tests.support.map_shares import OTHER, PREFIX, put, put_lock, put_stale, put_v03_lock, put_v1

OLD = 10**18 + 7  # ns: long ago, and no whole second
V03 = ("foobar", "deleted-one", "odd-size")
HELD = "vol-held"
STALE = "vol-stale"
YOUNG = "vol-young"


@dataclass(frozen=True, slots=True)
class LockFile:
    """What undo must give back of a file."""

    mode: int
    uid: int
    gid: int
    content: bytes
    mtime: int


def lock_files(top: Path) -> dict[str, LockFile]:
    """Return the regular files below a share, by path."""
    found = {}
    for path in top.rglob("*"):
        s = path.lstat()
        if stat.S_ISREG(s.st_mode):
            mode = stat.S_IMODE(s.st_mode)
            file = LockFile(mode, s.st_uid, s.st_gid, path.read_bytes(), s.st_mtime_ns)
            found[str(path.relative_to(top))] = file
    return found


def aged(path: Path, mode: int | None = None, *, uid: int = 0, gid: int = 0) -> Path:
    """Make a file look old; give it a mode and an owner."""
    os.chown(path, uid, gid)
    if mode is not None:
        path.chmod(mode)
    os.utime(path, ns=(OLD, OLD))
    return path


def make_locks(top: Path, *, apart: bool = True) -> set[str]:
    """Make maps, and a lock directory if locks lie *apart*; return what `--clean` may remove."""
    maps, locks = top / "maps", top / "locks" if apart else None
    for directory in filter(None, (maps, locks)):
        directory.mkdir(parents=True, mode=0o755)
    put_v1(maps, "foobar")
    gone = [aged(put_v03_lock(maps, volume), 0o770, gid=7) for volume in V03]
    put_lock(maps, locks, HELD)
    gone.append(aged(put_stale(maps, locks, STALE), 0o640, uid=5, gid=6))
    put_stale(maps, locks, YOUNG)
    _make_odd(maps, locks)
    return {str(path.relative_to(top)) for path in gone}


def _make_odd(maps: Path, locks: Path | None) -> None:
    put(maps, f"{PREFIX}misplaced_lock", OTHER.encode(), place=Path("aa/bb"))
    put(maps, f"{PREFIX}filled_lock", OTHER.encode(), place=Path("fi/ll/ed"), mode=0o700)
    aged(put(maps, f"{PREFIX}shut-up_lock", place=Path("sh/ut/-u"), mode=0o600))
    if locks:
        (locks / "notes").write_text("not a lock")
        (locks / "linked_lock").symlink_to("/etc/passwd")
