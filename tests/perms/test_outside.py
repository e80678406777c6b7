"""What a job takes for the state directory, where devices do not tell."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.errors import ShareError
from archipmigrate.model import Scan, Tally, Unit
from archipmigrate.packed.changes import ChangeWriter
from archipmigrate.perms.outside import StateDirectory

FILE, DIRECTORY = 0o100600, 0o040700
JOURNAL = "perms-20261122T202007-cc1f.journal"


class Kept:
    """What a scan keeps open."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    (place / JOURNAL).touch()
    (place / "0123456789abcdef.lock").touch()
    return place


def scan_of(
    directory: bytes, name: str = "", *, uid: int, inode: int = 99, own: bool = False
) -> Scan:
    """Return the scan of a directory of which one file, or itself, must change."""
    writer = ChangeWriter(4242)
    writer.enter(directory, inode)
    if name:
        writer.change(os.fsencode(name), 0, FILE, FILE | 0o060, uid, 0, 7)
    writer.leave((DIRECTORY, DIRECTORY | 0o070, uid, 0) if own else None)
    return Scan(Tally(), preimage=writer.finish(), count=writer.count)


def is_refused(place: Path, scan: Scan) -> bool:
    state = StateDirectory.at(place)
    assert state is not None
    try:
        state.refuse(scan)
    except ShareError as error:
        return str(place) in str(error)
    return False


def test_files_are_known_by_name_and_owner(place: Path) -> None:
    me = os.geteuid()
    assert is_refused(place, scan_of(b"a/b", JOURNAL, uid=me))
    assert is_refused(place, scan_of(b"a/b", "0123456789abcdef.lock", uid=me))
    assert not is_refused(place, scan_of(b"a/b", JOURNAL, uid=me + 1))
    assert not is_refused(place, scan_of(b"a/b", JOURNAL.replace("cc1f", "cc10"), uid=me))
    assert not is_refused(place, scan_of(b"a/b", "name", uid=me))


def test_itself_is_known_by_name_owner_and_inode(place: Path) -> None:
    me, inode = os.geteuid(), place.stat().st_ino
    assert is_refused(place, scan_of(b"a/state", uid=me, inode=inode, own=True))
    assert not is_refused(place, scan_of(b"a/state", uid=me, inode=inode + 1, own=True))
    assert not is_refused(place, scan_of(b"a/other", uid=me, inode=inode, own=True))
    assert not is_refused(place, scan_of(b"a/state", uid=me + 1, inode=inode, own=True))


def test_refused_scan_keeps_nothing_open(place: Path) -> None:
    retained, cursor = Kept(), Kept()
    found = scan_of(b"a/b", JOURNAL, uid=os.geteuid())
    scan = replace(found, retained=retained, wide=Unit(b"", cursor=cursor))
    assert is_refused(place, scan)
    assert (retained.closed, cursor.closed) == (1, 1)


def test_state_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert StateDirectory.at(tmp_path / "none") is None
