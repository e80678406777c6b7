"""Guest programs: relocate --prelink through a mount. See `runtime` for what they are made of.

Nodes of v0.3 and v0.4 are a second mount and the server's own directory; the latter also says what
there is in the end.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

from tests.nfs.guest_programs.runtime import (
    EXPORT,
    KEEP_ATTRIBUTES,
    MOUNT,
    ROOT,
    STATE,
    calls,
    mount,
    report,
    serve,
    umount,
)
from tests.support.inprocess import Program
from tests.support.old_shares import old_place, put
from tests.support.prelinked import STEP, Site
from tests.support.program import Ended

SHORT = "hard,actimeo=3"  # what judges waits until the mount has forgotten what it saw: for 4 s
VOLUMES = ("changed", "deleted", "remade", "held")
NUMBERS = range(3)


def whole_way(version: str, backend: str) -> None:
    """Take one share from v0.3 to the end, and another one back."""
    serve(filesystem="ext4")  # which uses the numbers of inodes again at once
    call = Program(backend, STATE)
    for name in ("onward", "return"):
        _make(Site(EXPORT / name, call))
    mount(version, SHORT)
    node = mount(version, f"{SHORT},nosharecache", at=ROOT / "node")
    for name in ("onward", "return"):
        server, ours = Site(EXPORT / name, call), Site(MOUNT / name, call)
        report(f"{name}: link", _ended(ours.link()))
        time.sleep(3)  # directories that were made shortly before a pass are read in the survey
        report(f"{name}: link again", _ended(ours.link()))
        _see(ours)
        _live(Site(node / name, call), server, conflict=name == "onward")
        served = {volume: server.served_by_v03(volume) for volume in ("changed", "remade")}
        report(f"{name}: switch", _ended(ours.switch()))
        report(f"{name}: v0.4", _serves(server.served_by_v04, served))
        if name == "onward":
            _see(ours)
            beside = server.old("changed", 2)  # in a directory that the mount has seen
            late = put(beside.with_name(beside.name[:13] + 58 * "0"), b"")
            report("onward: refused", _ended(ours.drop()))
            late.unlink()
        report(f"{name}: perms", _ended(call.perms(ours.top)))
        report(f"{name}: drop", _ended(ours.drop()))
        report(f"{name}: v0.4 alone", _serves(server.served_by_v04, served))
        report(f"{name}: old names", _old_names(server))
        if name == "return":
            _open_by_v04(Site(node / name, call), "changed")
            report("return: back", _ended(ours.back()))
            report("return: v0.3", _serves(server.served_by_v03, served))
        report(f"{name}: kept", {s: len(server.kept(s)) for s in ("deleted-v03", "remade")})
    report("left by NFS", [str(path) for path in EXPORT.rglob(".nfs*")])
    report("left by us", [str(path) for path in EXPORT.rglob("*.archipmigrate")])


def _ended(ended: Ended) -> dict[str, Any]:
    return {"status": ended.status, "summary": ended.summary, "text": ended.out + ended.err}


def _make(site: Site) -> None:
    for directory in (site.blocks, site.maps):
        directory.mkdir(parents=True)
    for volume in VOLUMES:
        for number in NUMBERS:
            site.write(volume, number, f"{volume} {number}".encode() * 50)
        site.write_map(volume, NUMBERS)
        put(site.maps / old_place(f"archip_{volume}_lock"), b"", 0o700)
    time.sleep(STEP)


def _live(node: Site, other: Site, *, conflict: bool) -> None:
    """Do what two nodes of v0.3 do between phase 1 and its end.

    *node* has deleted objects open: one that it deletes itself, so that its client gives that a
    name of its own until it is closed; with *conflict* one that the *other* deletes, into which it
    goes on writing.
    """
    node.write("changed", 0, b"changed in place")
    node.write("changed", 3, b"a new block")
    node.write_map("changed", range(4))
    own = os.open(node.old("deleted", 1), os.O_RDWR)
    node.delete("deleted", NUMBERS)
    os.write(own, b"after it was deleted")
    os.fsync(own)  # what removes its last name comes later
    held = os.open(node.old("held", 1), os.O_WRONLY)
    other.delete("held", NUMBERS)
    other.delete("remade", NUMBERS)
    other.write("remade", 0, b"made again")
    other.write_map("remade", range(1))
    time.sleep(STEP)
    if conflict:
        os.write(held, b"by a node that had it open")
    os.close(held)
    os.close(own)


def _see(site: Site) -> None:
    """Have the mount keep what there is now, as anybody does who lists the share."""
    for path in site.top.rglob("*"):
        path.lstat()


def _serves(serve_volume: Any, wanted: dict[str, bytes]) -> bool:
    return {volume: serve_volume(volume) for volume in wanted} == wanted


def _old_names(site: Site) -> int:
    """Return how many blocks are at their old places."""
    return sum(path.relative_to(site.blocks) == old_place(path.name) for path in
               site.blocks.glob("??/??/??/archip_*"))  # fmt: skip


def _open_by_v04(node: Site, volume: str) -> None:
    """Rewrite the map of a volume, as v0.4 does when it opens it."""
    (path,) = node.maps.glob(f"??/??/??/archip_{volume}")
    path.write_bytes(b"AMF." + bytes(200))


def costs(version: str, tops: int, leaves: int) -> None:
    """Count the calls of a survey of blocks that have not changed, each in a directory of its own.

    As among millions of objects there are many directories in one of the second level.
    """
    serve()
    share = EXPORT / "share"
    for directory in ("blocks", "maps"):
        (share / directory).mkdir(parents=True)
    for top in range(tops):
        for leaf in range(leaves):
            digits = hashlib.sha256(b"%d %d" % (top, leaf)).hexdigest()
            name = f"archip_ab{top:02x}{leaf:02x}{digits[6:]}"
            put(share / "blocks" / old_place(name), b"data")
    time.sleep(2 * STEP)
    ours = Site(MOUNT / "share", Program("auto", STATE))
    mount(version, KEEP_ATTRIBUTES)
    ours.link()
    umount()
    # Directories that were made in less than SLACK before the pass began are read in the survey.
    time.sleep(3)
    mount(version, KEEP_ATTRIBUTES)
    ours.link()
    umount()
    mount(version, KEEP_ATTRIBUTES)
    # Of a new mount there is nothing to be forgotten.
    with mock.patch("archipmigrate.prelink.kind.cached_seconds", return_value=0), calls() as made:
        ended = ours.switch()
    report("survey", {**_ended(ended), "calls": made, "directories": _listed(share / "blocks")})


def _listed(blocks: Path) -> int:
    """Return how many directories are read: those of the first two levels."""
    return sum(1 for pattern in ("??", "??/??") for _ in blocks.glob(pattern))
