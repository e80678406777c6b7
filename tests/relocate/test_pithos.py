"""What lies in Pithos' own trees is copied, or moved, to where v0.4 looks; `--pithos-migrate`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.map_shares import v1
from tests.support.old_shares import (
    block_name,
    entries,
    make_old_share,
    new_place,
    old_place,
    pithos_place,
    put,
)
from tests.support.program import Ended, need

pytestmark = pytest.mark.privileged
GOLDEN = Path(__file__).parents[1] / "golden" / "v03"
DIGESTS = [hashlib.sha256(b"of Pithos %d" % number).hexdigest() for number in range(4)]
PLAIN, HERE, MIGRATED, CONFLICT = DIGESTS


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A share, and Pithos' own trees in `pithos`."""
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    for digest in DIGESTS:
        put(top / "pithos/data" / pithos_place(digest), digest.encode() * 9, 0o640)
    put(top / "blocks" / pithos_place(HERE), HERE.encode() * 9)
    put(top / "blocks" / new_place(MIGRATED), MIGRATED.encode() * 9)
    put(top / "blocks" / pithos_place(CONFLICT), b"another one")
    only_there, also_there, differs = (block_name("foobar", number) for number in (7, 0, 1))
    put(top / "pithos/data" / pithos_place(only_there), b"v0.3 finds it here")
    shutil.copy(top / "blocks" / old_place(also_there),
                put(top / "pithos/data" / pithos_place(also_there), b""))  # fmt: skip
    put(top / "pithos/data" / pithos_place(differs), b"v0.3 serves this one")
    put(top / "pithos/data" / "README", b"of Pithos")
    put(top / "pithos/maps" / pithos_place(PLAIN), b"a v0 map of Pithos")
    put(top / "pithos/maps" / pithos_place("archip_imported"), v1([]))
    return top


def relocate(program: Program, top: Path, *words: object) -> Ended:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    trees = ("--pithos-blocks", top / "pithos/data", "--pithos-maps", top / "pithos/maps")
    return program("relocate", "--json", *place, *trees, *words)


def classes(ended: Ended) -> dict[str, int]:
    return {name: n for name, n in ended.summary["classes"].items() if n}


def tree(top: Path) -> dict[str, tuple[bytes, int, int]]:
    files = (path for path in (top / "pithos").rglob("*") if path.is_file())
    return {
        str(path.relative_to(top)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
    }


CLASSES = {
    "moved_blocks": 3, "moved_maps": 2, "pithos_copied": 4, "pithos_here": 3, "pithos": 2,
    "current": 1, "foreign": 1, "conflict": 3, "missing": 0,
}  # fmt: skip


def due(classes: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in classes.items() if n}


def test_trees_of_pithos_are_copied_and_stay_as_they_are(program: Program, top: Path) -> None:
    before, own = entries(top), tree(top)
    dry = relocate(program, top, "-n")
    ended = relocate(program, top, "--v03-stopped")
    assert ended.status == 3, ended.err  # the conflicts
    assert classes(ended) == classes(dry) == due(CLASSES)
    assert tree(top) == own
    after = entries(top)
    copied = f"blocks/{pithos_place(PLAIN)}"
    assert after[copied].content == PLAIN.encode() * 9
    assert after[copied].inode not in {inode for _, inode, _ in own.values()}
    assert after[f"blocks/{new_place(block_name('foobar', 7))}"].content == b"v0.3 finds it here"
    assert after[f"maps/{pithos_place(PLAIN)}"].content == b"a v0 map of Pithos"
    assert after[f"maps/{new_place('archip_imported')}"].content == v1([])
    assert f"blocks/{pithos_place(MIGRATED)}" not in after
    differs = f"blocks/{old_place(block_name('foobar', 1))}"  # not what v0.3 served
    assert after[differs] == before[differs]
    assert all(s.st_nlink == 1 for s in map(os.stat, (top / path for path in after)))
    again = relocate(program, top, "--v03-stopped")
    assert again.summary["changed"] == 0
    assert program("undo", ended.summary["run"]).status == 0
    assert (entries(top), tree(top)) == (before, own)


def test_trees_of_pithos_are_moved_on_request(program: Program, top: Path) -> None:
    before, own = entries(top), tree(top)
    ended = relocate(program, top, "--v03-stopped", "--remove-source")
    moved = CLASSES | {"pithos_copied": 0, "pithos_moved": 5, "pithos_here": 2}
    assert classes(ended) == due(moved), ended.out
    left = {os.path.basename(path) for path in tree(top)}
    assert left == {
        "README", MIGRATED, CONFLICT, block_name("foobar", 0), block_name("foobar", 1)
    }  # fmt: skip
    inode = own[f"pithos/data/{pithos_place(PLAIN)}"][1]
    assert entries(top)[f"blocks/{pithos_place(PLAIN)}"].inode == inode
    assert program("undo").status == 0
    assert entries(top) == before
    merged = f"pithos/data/{pithos_place(HERE)}"  # a copy of what it was merged with
    back = tree(top)
    assert back[merged][0] == own[merged][0]
    assert back | {merged: own[merged]} == own


def test_file_that_pithos_and_the_blocker_share_is_a_conflict(program: Program, top: Path) -> None:
    here = top / "blocks" / pithos_place(HERE)
    here.unlink()
    here.hardlink_to(top / "pithos/data" / pithos_place(HERE))
    ended = relocate(program, top, "--v03-stopped")
    reasons = [o["reason"] for o in ended.objects if o.get("class") == "conflict"]
    assert any("the same file under another name" in reason for reason in reasons)
    assert here.stat().st_nlink == 2


def test_copy_that_was_written_to_stays_when_the_run_is_undone(program: Program, top: Path) -> None:
    relocate(program, top, "--v03-stopped")
    copy = top / "blocks" / pithos_place(PLAIN)
    copy.write_bytes(b"written by v0.4")
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    assert copy.read_bytes() == b"written by v0.4"


@pytest.mark.parametrize("where", ["blocks", ".", "blocks/ab", "nowhere", ""])
def test_tree_that_is_no_tree_of_its_own_is_refused(
    program: Program, top: Path, where: str
) -> None:
    (top / "blocks/ab").mkdir()
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    ended = program("relocate", *place, "--pithos-blocks", where and top / where)
    assert ended.status in {1, 2}
    assert "ithos" in ended.err


def test_remove_source_needs_a_tree(program: Program, top: Path) -> None:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    ended = program("relocate", *place, "--remove-source")
    assert ended.status == 2


def test_migration_leaves_nothing_that_v04_with_pithos_migrate_refuses(
    program: Program, tmp_path: Path
) -> None:
    """Names and what v0.4.4 did with each: pithos-migrate.answers.txt."""
    top = tmp_path / "share"
    top.mkdir()
    with tarfile.open(GOLDEN / "pithos-migrate.before.tar.xz") as archive:
        archive.extractall(top, filter="fully_trusted")
    names = json.loads((GOLDEN / "pithos-migrate.names.json").read_text())
    before = entries(top)
    blocks = top / "blocks"
    place = ("--blocks", blocks, "--maps", top / "maps", "--v03-stopped")
    ended = program("relocate", "--json", "--pithos-migrate", *place)
    listed = {os.path.basename(o["path"]): o["class"] for o in ended.objects if "class" in o}
    assert ended.status == 3
    # What stays needs a decision, and says so: no other name has two places, or is a link.
    assert {name for name, kind in listed.items() if kind in {"conflict", "outside"}} == {
        names["otherdiff"], names["deleteboth"], names["symlink"]
    }  # fmt: skip
    for name in names.values():
        old, new = blocks / pithos_place(name), blocks / new_place(name)
        if name in (names["otherdiff"], names["deleteboth"]):
            assert old.exists()
            assert new.exists()
        elif len(name) == 64 and name == name.lower() and name != names["symlink"]:
            assert not old.exists()
            assert new.exists()
            assert new.stat().st_nlink == 1
    same = f"blocks/{new_place(names['othersame'])}"
    assert entries(top)[same].inode == before[same].inode
    assert program("undo").status == 0
    after = entries(top)
    merged = f"blocks/{pithos_place(names['othersame'])}"
    assert after[merged].content == before[merged].content
    assert after | {merged: before[merged]} == before


def test_copies_share_their_data_where_the_filesystem_can(
    program: Program, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    image, tool = tmp_path / "image", need("filefrag", "e2fsprogs")
    image.touch()
    os.truncate(image, 256 << 20)
    subprocess.run([need("mkfs.btrfs", "btrfs-progs"), "-q", image], check=True)
    top = mount(tmp_path / "btrfs", "-o", "loop", image) / "share"
    make_old_share(top, odd=False)
    source = put(top / "pithos/data" / pithos_place(PLAIN), bytes(range(256)) * 4096)
    (top / "pithos/maps").mkdir()
    os.sync()
    assert relocate(program, top, "--v03-stopped").status == 0
    for file in (source, top / "blocks" / pithos_place(PLAIN)):
        extents = subprocess.run([tool, "-v", file], check=True, capture_output=True)
        assert b"shared" in extents.stdout
    assert source.read_bytes() == (top / "blocks" / pithos_place(PLAIN)).read_bytes()
