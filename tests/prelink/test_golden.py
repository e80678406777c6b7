"""The activity of the real v0.3.5 beside phase 1, replayed, and what it served in the end."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.old_shares import new_place, old_place, put
from tests.support.prelinked import STEP, Site, expected, extract

pytestmark = pytest.mark.privileged
UNOPENABLE = "shrt"


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


def overwrite(path: Path, content: bytes) -> None:
    """Write as v0.3 does: in place, without truncation."""
    if path.read_bytes() != content:
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, content, 0)
        os.close(fd)


def replay(site: Site, after: Path) -> None:
    """Do what v0.3 did, with a second pass of phase 1 in the middle."""
    objects = expected()["objects"]
    for thing in objects["moved-only"]:
        name = thing["name"]
        content = (after / "blocks" / old_place(name)).read_bytes()
        if thing["inode_before_phase1"] is None:
            put(site.blocks / old_place(name), content)
        else:
            overwrite(site.blocks / old_place(name), content)
    for thing in (*objects["re-made"], *objects["deleted"]):
        content = (after / "blocks" / new_place(thing["name"])).read_bytes()
        path = site.blocks / old_place(thing["name"])
        overwrite(path, content) if path.exists() else put(path, content)
    assert site.link().status == 0
    time.sleep(STEP)
    for path in site.maps.iterdir():
        shutil.rmtree(path)
    shutil.copytree(after / "maps", site.maps, dirs_exist_ok=True)
    for thing in (*objects["re-made"], *objects["deleted"]):
        (site.blocks / old_place(thing["name"])).unlink()
    for thing in (*objects["re-made"], *objects["new"]):
        content = (after / "blocks" / old_place(thing["name"])).read_bytes()
        put(site.blocks / old_place(thing["name"]), content)


def classes(site: Site) -> dict[str, list[str]]:
    """Return the names of blocks by what became of them."""
    found: dict[str, list[str]] = {"deleted": [], "re-made": [], "both": []}
    for path in site.kept("*"):
        found["deleted" if path.parts[-3] == "deleted-v03" else "re-made"].append(path.name)
    for path in site.blocks.glob("??/??/??/archip_*"):
        if path == site.blocks / old_place(path.name):
            new = site.blocks / new_place(path.name)
            assert new.samefile(path), path.name
            found["both"].append(path.name)
    return {kind: sorted(names) for kind, names in found.items()}


def test_volumes_are_served_as_v03_served_them_last_after_each_phase(
    program: Program, tmp_path: Path
) -> None:
    after, due = extract("a-after", tmp_path / "after"), expected()
    site = Site(extract("a-before", tmp_path / "share"), program)
    for name in ("data", "maps"):  # Pithos' objects, brought below the blockers' directories
        where = site.blocks if name == "data" else site.maps
        shutil.copytree(site.top / "pithos" / name, where, dirs_exist_ok=True)
    assert site.link().status == 0
    shutil.copytree(site.top / "pithos" / "maps", after / "maps", dirs_exist_ok=True)
    replay(site, after)
    sums = {name: volume["sha256"] for name, volume in due["volumes"].items()}
    sums.pop(UNOPENABLE)
    assert site.sums(sums, old_place) == sums

    ended = site.switch()
    assert (ended.status, ended.summary["phase"]) == (0, "linked"), ended.out + ended.err
    assert site.sums(sums, new_place) == sums
    names = {kind: sorted(o["name"] for o in found) for kind, found in due["objects"].items()}
    assert classes(site) == {
        "deleted": names["deleted"],
        "re-made": names["re-made"],
        "both": sorted(names["moved-only"] + names["new"] + names["re-made"]),
    }
    assert ended.summary["classes"]["deleted_v03"] == len(names["deleted"])

    assert site.back().status == 0
    assert site.sums(sums, old_place) == sums
    assert site.switch().status == 0
    ended = site.drop()
    assert (ended.status, ended.summary["phase"]) == (0, "dropped"), ended.out + ended.err
    assert site.sums(sums, new_place) == sums
    assert classes(site)["both"] == []
    assert site.back().status == 0
    assert site.sums(sums, old_place) == sums


def test_old_content_of_what_was_made_again_or_deleted_is_kept(
    program: Program, tmp_path: Path
) -> None:
    after = extract("a-after", tmp_path / "after")
    site = Site(extract("a-before", tmp_path / "share"), program)
    assert site.link().status == 0
    replay(site, after)
    site.switch()
    objects = expected()["objects"]
    kept = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in site.kept("*")}
    assert kept == {
        o["name"]: hashlib.sha256((after / "blocks" / new_place(o["name"])).read_bytes()).digest()
        for o in (*objects["re-made"], *objects["deleted"])
    }
