"""A share that the real v0.3.5 wrote: blockers at first; ready once all jobs have run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from archipmigrate.maps.format.v1 import OBJECT_SIZE
from tests.support.inprocess import Program
from tests.support.program import GID, Ended
from tests.support.v03_share import SHORT, extract_v03

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The share as v0.3.5 left it, with Pithos' objects below the blockers' directories."""
    top = extract_v03(tmp_path / "share")
    for name, where in (("data", "blocks"), ("maps", "maps")):
        shutil.copytree(top / "pithos" / name, top / where, dirs_exist_ok=True)
    shutil.rmtree(top / "pithos")
    return top


def check(program: Program, top: Path, *words: object) -> Ended:
    return program("check", "--json", "--owner", "root", "--group", GID, *words, top)


def levels(ended: Ended, level: str) -> set[str]:
    return {o["topic"] for o in ended.objects if o.get("level") == level}


def test_share_of_v03_has_blockers_and_is_ready_after_all_jobs(
    program: Program, top: Path, tmp_path: Path
) -> None:
    before = check(program, top)
    assert before.status == 5, before.err
    assert levels(before, "blocker") == {"places", "names", "drift"}
    for path in [p for p in (top / "maps").rglob("*") if p.name.startswith(SHORT)]:
        path.unlink()  # copied to another name, as the page says
    sizes = tmp_path / "sizes.csv"
    v0 = [path for path in (top / "maps").rglob("*") if len(path.name) == 64]  # Pithos' only map
    sizes.write_text("".join(f"{p.name},{p.stat().st_size // 32 * OBJECT_SIZE}\n" for p in v0))
    places = ("--maps", top / "maps", "--blocks", top / "blocks")
    assert program("relocate", *places, "--v03-stopped").status == 0
    assert program.perms(top).status == 0
    between = check(program, top)
    assert (between.status, levels(between, "warning")) == (4, {"maps"}), between.out
    upgraded = program("mapfiles", *places, "--v03-stopped", "--sizes", sizes)
    assert upgraded.status == 0, upgraded.out
    assert program.perms(top).status == 0  # new maps are the caller's
    after = check(program, top)
    assert after.status == 0, after.out
    assert after.summary["status"] == "ok"
    assert json.loads(after.out.splitlines()[0])["job"] == "check"


def test_check_changes_nothing(program: Program, top: Path) -> None:
    def tree() -> dict[Path, tuple[int, ...]]:
        paths = [top / "maps", *(top / "maps").rglob("*"), *(top / "blocks").rglob("*")]
        return {p: ((s := p.lstat()).st_ino, s.st_mode, s.st_gid, s.st_ctime_ns) for p in paths}

    was = tree()
    check(program, top, "--no-probe")
    assert tree() == was
    assert not list(program.state.glob("*.journal"))
