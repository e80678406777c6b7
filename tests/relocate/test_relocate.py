"""What `relocate` does with each kind of file, and its undo."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.journal.store import Journal
from archipmigrate.model import Unit
from archipmigrate.relocate.job import RelocateJob
from archipmigrate.share.daemons import check_stopped
from archipmigrate.tree.rename import rename_exclusive
from tests.support.inprocess import Program
from tests.support.map_shares import v1
from tests.support.old_shares import (
    Entry,
    block_name,
    entries,
    make_old_share,
    moved_paths,
    new_place,
    old_place,
    put,
)
from tests.support.program import Ended

pytestmark = pytest.mark.privileged


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A share with a file of each kind."""
    make_old_share(tmp_path / "share")
    return tmp_path / "share"


def relocate(program: Program, top: Path, *words: object) -> Ended:
    place = ("--blocks", top / "blocks", "--maps", top / "maps")
    return program("relocate", "--json", *place, *words)


def rename_by(monkeypatch: pytest.MonkeyPatch, call: Callable[..., bool]) -> None:
    """Have objects renamed by *call*, whatever the backend: C leaves them to Python then."""
    monkeypatch.setattr("archipmigrate.relocate.mover.rename_exclusive", call)
    monkeypatch.setattr("archipmigrate.relocate.mover.Mover.can_rename", lambda *_: False)


def classes(ended: Ended) -> dict[str, int]:
    return {name: n for name, n in ended.summary["classes"].items() if n}


def listed(ended: Ended) -> dict[str, str]:
    return {o["path"]: o["class"] for o in ended.objects if o["type"] == "file"}


CLASSES = {
    "moved_blocks": 4, "moved_maps": 2, "linked": 1, "merged": 1, "current": 3,
    "placeholder": 1, "lock": 2, "stray": 1, "unopenable": 1, "conflict": 1,
}  # fmt: skip


def test_each_kind_of_file_ends_where_it_must(program: Program, top: Path) -> None:
    before = entries(top)
    moved = moved_paths(before)
    ended = relocate(program, top, "--v03-stopped")
    assert (ended.status, ended.summary["status"]) == (3, "failures"), ended.err  # the conflict
    assert classes(ended) == CLASSES
    after = entries(top)
    assert len(after) == len(before) - 2  # linked and merged have one name now
    for path, was in before.items():
        if path not in moved:
            assert after[path] == was
        elif moved[path] in before:  # at both places: the new one stays
            assert after[moved[path]] == before[moved[path]]
            assert path not in after
        else:
            assert after[moved[path]] == was
            assert path not in after
    tally = ended.summary
    assert tally["changed"] == 8
    assert tally["entries"] == len(before)
    assert tally["changed"] + tally["compliant"] + tally["skipped"] == len(before)


def test_undo_gives_back_every_file(program: Program, top: Path) -> None:
    before = entries(top)
    relocate(program, top, "--v03-stopped")
    ended = program("undo", "--json")
    assert ended.status == 0, ended.out + ended.err
    assert (ended.summary["entries"], ended.summary["changed"]) == (8, 8)
    check_back(before, entries(top))


def check_back(before: dict[str, Entry], after: dict[str, Entry]) -> None:
    """Check that all files are back; one that was merged is a copy."""
    merged = f"blocks/{old_place(block_name('both', 1))}"
    assert after | {merged: replace(after[merged], inode=before[merged].inode)} == before


def test_dry_run_says_the_same_and_changes_nothing(program: Program, top: Path) -> None:
    before = entries(top)
    ended = relocate(program, top, "-n")
    assert ended.status == 3
    assert classes(ended) == CLASSES
    assert ended.summary["changed"] == 8
    assert entries(top) == before
    again = relocate(program, top, "--v03-stopped")
    assert listed(again) == listed(ended)


def test_dry_run_without_room_for_the_directories_is_stopped(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was moved in it: without a word it would look as if nothing had to be."""
    monkeypatch.setattr("archipmigrate.relocate.room.DIRECTORY_BYTES", 1 << 60)
    ended = relocate(program, top, "-n")
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "make room there" in ended.err


def test_nothing_is_touched_unless_v03_is_said_to_be_stopped(program: Program, top: Path) -> None:
    before = entries(top)
    ended = relocate(program, top)
    assert ended.status == 1
    assert "stop v0.3 on all nodes" in ended.err
    assert entries(top) == before
    assert "no run" in program("status").out


def test_share_with_nothing_at_old_places_needs_no_word(program: Program, tmp_path: Path) -> None:
    make_old_share(tmp_path, odd=False)
    assert relocate(program, tmp_path, "--v03-stopped").status == 0
    again = relocate(program, tmp_path)
    assert (again.status, again.summary["changed"]) == (0, 0)
    assert again.summary["classes"]["current"] == 6


def test_running_daemon_of_v03_is_refused(
    program: Program, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(top)
    monkeypatch.setattr("archipmigrate.relocate.room.DIRECTORY_BYTES", 1 << 60)
    assert relocate(program, top, "--v03-stopped").status == 1  # a run to resume
    put(tmp_path / "proc/4711/comm", b"mt-pfiled\n")
    monkeypatch.setattr(check_stopped, "__defaults__", (tmp_path / "proc",))
    for ended in (relocate(program, top, "--v03-stopped", "--fresh"), program("resume")):
        assert ended.status == 1
        assert "mt-pfiled (process 4711)" in ended.err
    assert entries(top) == before


def test_new_directories_are_as_v04_makes_them(program: Program, tmp_path: Path) -> None:
    make_old_share(tmp_path, odd=False)
    for name in ("blocks", "maps"):
        os.chown(tmp_path / name, 1001, 1002)
    old = {path for path in tmp_path.rglob("*") if path.is_dir()}
    relocate(program, tmp_path, "--v03-stopped", "--umask", "027", "--group", "1003")
    made = [path for path in tmp_path.rglob("*") if path.is_dir() and path not in old]
    assert len(made) > 6
    for path in made:
        s, parent = path.stat(), path.parent.stat()
        assert stat.S_IMODE(s.st_mode) == 0o2750
        assert (s.st_uid, s.st_gid) == (parent.st_uid, 1003)


def test_moves_by_links_where_a_rename_in_one_step_is_not_to_be_had(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename_by(monkeypatch, lambda *_: False)
    before = entries(top)
    ended = relocate(program, top, "--v03-stopped")
    assert classes(ended) == CLASSES
    moved = moved_paths(before)
    after = entries(top)
    assert {path for path in before if path not in after} == set(moved)
    assert program("undo").status == 0
    check_back(before, entries(top))


def test_block_that_was_written_to_goes_back_with_what_was_written(
    program: Program, top: Path
) -> None:
    relocate(program, top, "--v03-stopped")
    name = block_name("foobar", 0)
    moved = top / "blocks" / new_place(name)
    moved.write_bytes(b"written by a guest")
    assert program("undo").status == 0
    assert (top / "blocks" / old_place(name)).read_bytes() == b"written by a guest"
    assert not moved.exists()


def test_undo_leaves_what_somebody_else_put_at_an_old_place(program: Program, top: Path) -> None:
    relocate(program, top, "--v03-stopped")
    name = block_name("foobar", 0)
    old, new = top / "blocks" / old_place(name), top / "blocks" / new_place(name)
    old.write_bytes(b"")  # as v0.3 does that reads it
    content = new.read_bytes()
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["skipped"], ended.summary["changed"]) == (3, 1, 7)
    assert (old.read_bytes(), new.read_bytes()) == (b"", content)
    old.unlink()
    again = program("undo", "--json", ended.summary["undone"])
    assert (again.status, again.summary["changed"]) == (0, 1)
    assert old.read_bytes() == content


def test_undo_is_refused_while_v2_maps_name_its_objects(program: Program, tmp_path: Path) -> None:
    make_old_share(tmp_path, odd=False)
    relocate(program, tmp_path, "--v03-stopped")
    run = program("status", "--json").objects[0]["run"]
    maps = ("mapfiles", "--maps", tmp_path / "maps")
    upgraded = program(*maps)
    assert upgraded.status == 0, upgraded.out
    before = entries(tmp_path)
    refused = program("undo", run)
    assert refused.status == 1
    assert "mapfiles-" in refused.err  # the later run
    assert program("forget", "--force", refused.err.split()[1]).status == 0
    refused = program("undo", run)
    assert refused.status == 1
    assert "the map of foobar is v2" in refused.err
    assert entries(tmp_path) == before


def test_runs_of_which_one_came_between_two_relocations_are_undone_last_one_first(
    program: Program, tmp_path: Path
) -> None:
    """The map is v2 before the second one begins, and names the object that it moves."""
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    block = top / "blocks" / old_place(block_name("foobar", 0))
    before = entries(top)
    block.rename(tmp_path / "late")
    assert relocate(program, top, "--v03-stopped").status == 3  # it is missing
    assert program("mapfiles", "--maps", top / "maps").status == 0
    (tmp_path / "late").rename(block)
    assert relocate(program, top, "--v03-stopped").summary["changed"] == 1
    for _ in range(3):
        ended = program("undo")
        assert ended.status == 0, ended.err
    after = entries(top)
    assert {p: (e.mode, e.content) for p, e in after.items()} == {
        p: (e.mode, e.content) for p, e in before.items()
    }


def test_undo_goes_through_once_later_runs_are_undone(program: Program, tmp_path: Path) -> None:
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    before = entries(top)
    relocate(program, top, "--v03-stopped")
    run = program("status", "--json").objects[0]["run"]
    assert program.perms(top).status == 0
    assert program("undo", run).status == 1
    assert program("undo").status == 0
    assert program("undo", run).status == 0
    after = entries(top)
    assert {p: (e.inode, e.content) for p, e in after.items()} == {
        p: (e.inode, e.content) for p, e in before.items()
    }


@pytest.mark.parametrize("links", [False, True])
def test_maps_that_the_undo_of_mapfiles_made_anew_go_back(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    top = tmp_path / "share"
    make_old_share(top, odd=False)
    before = entries(top)
    run = relocate(program, top, "--v03-stopped").summary["run"]
    assert program("mapfiles", "--maps", top / "maps").status == 0
    assert program("undo").status == 0
    if links:
        rename_by(monkeypatch, lambda *_: False)
    ended = program("undo", "--json", run)
    assert (ended.status, ended.summary["changed"]) == (0, 6), ended.out
    after = entries(top)
    assert {p: (e.mode, e.content) for p, e in after.items()} == {
        p: (e.mode, e.content) for p, e in before.items()
    }
    assert all(after[p].inode == e.inode for p, e in before.items() if p.startswith("blocks"))


def test_object_that_a_map_names_and_that_is_nowhere_is_missing(
    program: Program, tmp_path: Path
) -> None:
    make_old_share(tmp_path, odd=False)
    name = block_name("foobar", 1)
    (tmp_path / "blocks" / old_place(name)).unlink()
    for words in (["-n"], ["--v03-stopped"]):
        ended = relocate(program, tmp_path, *words)
        assert ended.status == 3
        assert listed(ended) == {f"blocks/{new_place(name)}": "missing"}
        (line,) = [o for o in ended.objects if o["type"] == "file"]
        assert line["volume"] == "foobar"
        assert "object 1 of foobar" in line["reason"]


def test_conflict_is_listed_with_its_volume_and_both_files(program: Program, top: Path) -> None:
    ended = relocate(program, top, "--v03-stopped")
    (line,) = [o for o in ended.objects if o.get("class") == "conflict"]
    assert line["volume"] == "foobar"
    assert "5 bytes" in line["reason"]
    assert "24 bytes" in line["reason"]


@pytest.mark.parametrize("what", ["directory", "object", "place"])
def test_link_that_leads_outside_is_not_followed(
    program: Program, tmp_path: Path, what: str
) -> None:
    top, outside = tmp_path / "share", tmp_path / "outside"
    make_old_share(top, odd=False)
    name = block_name("foobar", 0)
    old, new = top / "blocks" / old_place(name), top / "blocks" / new_place(name)
    outside.mkdir()
    if what == "directory":
        old.parent.rename(outside / "moved")
        old.parent.symlink_to(outside / "moved")
    elif what == "object":
        old.rename(outside / name)
        old.symlink_to(outside / name)
    else:
        new.parent.parent.parent.mkdir(exist_ok=True)
        new.parent.parent.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    ended = relocate(program, top, "--v03-stopped")
    assert ended.status == 3
    assert "outside" in listed(ended).values()
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("archip_..abcdef", "../ab/cd"),
        ("archip_....abcd", "../../ab"),
        ("archip_......ab", "../../.."),
        ("archip_..ab..cd", ".."),
        ("archip_ab....cd", ".."),
    ],
)
def test_volume_that_v03_put_outside_is_found_and_left(
    program: Program, tmp_path: Path, name: str, place: str
) -> None:
    top = tmp_path / "a/b/share"
    make_old_share(top, odd=False)
    path = put(Path(os.path.normpath(top / "maps" / place)) / name, v1([]))
    for other in ("archip_..zzzzzz", "archip_foobar", "archip_"):  # not where v0.3 puts them
        put(path.parent / other, v1([]))
    put(path.with_name(f"{name}_lock"), b"")
    for words in (["-n"], ["--v03-stopped"]):
        ended = relocate(program, top, *words)
        assert ended.status == 3
        found = f"maps/{place}/{name}"
        assert listed(ended) == {found: "outside", f"{found}_lock": "lock"}
        assert ended.summary["entries"] == 6
    assert path.read_bytes() == v1([])


def test_link_above_the_maps_is_not_followed(program: Program, tmp_path: Path) -> None:
    top = tmp_path / "a/b/share"
    make_old_share(top, odd=False)
    put(tmp_path / "victim/cd/archip_..abcdef", v1([]))
    (top / "ab").symlink_to(tmp_path / "victim")
    ended = relocate(program, top, "--v03-stopped")
    assert (ended.status, listed(ended)) == (0, {})


def test_directory_with_very_many_names_is_read_in_pieces(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.relocate.survey.WIDE", 3)
    names = [f"archip_foobar{number:02}" for number in range(20)]
    for name in names:
        put(top / "maps" / old_place(name), b"\1\0\0\0" + bytes(8))
    ended = relocate(program, top, "--v03-stopped")
    assert classes(ended) == CLASSES | {"moved_maps": 22}
    assert all((top / "maps" / new_place(name)).exists() for name in names)


def test_failure_is_tried_again_by_resume(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = block_name("foobar", 0).encode()

    def refuse(source: int, target: int, moved: bytes) -> bool:
        if moved == name:
            raise PermissionError(13, "Permission denied")
        return rename_exclusive(source, target, moved)

    with monkeypatch.context() as patched:
        rename_by(patched, refuse)
        ended = relocate(program, top, "--v03-stopped")
    assert (ended.status, ended.summary["changed"], ended.summary["failed"]) == (3, 7, 1)
    ended = program("resume", "--failed", "--json")
    assert (ended.status, ended.summary["changed"], ended.summary["failed"]) == (3, 8, 0)
    assert classes(ended) == CLASSES
    assert program("undo").status == 0


def test_undo_finds_blocks_and_maps_where_they_are_mounted_now(
    program: Program, top: Path, tmp_path: Path
) -> None:
    before = entries(top)
    relocate(program, top, "--v03-stopped")
    top.rename(tmp_path / "elsewhere")
    lost = program("undo")
    assert lost.status == 1
    assert "--path" in lost.err
    moved = tmp_path / "elsewhere"
    assert program("undo", "--path", moved / "blocks").status == 0
    check_back(before, entries(moved))


def test_operations_of_all_stages_are_limited(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[int] = []
    monkeypatch.setattr(
        "archipmigrate.engine.throttle.Throttle.spend", lambda _, n: spent.append(n)
    )
    ended = relocate(program, top, "--v03-stopped", "--max-ops", 1000)
    looked_for = 2 + 6 + 3  # two maps, the objects of one but for the conflict; above the maps
    assert sum(spent) == ended.summary["entries"] + 3 * ended.summary["changed"] + looked_for


def test_resumed_run_goes_on_at_each_stage(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed when it asks for more units: after the survey, the moves, the checks."""
    asked = iter(range(10))
    next_units = RelocateJob.next_units

    def killed(job: RelocateJob, journal: Journal) -> Sequence[Unit]:
        if next(asked) in (0, 2, 4):
            raise KilledHere
        return next_units(job, journal)

    monkeypatch.setattr(RelocateJob, "next_units", killed)
    for _ in range(3):
        with pytest.raises((KilledHere, BaseExceptionGroup)):
            relocate(program, top, "--v03-stopped")
    ended = relocate(program, top, "--v03-stopped")
    assert ended.summary["changed"] == 8
    assert classes(ended) == CLASSES


class KilledHere(BaseException):
    """Stands for SIGKILL: nobody handles it."""


def test_too_little_room_is_refused_and_nothing_is_touched(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.relocate.room.DIRECTORY_BYTES", 1 << 60)
    before = sorted(top.rglob("*"))
    ended = relocate(program, top, "--v03-stopped")
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "nothing was touched" in ended.err
    assert sorted(top.rglob("*")) == before
    monkeypatch.undo()
    assert program("resume", "--json").summary["changed"] == 8


def test_run_stops_where_nothing_can_be_moved_to_the_new_places(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(top)

    def refuse(*_: object) -> bool:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    with monkeypatch.context() as patched:
        rename_by(patched, refuse)
        patched.setattr("archipmigrate.relocate.mover.Mover._may_drop", refuse)
        ended = relocate(program, top, "--v03-stopped")
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert "several filesystems" in ended.err
    assert entries(top) == before
    assert program("resume", "--json").summary["changed"] == 8


@pytest.mark.parametrize(
    "words",
    [["--blocks", "b"], ["--maps", "m"], ["--blocks", "", "--maps", "m"], ["--umask", "9"]],
)
def test_senseless_options_are_refused(program: Program, words: list[str]) -> None:
    assert program("relocate", *words).status == 2


@pytest.mark.parametrize(
    ("blocks", "maps", "advice"),
    [
        (".", "maps", "did you mean"),
        ("blocks", ".", "did you mean"),
        ("maps", "blocks", "the other way"),
        ("maps/vo", "maps", "not one in the other"),
    ],
)
def test_directories_that_are_not_those_of_two_blockers_are_refused(
    program: Program, top: Path, blocks: str, maps: str, advice: str
) -> None:
    before = entries(top)
    (top / "maps" / "vo").mkdir(exist_ok=True)
    ended = program("relocate", "--blocks", top / blocks, "--maps", top / maps, "--v03-stopped")
    assert (ended.status, advice in ended.err) == (2, True), ended.err
    assert entries(top) == before
