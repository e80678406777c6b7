"""Where journals may lie: nobody else may write there, and never in the share or on a full disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.journal.location import SPARE_BYTES
from tests.support.program import GID, Cli, attrs, need

pytestmark = pytest.mark.privileged


def refused(cli: Cli, share: Path, state: Path) -> str:
    """Run with a state directory that must be refused; return what it says."""
    before = attrs(share)
    ended = cli("perms", "--group", GID, "--state", state, share)
    assert ended.status == 1
    assert attrs(share) == before
    return ended.err


def test_state_inside_the_share_is_refused(cli: Cli, share: Path) -> None:
    (share / "deep").mkdir()
    assert "lies inside the share" in refused(cli, share, share / "deep" / "state")


def test_state_inside_the_share_by_a_link_is_refused(cli: Cli, share: Path, tmp_path: Path) -> None:
    (share / "deep").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(share / "deep")
    assert "lies inside the share" in refused(cli, share, tmp_path / "link")


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_state_that_others_can_write_is_refused(
    cli: Cli, share: Path, tmp_path: Path, mode: int
) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(mode)
    assert "can be written by others" in refused(cli, share, place)


def test_state_of_somebody_else_is_refused(cli: Cli, share: Path, tmp_path: Path) -> None:
    place = tmp_path / "his"
    place.mkdir(mode=0o700)
    os.chown(place, 1000, 1000)
    assert "belongs to uid 1000" in refused(cli, share, place)


def test_state_that_others_could_replace_is_refused(cli: Cli, share: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "state").mkdir(parents=True, mode=0o700)
    above.chmod(0o777)
    assert "could replace it" in refused(cli, share, above / "state")


def test_new_state_directory_is_private(cli: Cli, share: Path, tmp_path: Path) -> None:
    place = tmp_path / "made" / "for it"
    assert cli("perms", "--group", GID, "--state", place, share).status == 0
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_state_on_a_disk_without_room_is_refused(
    cli: Cli, share: Path, tmp_path: Path, unmounting: Callable[[Path], None]
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    size = SPARE_BYTES // 2
    options = f"size={size},mode=0700"
    subprocess.run([need("mount"), "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    unmounting(place)
    assert "less than 16 MiB left" in refused(cli, share, place)
