"""A tree with an entry of each kind whose change takes other calls, or loses other bits."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.program import GID


def put(path: Path, mode: int, gid: int = 0, *, uid: int = 0) -> Path:
    if not path.exists():
        path.write_bytes(path.name.encode())
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def odd_tree(share: Path) -> None:
    """Make an entry of each kind whose change takes other calls, or loses other bits."""
    for name in ("a", "b", "c"):
        (share / name).mkdir()
    put(share / "a" / "set_uid", 0o4755, uid=1)
    put(share / "a" / "set_gid", 0o2755, 7)
    put(share / "a" / "both", 0o6755)
    put(share / "a" / "locking", 0o2644, 8)
    put(share / "a" / "right_group", 0o600, GID)
    put(share / "a" / "right_group_set_uid", 0o4711, GID)
    put(share / "a" / "right_bits", 0o660)
    put(share / "c" / "right", 0o4660, GID)
    os.link(put(share / "a" / "linked", 0o4640), share / "b" / "linked")
    put(share / "a", 0o750)
    put(share / "b", 0o4755)
    put(share / "c", 0o2770, GID)
