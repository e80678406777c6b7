"""A share that the real v0.3.5 wrote, against what the real v0.4.4 served all volumes from."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from archipmigrate.layout.names import SHORTEST_NAME
from archipmigrate.maps.format.v1 import ENTRY_SIZE, HEADER_SIZE, OBJECT_SIZE, object_count
from archipmigrate.testshare import make_v03_share
from tests.support.inprocess import Program
from tests.support.old_shares import entries, new_place
from tests.support.program import GID

pytestmark = pytest.mark.privileged
GOLDEN = Path(__file__).parents[1] / "golden" / "v03"
UIDS = {"root": 0, "www-data": 33}


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


def test_volumes_of_a_sample_share_have_the_same_content_at_their_new_places(
    program: Program, tmp_path: Path
) -> None:
    top, sums = tmp_path / "share", tmp_path / "sums.json"
    make_v03_share(str(top), objects=30, volumes=6, sums=str(sums))
    before = entries(top)
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    ended = program("relocate", "--json", "--v03-stopped", *place)
    assert (ended.status, ended.summary["classes"]["moved_maps"]) == (0, 6), ended.out
    for volume, due in json.loads(sums.read_text()).items():
        name = f"archip_{volume}"
        if len(volume) < SHORTEST_NAME:
            continue
        raw = (top / "maps" / new_place(name)).read_bytes()
        digest, left = hashlib.sha256(), due["size"]
        for at in range(HEADER_SIZE, HEADER_SIZE + ENTRY_SIZE * object_count(left), ENTRY_SIZE):
            length = min(OBJECT_SIZE, left)
            left -= length
            digest.update(
                _content(top, raw[at], raw[at + 1 : at + ENTRY_SIZE]).ljust(length, b"\0")
            )
        assert digest.hexdigest() == due["sha256"], volume
    assert program("undo").status == 0
    assert entries(top) == before


def _content(top: Path, flag: int, digest: bytes) -> bytes:
    return (top / "blocks" / new_place(f"archip_{digest.hex()}")).read_bytes() if flag else b""
