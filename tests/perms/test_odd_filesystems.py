"""Filesystems that tell odd things: no links, times before 1970, names of 256 bytes and more."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.jobs.outcome import pack_outcome, unpack_outcome
from archipmigrate.model import Applied, Outcome
from tests.support.compiled import library
from tests.support.program import GID, Attrs, Cli, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged

Odd = Callable[..., Cli]
WIDE = 4200  # more than are read at once


@pytest.fixture
def odd(cli: Cli, share: Path) -> Odd:
    """Call with what is odd below the share: the program there."""
    always = {"LD_PRELOAD": str(library("odd_stat")), "ODD_UNDER": str(share)}
    return lambda **more: replace(cli, env={**always, **more})


@pytest.fixture
def filled(share: Path) -> Path:
    (share / "a" / "b").mkdir(parents=True, mode=0o700)
    (share / "a" / "file").touch(mode=0o600)
    (share / "a" / "tool").write_text("content")
    (share / "a" / "tool").chmod(0o4755)
    return share


def without_set_id(found: dict[bytes, Attrs]) -> dict[bytes, Attrs]:
    """Leave out set-id bits of files: whether they come back is another question."""
    return {
        path: (mode if stat.S_ISDIR(mode) else mode & ~0o6000, uid, gid)
        for path, (mode, uid, gid) in found.items()
    }


# -- no links


def test_directories_without_links_are_changed_and_put_back(
    cli: Cli, filled: Path, odd: Odd
) -> None:
    before = attrs(filled)
    program = odd(ODD_LINKS="0")
    ended = program.perms(filled)
    made(ended.summary["entries"] == len(before), "a look at all entries")
    assert (ended.status, drift(filled)) == (0, [])
    assert program("undo").status in (0, 3)
    assert without_set_id(attrs(filled)) == without_set_id(before)


# -- times


@pytest.mark.parametrize("time", [-1, -5 * 10**18, -(2**63)])
def test_outcome_holds_times_before_1970(time: int) -> None:
    applied = Applied(bytes([Outcome.CHANGED]), (), [(0, time)], time)
    assert unpack_outcome(pack_outcome(applied)) == applied


def test_outcome_of_an_older_version_is_read() -> None:
    """Of times from 1970 on the bytes are as they were: unsigned and signed are the same."""
    packed = bytes.fromhex("01000000 0900000000000000 01000000 00 00000000 0800000000000000")
    assert unpack_outcome(packed) == Applied(b"\0", (), [(0, 8)], 9)


@pytest.mark.parametrize("seconds", [-1, -5_000_000_000])
def test_entries_that_changed_before_1970_are_changed_and_put_back(
    cli: Cli, filled: Path, odd: Odd, seconds: int
) -> None:
    before = attrs(filled)
    program = odd(ODD_CTIME=str(seconds))
    ended = program("perms", "--group", GID, filled)
    made(not drift(filled), "a share that was changed")
    assert ended.status == 0
    assert "Traceback" not in ended.err
    assert program("undo").status in (0, 3)
    assert without_set_id(attrs(filled)) == without_set_id(before)


# -- long names


@pytest.mark.parametrize(
    ("length", "wide"),
    [(255, False), (256, False), (300, False), (4000, False), (255, True), (256, True)],
)
def test_name_that_is_too_long_fails_alone(
    cli: Cli, tmpfs: Path, length: int, *, wide: bool
) -> None:
    (tmpfs / "a").mkdir(mode=0o700)
    others = WIDE if wide else 2
    for name in ("LONG", *range(others)):
        (tmpfs / "a" / str(name)).touch(mode=0o600)
    (tmpfs / "last").touch(mode=0o600)
    before = attrs(tmpfs)
    env = {"LD_PRELOAD": str(library("long_names")), "LONG_NAMES": str(length)}
    program = replace(cli, env=env)
    ended = program("perms", "--json", "--group", GID, tmpfs)
    assert ended.status in (0, 3), ended.err
    left = drift(tmpfs)
    assert left in ([], [b"a/LONG"])
    assert left == ([b"a/LONG"] if length > 255 else [])
    assert (ended.status == 0) == (left == [])
    if left:
        failures = [thing for thing in ended.objects if thing["type"] == "failure"]
        assert [failure["path"] for failure in failures] == ["a/" + "n" * length]
        assert ended.summary["entries"] == len(before)
        again = program("resume", "--failed", "--json", ended.summary["run"])
        assert (again.status, again.summary["entries"]) == (3, len(before))
    assert program("undo").status == 0
    assert attrs(tmpfs) == before


def test_long_names_are_really_shown(cli: Cli, share: Path) -> None:
    """The control."""
    (share / "LONG").touch()
    env = {"LD_PRELOAD": str(library("long_names")), "LONG_NAMES": "250"}
    ended = replace(cli, env=env)("verify", "--json", "--list", "--group", GID, share)
    shown = [thing["path"] for thing in ended.objects if thing["type"] == "change"]
    assert "n" * 250 in shown
