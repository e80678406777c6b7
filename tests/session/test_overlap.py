"""Runs whose shares overlap: one is refused while the other works, and undone before the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archipmigrate.errors import Busy
from archipmigrate.journal.lock import ShareLock
from archipmigrate.journal.runs import list_runs
from archipmigrate.session.open import locked, places_of, roots_of
from archipmigrate.share import open_share, overlap
from archipmigrate.share.places import nfs_place
from tests.support.inprocess import Program
from tests.support.program import attrs
from tests.support.situations import made


@contextmanager
def held(directory: Path, path: Path) -> Iterator[None]:
    """Hold the lock of a share as a session does."""
    share = open_share(str(path))
    try:
        lock = ShareLock(directory, share.identity, str(path), share.places)
        lock.sign("perms-1")
    finally:
        share.close()
    try:
        yield
    finally:
        lock.release()


@pytest.fixture
def tree(share: Path) -> Path:
    for name in ("maps", "maps-of-old", "blocks"):
        (share / name).mkdir()
        (share / name / "file").touch(mode=0o600)
    return share


@pytest.mark.parametrize(
    ("ours", "theirs", "do"),
    [
        (["uuid:1:/srv/archip"], ["uuid:1:/srv/archip/maps"], True),
        (["uuid:1:/srv/archip/maps"], ["uuid:1:/srv/archip"], True),
        (["uuid:1:/srv/archip"], ["uuid:1:/srv/archip"], True),
        (["uuid:1:/srv/archip"], ["uuid:1:/srv/archip-2"], False),
        (["uuid:1:/srv"], ["uuid:2:/srv"], False),
        (["uuid:1:/"], ["uuid:1:/srv"], True),
        (["uuid:1:/a", "path:/mnt"], ["uuid:2:/b", "path:/mnt/b"], True),
        ([], ["uuid:1:/"], False),
    ],
)
def test_directories_overlap_if_one_is_above_the_other(
    ours: list[str], theirs: list[str], do: bool
) -> None:
    assert overlap(ours, theirs) is do


def test_mount_and_url_of_an_export_have_the_same_place() -> None:
    assert nfs_place("server:/export", b"/archip") == nfs_place("server:/export/archip")
    assert nfs_place("[fe80::1]:/export") == "nfs:[fe80::1]:/export"
    assert nfs_place("server:/") == "nfs:server:/"


@pytest.mark.parametrize(("first", "second"), [("", "maps"), ("maps", "")])
def test_share_above_or_below_is_busy(tmp_path: Path, tree: Path, first: str, second: str) -> None:
    with held(tmp_path, tree / first):
        with pytest.raises(Busy, match="perms-1"), held(tmp_path, tree / second):
            pass
        assert len(list(tmp_path.glob("*.lock"))) == 1
    with held(tmp_path, tree / second):
        pass


def test_shares_beside_each_other_are_not(tmp_path: Path, tree: Path) -> None:
    with held(tmp_path, tree / "maps"), held(tmp_path, tree / "maps-of-old"):
        pass
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.privileged
def test_bind_mount_of_a_part_is_busy(
    tmp_path: Path, tree: Path, mount: Callable[..., Path]
) -> None:
    bound = mount(tmp_path / "bound", "--bind", tree / "maps")
    with held(tmp_path, tree), pytest.raises(Busy), held(tmp_path, bound):
        pass


def test_lock_that_a_killed_run_left_keeps_nobody_from_shares_below(
    tmp_path: Path, tree: Path
) -> None:
    share = open_share(str(tree))
    killed = ShareLock(tmp_path, share.identity, str(tree), share.places)
    share.close()
    os.close(killed.fd)
    with held(tmp_path, tree / "maps"):
        pass


@pytest.mark.privileged
def test_command_on_a_part_of_a_busy_share_is_refused(program: Program, tree: Path) -> None:
    share = open_share(str(tree))
    before = attrs(tree)
    with locked(program.state, roots_of(share, {}), places_of(share, {})):
        ended = program.perms(tree / "maps")
    share.close()
    assert ended.status == Busy.exit_status
    assert "part of" in ended.err
    assert attrs(tree) == before


@pytest.mark.privileged
@pytest.mark.parametrize(("first", "second"), [("", "maps"), ("maps", "")])
def test_undo_is_refused_until_what_came_later_is_undone(
    program: Program, tree: Path, first: str, second: str
) -> None:
    before = attrs(tree)
    made(program.perms(tree / first).status == 0, "a run")
    later = tree / second / "later"
    later.touch(mode=0o600)
    made(program.perms(tree / second).status == 0, "a run above or below")
    early, late = (header.run for header in list_runs(program.state))
    between = attrs(tree)
    ended = program("undo", early)
    assert (ended.status, attrs(tree)) == (1, between)
    assert f"undo {late}" in ended.err
    assert program("undo", late).status == 0
    assert program("undo", early).status == 0
    later.unlink()
    assert attrs(tree) == before


@pytest.mark.privileged
def test_undo_goes_past_a_later_run_that_changed_nothing_or_elsewhere(
    program: Program, tree: Path
) -> None:
    made(program.perms(tree / "maps").status == 0, "a run")
    made(program.perms(tree / "maps-of-old").status == 0, "a run elsewhere")
    made(program.perms(tree / "maps").status == 0, "a run that changes nothing")
    assert program("undo", next(list_runs(program.state)).run).status == 0
