"""`relocate --merge-diverged`: what v0.4 wrote, laid over what v0.3 had, of one volume."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.kill import Loaded
from tests.support.map_shares import v1
from tests.support.old_shares import Entry, block_name, entries, new_place, old_place, put
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = pytest.mark.privileged
STOPPED = ("--v03-stopped", "--v04-stopped")
SIZE, BLOCK = 1 << 18, 4096
OBJECTS = 4  # 0 and 1 diverged, 2 is only at its old place, 3 is equal at both
KEPT = ".archipmigrate-diverged"


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


def make_trap(top: Path) -> None:
    """Make a share whose maps v0.4 has, and whose objects guests wrote to under v0.4."""
    for name in ("blocks", "maps"):
        (top / name).mkdir(0o755, parents=True)
    blocks, names = top / "blocks", [block_name("foobar", number) for number in range(OBJECTS)]
    for number, name in enumerate(names):
        old = put(blocks / old_place(name), bytes((65 + number,)) * SIZE, 0o640)
        os.chown(old, 1001, 1002)
    for name in names[:2]:
        new = put(blocks / new_place(name), b"")
        with new.open("r+b") as file:
            file.truncate(SIZE)
            file.seek(8 * BLOCK)
            file.write(b"new!" * (BLOCK // 4))
            file.seek(20 * BLOCK)
            file.write(bytes(BLOCK))  # zeros that the guest wrote
    shutil.copy(blocks / old_place(names[3]), put(blocks / new_place(names[3]), b""))
    raw = bytearray(v1([(1, bytes.fromhex(name[7:])) for name in names]))
    put(top / "maps" / new_place("archip_foobar"), bytes(raw))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    make_trap(tmp_path / "share")
    return tmp_path / "share"


def merge(program: Program, top: Path, *words: object, volume: str = "foobar") -> Ended:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    return program("relocate", "--json", "--merge-diverged", volume, *place, *words)


def due(number: int) -> bytes:
    content = bytearray(bytes((65 + number,)) * SIZE)
    content[8 * BLOCK : 9 * BLOCK] = b"new!" * (BLOCK // 4)
    content[20 * BLOCK : 21 * BLOCK] = bytes(BLOCK)
    return bytes(content)


def check_merged(before: dict[str, Entry], after: dict[str, Entry]) -> None:
    for number in range(2):
        name = block_name("foobar", number)
        old, new = f"blocks/{old_place(name)}", f"blocks/{new_place(name)}"
        now = after[new]
        assert now.content == due(number)
        assert (now.mode, now.uid, now.gid) == (0o640, 1001, 1002)
        assert old not in after
        kept = {
            path.split("/")[2]: entry
            for path, entry in after.items()
            if path.startswith(f"blocks/{KEPT}/") and path.endswith(name)
        }
        assert kept == {"older": before[old], "newer": before[new]}
    others = {path for path in before if not any(block_name("foobar", n) in path for n in (0, 1))}
    assert all(after[path] == before[path] for path in others)


def test_newer_data_is_laid_over_the_older_and_both_are_kept(program: Program, top: Path) -> None:
    before = entries(top)
    dry = merge(program, top, "-n")
    assert (dry.status, dry.summary["changed"], entries(top)) == (0, 2, before)
    ended = merge(program, top, *STOPPED)
    assert (ended.status, ended.summary["changed"]) == (0, 2), ended.err
    check_merged(before, entries(top))
    assert merge(program, top, *STOPPED).summary["changed"] == 0
    ended = program("undo", "--json", ended.summary["run"])
    assert (ended.status, ended.summary["changed"]) == (0, 2), ended.out + ended.err
    assert entries(top) == before


def test_relocate_moves_the_rest_and_leaves_what_is_kept(program: Program, top: Path) -> None:
    merge(program, top, *STOPPED)
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    ended = program("relocate", "--json", "--v03-stopped", *place)
    assert ended.status == 0, ended.out
    counts = ended.summary["classes"]
    assert (counts["moved_blocks"], counts["merged"], counts["conflict"]) == (1, 1, 0)


def test_undo_leaves_a_merged_object_that_was_written_to(program: Program, top: Path) -> None:
    merge(program, top, *STOPPED)
    new = top / "blocks" / new_place(block_name("foobar", 0))
    with new.open("r+b") as file:
        file.write(b"written since")
    ended = program("undo", "--json")
    assert ended.status == 3
    counts = [ended.summary[name] for name in ("changed", "skipped", "failed")]
    assert counts == [1, 1, 0]
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert "written to since: left as it is" in failure["reason"]
    assert new.read_bytes().startswith(b"written since")


@pytest.mark.parametrize("words", [[], ["--v03-stopped"], ["--v04-stopped"]])
def test_nothing_is_merged_unless_both_versions_are_stopped(
    program: Program, top: Path, words: list[str]
) -> None:
    before = entries(top)
    assert merge(program, top, *words).status == 2
    assert entries(top) == before


def test_volume_without_a_map_is_refused(program: Program, top: Path) -> None:
    ended = merge(program, top, *STOPPED, volume="no-such")
    assert ended.status == 1
    assert "no-such: there is no map of this volume" in ended.err


def test_filesystem_that_does_not_tell_data_from_holes_is_refused(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(top)
    monkeypatch.setattr(
        "archipmigrate.relocate.overlay.extents", lambda fd: [(0, os.fstat(fd).st_size)]
    )
    ended = merge(program, top, *STOPPED)
    assert ended.status == 1
    assert "does not tell data from holes" in ended.err
    assert entries(top) == before


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    loaded = Loaded("auto", tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


@pytest.mark.slow
@pytest.mark.parametrize("undo", [False, True], ids=["run", "undo"])
@pytest.mark.parametrize("how", ["kill", "EIO"])
def test_run_and_undo_struck_at_any_call_are_finished_by_the_same_command(
    loaded: Loaded, how: str, undo: bool
) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        top, state, report = (Path(directory) / name for name in ("share", "state", "report"))
        place = ["--blocks", top / "blocks", "--maps", top / "maps", "--jobs", 1]
        words = ["relocate", "--json", "--merge-diverged", "foobar", *STOPPED, *place]
        for at in strikes():
            for path in (top, state):
                shutil.rmtree(path, ignore_errors=True)
            report.unlink(missing_ok=True)
            state.mkdir(0o700)
            make_trap(top)
            before = entries(top)
            if undo:
                assert loaded(state, *words).status == 0
            struck = ["undo", "--json"] if undo else words
            fault = {"FAIL_UNDER": str(top), "FAIL_AT": str(at), "FAIL_HOW": how,
                     "FAIL_REPORT": str(report)}  # fmt: skip
            ended = loaded.start(state, *struck, env=fault).wait()
            if not report.exists():
                break
            fired = report.read_text()
            for _ in range(2):  # a new run finds what a failed one left
                if ended.status:
                    ended = loaded(state, *struck)
            assert ended.status == 0, fired + ended.out + ended.err
            if undo:
                assert entries(top) == before, fired
            else:
                check_merged(before, entries(top))
                while (ended := loaded(state, "undo", "--json")).status == 0:
                    pass
                assert entries(top) == before, fired + ended.err
        assert at > 10
