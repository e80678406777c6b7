"""What `locks` lists and removes, and its undo."""

from __future__ import annotations

import os
import pwd
import socket
from collections import Counter
from pathlib import Path

import pytest

from archipmigrate.journal.location import runtime_directory, secure_directory
from archipmigrate.journal.lock import ShareLock
from archipmigrate.locks import remover
from archipmigrate.locks.lock import Lock, read_lock
from archipmigrate.share import open_share
from tests.support.inprocess import Program
from tests.support.lock_shares import (
    HELD,
    STALE,
    V03,
    YOUNG,
    aged,
    lock_files,
    make_locks,
)
from tests.support.map_shares import OTHER, put_lock, put_v1
from tests.support.program import Ended
from tests.support.v03_share import extract_v03

pytestmark = pytest.mark.privileged
SENTENCE = "held by v0.3, which never releases a lock: {}. Once it is stopped on all nodes, add --"
STOPPED = ("--clean", "--v03-stopped")


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "share"


def places(top: Path) -> list[object]:
    """Return the options of a share."""
    words: list[object] = ["--maps", top / "maps"]
    return [*words, "--locks", top / "locks"] if (top / "locks").is_dir() else words


def kinds(ended: Ended) -> dict[str, str]:
    """Return the kind of each lock, by path."""
    return {line["path"]: line["kind"] for line in ended.objects if line["type"] == "lock"}


def paths(ended: Ended, what: str) -> set[str]:
    """Return the paths of the locks that were, or would be, removed."""
    return {line["path"] for line in ended.objects if line["type"] == "lock" and line[what]}


# -- listing


@pytest.mark.parametrize("apart", [True, False], ids=["lock directory", "among the maps"])
def test_locks_of_every_kind_are_listed_and_nothing_is_changed(
    program: Program, top: Path, apart: bool
) -> None:
    make_locks(top, apart=apart)
    before = lock_files(top)
    ended = program("locks", "--json", *places(top))
    assert ended.status == 0, ended.err
    by_name = {Path(line["path"]).name: line for line in ended.objects if line["type"] == "lock"}
    found = {name: line["kind"] for name, line in by_name.items()}
    assert found == {
        **{f"archip_{volume}_lock": "v0.3" for volume in V03},
        f"{HELD}_lock": "held",
        f"{STALE}_lock{OTHER}_ab": "temporary",
        f"{YOUNG}_lock{OTHER}_ab": "temporary",
        **dict.fromkeys(("archip_misplaced_lock", "archip_filled_lock"), "odd"),
        "archip_shut-up_lock": "odd",
        **(dict.fromkeys(("notes", "linked_lock"), "odd") if apart else {}),
    }
    held = by_name[f"{HELD}_lock"]
    assert (held["volume"], held["holder"], held["note"]) == (HELD, OTHER, "")
    assert 0 <= held["age"] < 3600
    old = by_name["archip_foobar_lock"]
    assert (old["volume"], old["holder"], old["written"][:10]) == ("foobar", "", "2001-09-09")
    assert ended.summary["locks"] == dict(
        {"held": 0, "v0.3": 0, "temporary": 0, "ours": 0, "odd": 0}, **Counter(found.values())
    )
    assert lock_files(top) == before
    assert not list(program.state.glob("*.journal"))


def test_text_has_a_line_for_each_lock_and_one_sentence_for_those_of_v03(
    program: Program, top: Path
) -> None:
    make_locks(top)
    ended = program("locks", *places(top))
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert "  left by v0.3               3" in lines
    (held,) = [line for line in lines if line.startswith("held   ")]
    assert HELD in held
    assert held.endswith(f"{OTHER}  locks/{HELD}_lock")
    assert lines[-1].startswith(SENTENCE.format("3 locks"))
    assert "--v03-stopped" not in program("locks", "--v03-stopped", *places(top)).out


def test_one_sentence_is_said_of_locks_of_v03_by_every_command(
    program: Program, tmp_path: Path
) -> None:
    share = extract_v03(tmp_path / "share")
    place = ["--maps", share / "maps"]
    for words in (
        ["locks"],
        ["locks", "--clean", "-n"],
        ["relocate", "--blocks", share / "blocks"],
    ):
        assert SENTENCE.format("7 locks") in program(*words, *place).out, words
    # Two of the seven are of no volume.
    assert SENTENCE.format("5 volumes") in program("mapfiles", "-n", *place).out
    ended = program("mapfiles", "-n", *place)
    assert "archip_deleted-one_lock: a lock that v0.3 never released, of a volume" in ended.out


def test_lock_of_a_directory_that_cannot_be_entered_makes_the_listing_a_failure(
    program: Program, top: Path
) -> None:
    make_locks(top)
    (top / "maps" / "ab").symlink_to("/etc")
    ended = program("locks", "--json", *places(top))
    assert ended.status == 3
    (failure,) = [line for line in ended.objects if line["type"] == "failure"]
    assert (failure["path"], failure["operation"]) == ("maps/ab", "list")


def test_lock_directory_among_the_maps_is_walked_once(program: Program, top: Path) -> None:
    maps = top / "maps"
    (maps / "locks").mkdir(parents=True)
    put_lock(maps, maps / "locks", HELD)
    ended = program("locks", "--json", "--maps", maps, "--locks", maps / "locks")
    assert kinds(ended) == {f"locks/{HELD}_lock": "held"}


def test_configuration_names_the_directories_and_its_lock_directory_may_be_missing(
    program: Program, top: Path, tmp_path: Path
) -> None:
    make_locks(top)
    conf = tmp_path / "conf"
    text = f"[blockerm]\narchip_dir = {top / 'maps'}\nlock_dir = {{}}\n"
    conf.write_text(text.format(top / "locks"))
    assert program("locks", "--json", "--config", conf).summary["locks"]["held"] == 1
    conf.write_text(text.format(top / "none"))
    ended = program("locks", "--json", "--config", conf)
    assert ended.status == 0
    assert ended.summary["locks"]["v0.3"] == 3
    assert f"the lock directory {top}/none is missing: --adopt makes it" in ended.err
    conf.write_text(text.format(top / "locks" / "notes"))
    assert program("locks", "--json", "--config", conf).status == 1


# -- removal, and its undo


def test_clean_removes_what_nobody_can_hold_and_undo_makes_it_again(
    program: Program, top: Path
) -> None:
    gone = make_locks(top)
    before = lock_files(top)
    dry = program("locks", "--json", "-n", *STOPPED, *places(top))
    assert paths(dry, "would_remove") == gone
    assert lock_files(top) == before
    ended = program("locks", "--json", *STOPPED, *places(top))
    assert ended.status == 0, ended.err
    assert paths(ended, "removed") == gone
    summary = ended.summary
    assert (summary["changed"], summary["failed"], summary["vanished"]) == (len(gone), 0, 0)
    assert summary["removed"] == {"held": 0, "v0.3": 3, "temporary": 1, "ours": 0, "odd": 0}
    assert lock_files(top) == {path: file for path, file in before.items() if path not in gone}
    assert program("locks", "--json", *STOPPED, *places(top)).summary["changed"] == 0
    assert program("undo", summary["run"]).status == 0
    assert lock_files(top) == before
    assert "removed: 3 v0.3, 1 temporary" in program("status", summary["run"]).out


def test_clean_leaves_locks_of_v03_until_it_is_said_to_be_stopped(
    program: Program, top: Path
) -> None:
    gone = make_locks(top)
    ended = program("locks", "--clean", *places(top))
    assert ended.status == 3
    assert "done, but locks of v0.3 count as held" in ended.out
    assert SENTENCE.format("3 locks") in ended.out
    left = set(lock_files(top))
    assert gone - left == {path for path in gone if STALE in path}


def test_clean_is_refused_while_v03_runs_here(
    program: Program, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_locks(top)
    before = lock_files(top)
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "comm").write_text("mt-pfiled\n")
    monkeypatch.setattr(
        "archipmigrate.share.daemons.check_stopped.__defaults__", (tmp_path / "proc",)
    )
    ended = program("locks", *STOPPED, *places(top))
    assert (ended.status, "mt-pfiled (process 7)" in ended.err) == (1, True)
    assert lock_files(top) == before


def test_break_removes_the_locks_of_exactly_one_holder(program: Program, top: Path) -> None:
    make_locks(top)
    for name, holder in (("one", OTHER), ("two", f"{OTHER}0"), ("three", OTHER[:-1])):
        put_lock(top / "maps", top / "locks", name, holder)
    before = lock_files(top)
    ended = program("locks", "--json", "--break", OTHER, *places(top))
    assert ended.status == 0
    gone = paths(ended, "removed")
    parts = {f"locks/{name}_lock{OTHER}_ab" for name in (STALE, YOUNG)}
    assert gone == {f"locks/{HELD}_lock", "locks/one_lock", *parts}
    assert set(before) - set(lock_files(top)) == gone
    assert program("undo").status == 0
    assert lock_files(top) == before


def test_break_of_a_holder_that_holds_nothing_says_so(program: Program, top: Path) -> None:
    make_locks(top)
    before = lock_files(top)
    for words in (["--break", "node"], ["--break", "node", "-n"]):
        ended = program("locks", *words, *places(top))
        assert ended.status == 1
        assert "there is no lock of node that can be broken" in ended.err
    assert program("locks", "--break", "", *places(top)).status == 2
    assert lock_files(top) == before


def test_undo_never_replaces_a_lock_that_was_taken_since(program: Program, top: Path) -> None:
    gone = make_locks(top)
    before = lock_files(top)
    run = program("locks", "--json", *STOPPED, *places(top)).summary["run"]
    taken, again = (top / "maps" / path for path in ("fo/ob/ar", "od/d-/si"))
    taken = taken / "archip_foobar_lock"
    taken.write_bytes(b"node9_1002")
    # As it was, but another inode: somebody restored it.
    restored = again / "archip_odd-size_lock"
    restored.touch()
    aged(restored, 0o770, gid=7)
    ended = program("undo", "--json")
    assert ended.status == 3
    counts = [ended.summary[name] for name in ("changed", "compliant", "skipped", "failed")]
    assert counts == [len(gone) - 2, 1, 1, 0]
    (failure,) = [line for line in ended.objects if line["type"] == "failure"]
    assert failure["path"] == "maps/fo/ob/ar/archip_foobar_lock"
    assert "somebody holds it" in failure["reason"]
    assert taken.read_bytes() == b"node9_1002"
    taken.unlink()
    assert program("undo", run).status == 0
    assert lock_files(top) == before


def test_lock_that_is_exchanged_before_its_removal_is_judged_again(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_locks(top)
    held = top / "locks" / f"{HELD}_lock"
    times: list[bytes] = []

    def read_exchanged(root: object, directory: bytes, fd: int, name: bytes) -> Lock | None:
        if os.fsdecode(name) == held.name and not times:
            times.append(name)
            held.unlink()
            held.write_bytes(b"node9_1002")
        return read_lock(root, directory, fd, name)  # type: ignore[arg-type]

    monkeypatch.setattr(remover, "read_lock", read_exchanged)
    ended = program("locks", "--json", "--break", OTHER, *places(top))
    assert times
    assert held.read_bytes() == b"node9_1002"
    assert (ended.status, kinds(ended)[f"locks/{HELD}_lock"]) == (0, "held")
    assert (ended.summary["changed"], ended.summary["failed"]) == (2, 0)


def test_locks_of_more_than_one_unit_are_all_removed(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_locks(top)
    for number in range(100):
        put_lock(top / "maps", top / "locks", f"volume{number:03}", "dead_1002")
    before = lock_files(top)
    monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 16)
    ended = program("locks", "--json", "--break", "dead_1002", "--jobs", 1, *places(top))
    assert ended.summary["changed"] == 100
    assert ended.summary["entries"] == len(kinds(ended)) + directories(top)
    assert program("undo").status == 0
    assert lock_files(top) == before


def directories(top: Path) -> int:
    return 2 + sum(path.is_dir() for path in (top / "maps").rglob("*"))


# -- our own locks


def test_locks_of_our_runs_are_kept_while_they_are_needed(program: Program, top: Path) -> None:
    make_locks(top)
    put_v1(top / "maps", "upgraded")
    ended = program("mapfiles", "--json", *places(top))
    run, host = ended.summary["run"], socket.gethostname()
    done = put_lock(top / "maps", top / "locks", "upgraded", f"archipmigrate_{host}_{run}")
    other = put_lock(top / "maps", top / "locks", "elsewhere", f"archipmigrate_node9_{run}")
    listed = program("locks", "--json", *places(top))
    assert listed.summary["locks"]["ours"] == 2
    notes = {line["volume"]: line["note"] for line in listed.objects if line.get("kind") == "ours"}
    assert notes["upgraded"] == "its run needs it no more"
    assert "its run has no journal here" in notes["elsewhere"]
    assert program("locks", *STOPPED, *places(top)).status == 0
    assert (done.exists(), other.exists()) == (False, True)
    holder = f"archipmigrate_node9_{run}"
    assert program("locks", "--break", holder, *places(top)).status == 0
    assert not other.exists()


def test_locks_of_a_half_done_run_are_never_removed(
    program: Program, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_locks(top)
    run = program("mapfiles", "--json", *places(top)).summary["run"]
    holder = f"archipmigrate_{socket.gethostname()}_{run}"
    lock = put_lock(top / "maps", top / "locks", "upgraded", holder)
    monkeypatch.setattr("archipmigrate.journal.store.Journal.unsettled", lambda _: [7])
    listed = program("locks", "--json", *places(top))
    (line,) = [line for line in listed.objects if line.get("kind") == "ours"]
    assert line["note"] == f"it left volumes half done: archipmigrate resume {run}"
    assert program("locks", "-n", "--break", holder, *places(top)).status == 1
    dry = program("locks", "--json", "-n", *STOPPED, *places(top))
    assert line["path"] not in paths(dry, "would_remove")
    assert lock.exists()


def test_locks_of_a_run_at_work_are_listed_and_nothing_is_removed_beside_it(
    program: Program, top: Path
) -> None:
    make_locks(top)
    run = program("mapfiles", "--json", *places(top)).summary["run"]
    holder = f"archipmigrate_{socket.gethostname()}_{run}"
    put_lock(top / "maps", top / "locks", "volume", holder)
    before = lock_files(top)
    share = open_share(str(top / "maps"))
    runtime = secure_directory(runtime_directory(program.state))
    work = ShareLock(runtime, share.identity, "maps", share.places)
    try:
        work.sign(run)
        listed = program("locks", "--json", *places(top))
        (line,) = [line for line in listed.objects if line.get("kind") == "ours"]
        assert (line["note"], listed.status) == (f"run {run}, process {os.getpid()} is at work", 0)
        for words in (STOPPED, ("--break", holder)):
            assert program("locks", *words, *places(top)).status == 11
    finally:
        work.release()
        share.close()
    assert lock_files(top) == before


# -- beside other jobs


def test_perms_is_undone_after_locks_were_removed_and_made_again(
    program: Program, top: Path
) -> None:
    make_locks(top)
    before = lock_files(top)
    perms = program.perms(top).summary["run"]
    assert program("locks", *STOPPED, *places(top)).status == 0
    refused = program("undo", perms)
    assert (refused.status, "undo that one first" in refused.err) == (1, True)
    assert program("undo").status == 0
    assert program("undo", perms).status == 0
    assert lock_files(top) == before


def test_genuine_share_loses_its_seven_locks_and_gets_them_back(
    program: Program, tmp_path: Path
) -> None:
    share = extract_v03(tmp_path / "share")
    before = lock_files(share)
    place = ["--maps", share / "maps"]
    ended = program("locks", "--json", *STOPPED, *place)
    assert (ended.status, ended.summary["removed"]["v0.3"]) == (0, 7)
    assert not list((share / "maps").rglob("*_lock"))
    assert set(before) - set(lock_files(share)) == set(kinds(ended))
    ended = program("mapfiles", "--json", "-n", *place)
    assert "locked" not in {o.get("result") for o in ended.objects}
    assert program("undo").status == 0
    assert lock_files(share) == before


@pytest.mark.parametrize("name", ["locks", "lock"])
def test_mapfiles_refuses_maps_beside_a_lock_directory_with_locks(
    program: Program, top: Path, name: str
) -> None:
    beside = top / name
    beside.mkdir(parents=True)
    put_v1(top / "maps", "foobar")
    (beside / "notes").write_text("")
    assert program("mapfiles", "-n", "--maps", top / "maps").status == 0
    lock = put_lock(top / "maps", beside, "foobar")
    for command in ("mapfiles", "locks"):
        ended = program(command, "--maps", top / "maps")
        assert (ended.status, f"add --locks {beside}" in ended.err) == (2, True)
    ended = program("mapfiles", "--json", "--maps", top / "maps", "--locks", beside)
    assert ended.summary["locked"] == 1
    lock.rename(lock.with_name(f"foobar_lock{pwd.getpwuid(0).pw_name}_aa"))
    assert program("mapfiles", "--maps", top / "maps").status == 2
