"""Guest programs: relocate through a mount. See `runtime` for what they are made of."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.nfs.guest_programs.mount import ended
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    KEEP_ATTRIBUTES,
    MOUNT,
    calls,
    mount,
    report,
    serve,
)
from tests.support.old_shares import (
    Entry,
    entries,
    make_old_share,
    moved_paths,
    new_place,
    old_place,
    pithos_place,
    put,
)

SHARE = EXPORT / "share"


def relocate(share: Path, *more: object) -> dict[str, Any]:
    """Relocate a share, and return how that ended."""
    words = ("--v03-stopped", "--blocks", share / "blocks", "--maps", share / "maps")
    return ended("relocate", "--json", "--no-progress", *words, *more)


def kinds(version: str) -> None:
    """Relocate a share with files of all kinds, and undo that."""
    serve()
    make_old_share(SHARE)
    before = entries(SHARE)
    mount(version)
    report("relocate", relocate(MOUNT / "share"))
    after = entries(SHARE)
    due = {new: before.get(new, before[old]) for old, new in moved_paths(before).items()}
    rest = {path: was for path, was in before.items() if path not in moved_paths(before)}
    report("moved", after == {**rest, **due})
    report("undo", ended("undo", "--json", "--no-progress"))
    report("as before", _without_inodes(entries(SHARE)) == _without_inodes(before))


def copies(version: str) -> None:
    """Move objects from a local tree of Pithos to a share by copying them, and undo that."""
    serve()
    make_old_share(SHARE, odd=False)
    tree = Path("/root/pithos")
    for number in range(3):
        name = hashlib.sha256(b"of Pithos %d" % number).hexdigest()
        path = put(tree / pithos_place(name), b"data" * 3000, 0o640)
        os.truncate(path, 1 << 20)
    before, own = entries(SHARE), _content(tree)
    mount(version)
    words = ("--pithos-blocks", tree, "--remove-source")
    report("refused", relocate(MOUNT / "share", *words))
    report("untouched", (entries(SHARE), _content(tree)) == (before, own))
    report("relocate", relocate(MOUNT / "share", *words, "--copy"))
    names = [path.name for path in tree.rglob("*") if path.is_file()]
    report("left", names)
    report("moved", {k: v for k, v in _content(SHARE / "blocks").items() if k in own} == own)
    report("undo", ended("undo", "--json", "--no-progress"))
    report("as before", (_without_inodes(entries(SHARE)), _content(tree))
           == (_without_inodes(before), own))  # fmt: skip


def _content(top: Path) -> dict[str, bytes]:
    files = (path for path in top.rglob("*") if path.is_file())
    return {str(path.relative_to(top)): path.read_bytes() for path in files}


def _without_inodes(found: dict[str, Entry]) -> list[tuple[str, int, bytes]]:
    return sorted((path, entry.mode, entry.content) for path, entry in found.items())


def costs(version: str, names: list[str]) -> None:
    """Count the calls of a run that moves these blocks.

    With one lane: the client asks now and then once more for a directory that another one changes.
    """
    serve()
    make_old_share(SHARE, odd=False)
    _put_blocks(names)
    mount(version, KEEP_ATTRIBUTES)
    with calls() as made:
        done = relocate(MOUNT / "share", "--jobs", 1)
    report("relocate", {**done, "calls": made})


def seen_before(version: str, names: list[str], late: list[str]) -> None:
    """Have the client know all directories, make more objects by another one, and relocate."""
    serve()
    make_old_share(SHARE, odd=False)
    _put_blocks(names)
    mount(version, KEEP_ATTRIBUTES)
    report("before", relocate(MOUNT / "share", "-n"))
    _put_blocks(late)
    leaf = MOUNT / "share/blocks" / old_place(late[0]).parent
    listing = os.open(f"{leaf}/.", os.O_RDONLY | os.O_DIRECTORY)  # see native/core/listing.h
    report("shown", late[0] in os.listdir(listing))
    report("relocate", relocate(MOUNT / "share"))
    report("moved", all((SHARE / "blocks" / new_place(name)).exists() for name in late))


def _put_blocks(names: list[str]) -> None:
    for name in names:
        put(SHARE / "blocks" / old_place(name), b"")
