"""Undo of permissions, after the undo of `mapfiles` made old maps again: they go back, too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from archipmigrate.backend.python.statx import birth_time
from tests.support.inprocess import Program
from tests.support.map_shares import put_v1
from tests.support.program import attrs
from tests.support.situations import made

pytestmark = pytest.mark.privileged
VOLUMES = ("volume1", "volume2", "volume3")


@pytest.fixture
def tree(share: Path) -> Path:
    """A share whose maps are read by root only."""
    (share / "maps").mkdir(mode=0o700)
    put_v1(share / "maps", *VOLUMES)
    for path in files(share):
        path.chmod(0o600)
    return share


def undone_maps(program: Program, tree: Path) -> dict[bytes, tuple[int, int, int]]:
    """Give a share permissions, upgrade its maps, undo the latter; return what was before all."""
    before = attrs(tree)
    made(program.perms(tree).status == 0, "a run of perms")
    births = {identity(path) for path in files(tree)}
    ended = program("mapfiles", "--maps", tree / "maps")
    made(ended.status == 0, f"an upgrade: {ended.out}{ended.err}")
    made(program("undo").status == 0, "its undo")
    made(not births & {identity(path) for path in files(tree)}, "maps that are other files")
    return before


def identity(path: Path) -> tuple[int, int]:
    """Return inode, which may be used again at once, and time of birth."""
    fd = os.open(path, os.O_PATH)
    try:
        return path.stat().st_ino, birth_time(fd)
    finally:
        os.close(fd)


def files(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file()]


def test_maps_that_an_undo_made_again_go_back(program: Program, tree: Path) -> None:
    before = undone_maps(program, tree)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"], ended.summary["vanished"]) == (0, 0, 0)
    after = attrs(tree)
    assert {path: after[path] for path in before} == before
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files(tree))


@pytest.mark.parametrize("how", ["written", "exchanged"])
def test_map_that_somebody_else_wrote_since_is_left_and_listed(
    program: Program, tree: Path, how: str
) -> None:
    before = undone_maps(program, tree)
    theirs = files(tree)[0]
    content = theirs.read_bytes()
    if how == "exchanged":
        found = theirs.stat()
        theirs.unlink()
        theirs.write_bytes(content)
        os.chown(theirs, found.st_uid, found.st_gid)
        theirs.chmod(stat.S_IMODE(found.st_mode))
    else:
        theirs.write_bytes(content[::-1])
    now = theirs.stat()
    ended = program("undo", "--json")
    assert ended.status == 3
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert failure["path"] == str(theirs.relative_to(tree))
    assert (theirs.stat().st_mode, theirs.stat().st_gid) == (now.st_mode, now.st_gid)
    after = attrs(tree)
    path = os.fsencode(theirs.relative_to(tree))
    assert {name: after[name] for name in before if name != path} == {
        name: before[name] for name in before if name != path
    }
