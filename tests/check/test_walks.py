"""What only walks find: objects by place, maps by result, permissions, room."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.check import question, room
from archipmigrate.check.finding import Level, Topic
from archipmigrate.jobs.ended import Ended
from archipmigrate.session import work
from archipmigrate.share.daemons import running_daemons
from tests.support.inprocess import Program
from tests.support.map_shares import PREFIX, digests, from_v1, put, put_v2, v1
from tests.support.old_shares import make_old_share
from tests.support.program import GID
from tests.support.program import Ended as Output

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def ready(program: Program, share: Path) -> Path:
    """A share that is ready: a v2 map and its objects, open to the group."""
    entries = [(1, digest) for digest in digests(2)]
    (share / "maps").mkdir()
    put_v2(share / "maps", "volume-1", from_v1(entries))
    for _, digest in entries:
        put(share / "blocks", f"{PREFIX}{digest.hex()}", b"data")
    assert program.perms(share).status == 0
    return share


def check(program: Program, top: Path, *words: object) -> Output:
    return program("check", "--json", "--owner", "root", "--group", GID, *words, top)


def found(ended: Output) -> dict[str, dict[str, Any]]:
    """Return the worst finding of each topic that is not ok."""
    bad = [o for o in ended.objects if o.get("level") in ("warning", "blocker")]
    assert all(finding["todo"] for finding in bad)
    order = [level.word for level in Level]
    return {f["topic"]: f for f in sorted(bad, key=lambda f: order.index(f["level"]))}


def levels(ended: Output) -> dict[str, str]:
    return {topic: finding["level"] for topic, finding in found(ended).items()}


def test_share_that_is_ready_has_no_findings(program: Program, ready: Path) -> None:
    ended = check(program, ready)
    assert (ended.status, levels(ended)) == (0, {}), ended.out
    topics = {o["topic"] for o in ended.objects if o["type"] == "finding"}
    assert topics == set(Topic) - {"hosts", "room", "volumes"}


def test_each_kind_of_old_object_is_counted(program: Program, tmp_path: Path) -> None:
    top = tmp_path / "share"
    make_old_share(top)
    ended = check(program, top)
    assert ended.status == 5
    due = {"places": "blocker", "conflicts": "blocker", "names": "blocker", "drift": "blocker"}
    assert due.items() <= levels(ended).items()
    places = found(ended)["places"]["data"]
    moves = {"moved-blocks": 4, "moved-maps": 2, "linked": 1, "merged": 1, "current": 3}
    assert moves.items() <= places.items()
    assert "--v03-stopped" in found(ended)["places"]["todo"]


def test_v04_that_runs_on_old_objects_is_a_blocker(
    program: Program, tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "comm").write_text("archip-mapperd\n")
    monkeypatch.setattr(running_daemons, "__defaults__", (tmp_path / "proc",))
    assert check(program, ready).status == 0  # it is made for that
    block = f"{PREFIX}{'ab' * 32}"
    put(ready / "blocks", block, b"data", place=Path("ab/ab/ab"))
    assert levels(check(program, ready))["daemons"] == "blocker"


def test_file_of_no_use_is_a_warning(program: Program, ready: Path) -> None:
    (ready / "blocks" / "README").touch()
    os.chown(ready / "blocks" / "README", 0, GID)
    (ready / "blocks" / "README").chmod(0o660)
    ended = check(program, ready)
    assert (ended.status, levels(ended)) == (4, {"places": "warning"})


@pytest.mark.parametrize(
    ("put_one", "level"),
    [
        (lambda maps: put(maps, "garbage", b"?"), "warning"),
        (lambda maps: put(maps, f"{PREFIX}old-one", v1([])), "warning"),
        (
            lambda maps: [
                put_v2(maps, "volume-2", []),
                put(maps, f"{PREFIX}volume-2", b"?"),
                put(maps, "volume-3", b"?"),
                put(maps, f"{PREFIX}volume-3", v1([])),
            ],
            "blocker",
        ),
    ],
    ids=["invalid", "v1", "conflict"],
)
def test_maps_that_are_not_current(
    program: Program, ready: Path, put_one: Callable[[Path], object], level: str
) -> None:
    put_one(ready / "maps")
    assert program.perms(ready).status == 0
    ended = check(program, ready)
    assert levels(ended) == {"maps": level}, ended.out


def test_v0_maps_lack_their_sizes_and_nothing_else(program: Program, ready: Path) -> None:
    put(ready / "maps", "ab" * 32, bytes(range(32)))
    assert program.perms(ready).status == 0
    ended = check(program, ready)
    finding = found(ended)["maps"]
    assert finding["data"] == {"result": "v0", "count": 1}
    assert "--pithos-db URL, or --sizes FILE" in finding["todo"]


def test_entries_that_perms_would_change_and_hard_links(program: Program, ready: Path) -> None:
    file = next(path for path in (ready / "blocks").rglob("*") if path.is_file())
    os.link(file, ready / "blocks" / "link")
    file.chmod(0o600)
    os.chown(ready / "maps", 0, 0)
    ended = check(program, ready)
    assert levels(ended) == {"drift": "blocker", "links": "warning", "places": "warning"}
    assert found(ended)["drift"]["data"]["drift"] in (2, 3)  # the file has two names
    assert (
        found(ended)["drift"]["todo"]
        == f"after relocate: archipmigrate perms --group {GID} --state {program.state} {ready}"
    )


def test_without_the_group_drift_is_not_counted(program: Program, ready: Path) -> None:
    ended = program("check", "--json", "--owner", "root", "--group", "nobody-here", ready)
    assert (ended.status, levels(ended)["group"]) == (5, "blocker")
    assert "drift" not in levels(ended)


@pytest.mark.parametrize("lacking", ["f_bfree", "f_ffree"])
def test_room_that_is_lacking_is_a_blocker(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    make_old_share(tmp_path / "share", odd=False)

    class Full:
        f_files = f_ffree = f_favail = f_bfree = f_bavail = 10**6
        f_frsize = 4096

    full = Full()
    setattr(full, lacking, 3)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    ended = check(program, tmp_path / "share")
    assert levels(ended)["room"] == "blocker"


def test_room_that_is_lacking_for_undo_is_a_blocker(
    program: Program, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ready / "maps").chmod(0o700)
    assert "room" not in levels(check(program, ready))
    monkeypatch.setattr(room, "spare_bytes", lambda _: 0)
    assert levels(check(program, ready))["room"] == "blocker"


def test_relocate_that_has_no_room_is_said(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run itself stops then."""
    make_old_share(tmp_path / "share", odd=False)
    monkeypatch.setattr("archipmigrate.relocate.room.DIRECTORY_BYTES", 1 << 60)
    ended = check(program, tmp_path / "share")
    assert levels(ended)["places"] == "blocker", ended.out
    assert "make room there" in ended.out


@pytest.mark.parametrize("error", [13, 5])
def test_directory_that_cannot_be_read_is_a_blocker(
    program: Program, ready: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    listdir = os.listdir

    def failing(path: Any) -> list[str]:
        if isinstance(path, int) and os.readlink(f"/proc/self/fd/{path}").endswith("/blocks"):
            raise OSError(error, os.strerror(error))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", failing)
    ended = check(program, ready, "--no-probe", "--backend", "python")
    assert (ended.status, levels(ended)["places"]) == (5, "blocker")


def test_interrupted_check_ends_as_a_signal_does(
    program: Program, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> object:
        def told(ended: Ended) -> None:
            args[-1](replace(ended, status="interrupted", signal=signal.SIGTERM))

        return work.dry_run(*args[:-1], told)  # type: ignore[call-arg]

    monkeypatch.setattr(question, "dry_run", interrupted)
    ended = check(program, ready)
    assert ended.status == 143
    assert "nothing was changed" in ended.err
