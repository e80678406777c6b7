"""A directory's own change comes after that of what is in it, however large it is.

What looks at the root of a tree to see whether the tree is done depends on it; and a member of the
group gets into a directory only when what is in it is as it must be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kill import Loaded
from tests.support.program import GID, Ended, attrs, drift
from tests.support.situations import made

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

WIDE = 4200  # more than are read at once


@pytest.fixture(scope="module", params=["python", "native"])
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    server = Loaded(request.param, tmp_path_factory.mktemp("order"))
    yield server
    server.close()


def too_early(share: Path) -> list[bytes]:
    """Return the directories that are changed though something in them is not."""
    left = drift(share)
    return [
        path
        for path in attrs(share)
        if path not in left and any(p.startswith(path + b"/" if path else b"") for p in left)
    ]


def ended_well(ended: Ended, share: Path) -> None:
    """Check that all is changed, and each entry counted once."""
    entries = len(attrs(share))
    summary = ended.summary
    assert (ended.status, drift(share)) == (0, [])
    assert (summary["entries"], summary["changed"] + summary["compliant"]) == (entries, entries)


@pytest.mark.parametrize("kill_at", [700, 2 * WIDE - 100])
def test_wide_directory_is_changed_after_all_that_is_in_it(
    loaded: Loaded, tmpfs: Path, state: Path, kill_at: int
) -> None:
    (tmpfs / "w").mkdir(mode=0o700)
    for number in range(WIDE):
        (tmpfs / "w" / f"{number}").touch(mode=0o600)
    ended = loaded.perms(state, tmpfs, "--jobs", 1, kill_at=kill_at)
    made(ended.status == -9, "a run that was killed")
    made(drift(tmpfs), "something that is left")
    assert too_early(tmpfs) == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_directory_that_is_begun_in_one_unit_is_changed_when_the_last_is_done(
    loaded: Loaded, tmpfs: Path, state: Path, jobs: int
) -> None:
    for number in range(30):
        below = tmpfs / f"{number % 3}" / f"{number % 6}" / f"{number}"
        below.mkdir(parents=True, mode=0o700)
        for name in range(60):  # 1,800: units begin with 256
            (below / f"{name}").touch(mode=0o600)
    for kill_at in (500, 900, 200):
        ended = loaded.perms(state, tmpfs, "--jobs", jobs, kill_at=kill_at)
        made(ended.status != 0, "a run that was killed, or a part of it")
        made(drift(tmpfs), "something that is left")
        assert too_early(tmpfs) == []
    ended_well(loaded.perms(state, tmpfs, "--jobs", jobs), tmpfs)


def test_wide_directory_in_a_wide_one_is_changed_once_after_three_kills(
    loaded: Loaded, tmpfs: Path, state: Path
) -> None:
    inner = tmpfs / "w" / "inner"
    inner.mkdir(parents=True, mode=0o700)
    for number in range(WIDE):
        (tmpfs / "w" / f"{number}").touch(mode=0o600)
        (inner / f"{number}").touch(mode=0o600)
    for kill_at in (300, 6000, 2000):
        ended = loaded.perms(state, tmpfs, "--jobs", 2, kill_at=kill_at)
        made(ended.status != 0, "a run that was killed, or a part of it")
        made(drift(tmpfs), "something that is left")
        assert too_early(tmpfs) == []
    ended_well(loaded.perms(state, tmpfs, "--jobs", 2), tmpfs)


@pytest.mark.parametrize("kill_at", [30, 300])
def test_directories_are_changed_after_all_that_is_in_them(
    loaded: Loaded, tmpfs: Path, state: Path, kill_at: int
) -> None:
    for number in range(10):
        below = tmpfs / f"d{number}" / "e" / "f"
        below.mkdir(parents=True, mode=0o700)
        for name in range(40):
            (below / f"{name}").touch(mode=0o600)
    ended = loaded.perms(state, tmpfs, "--jobs", 1, kill_at=kill_at)
    made(ended.status == -9, "a run that was killed")
    made(drift(tmpfs), "something that is left")
    assert too_early(tmpfs) == []


def test_check_sees_a_directory_that_was_changed_too_early(tmpfs: Path) -> None:
    """The control."""
    (tmpfs / "d").mkdir(mode=0o700)
    (tmpfs / "d" / "file").touch(mode=0o600)
    os.chown(tmpfs / "d", 0, GID)
    (tmpfs / "d").chmod(0o2770)
    assert too_early(tmpfs) == [b"d"]
