"""A share that the real v0.3.5 wrote, against what the real v0.4.4 served all volumes from."""

from __future__ import annotations

import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.old_shares import entries
from tests.support.program import GID

pytestmark = pytest.mark.privileged
GOLDEN = Path(__file__).parents[1] / "golden" / "v03"
UIDS = {"root": 0, "www-data": 33}


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The share as v0.3.5 left it."""
    top = tmp_path / "share"
    top.mkdir()
    with tarfile.open(GOLDEN / "v03-small.tar.xz") as archive:
        archive.extractall(top, filter="fully_trusted")
    return top


def due() -> set[tuple[int, int, int, bytes]]:
    """Return mode, uid, size and path of each file after relocate and perms."""
    found = set()
    for line in (GOLDEN / "v03-small.relocated.txt").read_bytes().splitlines():
        _, mode, owner, size, path = line.split(b" ", 4)
        uid = UIDS[owner.partition(b":")[0].decode()]
        found.add((int(mode, 8), uid, int(size), path.removeprefix(b"./")))
    return found


def there(top: Path) -> set[tuple[int, int, int, bytes]]:
    found = set()
    for name in ("blocks", "maps"):
        for path in (top / name).rglob("*"):
            s = path.lstat()
            if not path.is_dir():
                relative = bytes(path.relative_to(top))
                found.add((stat.S_IMODE(s.st_mode), s.st_uid, s.st_size, relative))
                assert s.st_gid == GID
            else:
                assert s.st_mode & 0o2070 == 0o2070
    return found


@pytest.mark.parametrize("pithos", [True, False])
def test_genuine_share_becomes_what_v04_served_all_volumes_from(
    program: Program, top: Path, pithos: bool
) -> None:
    if pithos:  # brought below the blockers' directories, at the same places
        for name, where in (("data", "blocks"), ("maps", "maps")):
            shutil.copytree(top / "pithos" / name, top / where, dirs_exist_ok=True)
    before = entries(top)
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    ended = program("relocate", "--json", "--v03-stopped", *place)
    missing = [o["path"][-64:] for o in ended.objects if o.get("class") == "missing"]
    if pithos:
        assert (ended.status, missing) == (0, [])
    else:  # vmfromimg has an object that is still one of Pithos
        assert ended.status == 3
        assert missing == ["02352f855e74ffadf28eaf8743d47a26a2e6b541f84a0b1dd3dedc9713f95dc7"]
    run = ended.summary["run"]
    assert program.perms(top).status == 0
    if pithos:
        # copytree copies no owners
        assert {(m, s, p) for m, _, s, p in there(top)} == {(m, s, p) for m, _, s, p in due()}
    else:
        assert there(top) == {line for line in due() if line[1] == 0}
    assert program("undo").status == 0
    assert program("undo", run).status == 0
    assert entries(top) == before
