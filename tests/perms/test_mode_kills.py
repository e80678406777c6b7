"""`perms --mode` that takes bits away is finished, or undone, wherever it was killed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.modes import read_modes
from archipmigrate.policy import stripped
from tests.support import thinned
from tests.support.kill import Loaded, is_killed
from tests.support.odd_tree import put
from tests.support.program import GID, Attrs, attrs

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MODE = "d:g=rwx,g-s,o= f:g=u,o=,u-s"


@pytest.fixture
def loaded(backend: str, tmp_path: Path) -> Iterator[Loaded]:
    loaded = Loaded(backend, tmp_path)
    yield loaded
    loaded.close()


@pytest.fixture
def before(share: Path) -> dict[bytes, Attrs]:
    """Fill a share; return what it is."""
    for name, mode, gid in (("d", 0o2755, 7), ("right_group", 0o2775, GID)):
        (share / name).mkdir()
        put(share / name / "file", 0o644, gid)
        put(share / name / "set_uid", 0o4755, gid)
        put(share / name / "locking", 0o2606, gid)
        put(share / name, mode, gid)
    return attrs(share)


def migrated(before: dict[bytes, Attrs]) -> dict[bytes, Attrs]:
    modes = read_modes(MODE)
    return {
        path: (stripped(modes.changed(mode)), uid, GID) for path, (mode, uid, _) in before.items()
    }


def undone(before: dict[bytes, Attrs]) -> dict[bytes, Attrs]:
    after = migrated(before)
    return {
        path: (mode if stat.S_ISDIR(mode) else mode & (after[path][0] | ~0o6000), uid, gid)
        for path, (mode, uid, gid) in before.items()
    }


def reset(share: Path, before: dict[bytes, Attrs]) -> None:
    for path, (mode, uid, gid) in before.items():
        put(share / path.decode(), stat.S_IMODE(mode), gid, uid=uid)


def test_run_and_undo_killed_at_any_call_are_finished(
    loaded: Loaded, share: Path, tmp_path: Path, before: dict[bytes, Attrs]
) -> None:
    options = ("--mode", MODE, "--jobs", 1)
    kills = 0
    for at in thinned.strikes():
        state = tmp_path / f"state{at}"
        killed = is_killed(loaded.perms(state, share, *options, kill_at=at))
        kills += killed
        if killed:
            ended = loaded.perms(state, share, *options)
            assert (ended.status, ended.summary["resumed"]) == (0, True)
        assert attrs(share) == migrated(before)
        undo_killed = is_killed(loaded.undo(state, "--jobs", 1, kill_at=at))
        kills += undo_killed
        if undo_killed:
            assert loaded.undo(state).status == 3  # set-id bits of files stay off
        assert attrs(share) == undone(before)
        reset(share, before)
        if not (killed or undo_killed):
            break
    assert kills >= thinned.fewer(8)
