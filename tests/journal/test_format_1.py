"""Journals of format 1, as versions until 0.1 wrote them, stay readable: built here byte by byte.

Nothing of the program's own packing is used: docs/design/journal.md of that time says what is what.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_64_intdigest

from archipmigrate.share import open_share
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged

RUN = "perms-20250101T000000-abcd"
SCHEMA = """
CREATE TABLE header (format INTEGER NOT NULL, content TEXT NOT NULL);
CREATE TABLE frontier (
    id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, retries INTEGER NOT NULL,
    counted INTEGER NOT NULL, entries INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE batch (id INTEGER PRIMARY KEY, preimage BLOB NOT NULL, outcome BLOB);
CREATE INDEX unsettled ON batch (id) WHERE outcome IS NULL;
CREATE TABLE link (
    device INTEGER, inode INTEGER, batch INTEGER NOT NULL, PRIMARY KEY (device, inode)
) WITHOUT ROWID;
CREATE TABLE scope (id INTEGER PRIMARY KEY, body BLOB, tally TEXT NOT NULL);
CREATE TABLE failure (
    path BLOB NOT NULL, operation TEXT NOT NULL, errno INTEGER NOT NULL, note TEXT NOT NULL,
    hint INTEGER NOT NULL, scope INTEGER NOT NULL);
"""
FILES = ("one", "two")
# A group: the root, inode not known, to be walked whole.
WHOLE = struct.pack("<IIQI", 0, 0, 0, 2) + b"w\0"


def checksummed(content: bytes) -> bytes:
    rest = struct.pack("<I", len(content)) + zlib.compress(content)
    return struct.pack("<Q", xxh3_64_intdigest(rest)) + rest


def preimage(share: Path) -> bytes:
    """Return the changes of a share of 0600 files of group 0, itself 0700."""
    root = share.stat()
    out = struct.pack("<B3xI", 1, GID) + struct.pack("<B3xIQ", 1, 0, root.st_ino)
    for name in FILES:
        inode = (share / name).stat().st_ino
        out += struct.pack("<BBHHHIIQ", 2, 0, len(name), 0o100600, 0o100660, 0, 0, inode)
        out += name.encode()
    return out + struct.pack("<BBHHHIIQ", 4, 0, 0, 0o40700, 0o42770, 0, 0, root.st_ino)


def outcome(share: Path) -> bytes:
    """Return that all was changed, beginning with the first file."""
    first = min((share / name).stat().st_ctime_ns for name in FILES)
    return struct.pack("<IQI", 3, first, 0) + bytes(3)


def put(directory: Path, share: Path, **more: Any) -> None:
    """Write a journal; *more* are `status`, `batch` (preimage, outcome), `frontier`, `entries`."""
    opened = open_share(str(share))
    opened.close()
    header = {
        "run": RUN,
        "job": "perms",
        "share": opened.identity,
        "path": str(share),
        "created": "2025-01-01T00:00:00.000000+00:00",
        "settings": {
            "gid": GID,
            "excludes": [".snapshot", ".zfs"],
            "skip_links": False,
            "cross": False,
        },
        "backend": "native",
        "status": more.get("status", "done"),
        "sessions": 1,
        "began": "2025-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "undone": "",
        "superseded": "",
        "host": "here",
    }
    path = directory / f"{RUN}.journal"
    with sqlite3.connect(path) as journal:
        journal.executescript(SCHEMA)
        journal.execute("INSERT INTO header VALUES (1, ?)", (json.dumps(header),))
        tally = {"entries": more.get("entries", 3), "changed": more.get("entries", 3)}
        journal.execute("INSERT INTO scope VALUES (0, NULL, ?)", (json.dumps(tally),))
        if "batch" in more:
            journal.execute("INSERT INTO batch VALUES (1, ?, ?)", more["batch"])
        if "frontier" in more:
            journal.execute("INSERT INTO frontier VALUES (2, 0, 0, 0, 1, ?)", (more["frontier"],))
    journal.close()
    path.chmod(0o600)


@pytest.fixture
def before(share: Path) -> dict[bytes, tuple[int, int, int]]:
    for name in FILES:
        (share / name).touch(mode=0o600)
    born = (share / FILES[-1]).stat().st_ctime_ns
    while share.stat().st_ctime_ns <= born:  # what was born in the tick of a change is another's
        share.chmod(0o700)
    return attrs(share)


def change(share: Path, *names: str) -> None:
    """Make the changes of the run that is not there."""
    for name in names:
        os.chown(share / name, -1, GID)
        (share / name).chmod(0o2770 if name == "." else 0o660)


def test_run_of_format_1_is_shown_and_undone(
    program: Program, share: Path, before: dict[bytes, tuple[int, int, int]]
) -> None:
    change(share, *FILES, ".")
    put(program.state, share, batch=(checksummed(preimage(share)), checksummed(outcome(share))))
    (shown,) = program("status", "--json").objects
    assert (shown["run"], shown["status"], shown["changed"]) == (RUN, "done", 3)
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"], ended.summary["undone"]) == (0, 3, RUN)
    assert attrs(share) == before


def test_run_of_format_1_that_was_interrupted_goes_on(
    program: Program, share: Path, before: dict[bytes, tuple[int, int, int]]
) -> None:
    put(program.state, share, status="interrupted", frontier=WHOLE, entries=0)
    ended = program.perms(share)
    assert (ended.status, ended.summary["run"], ended.summary["changed"]) == (0, RUN, 3)
    assert drift(share) == []
    assert program("undo").status == 0
    assert attrs(share) == before


def test_run_of_format_1_keeps_what_it_skips(program: Program, share: Path) -> None:
    for name in (*FILES, ".snapshot"):
        (share / name).mkdir()
    put(program.state, share, status="interrupted", frontier=WHOLE, entries=0)
    summary = program.perms(share).summary
    assert (summary["run"], summary["skipped"]) == (RUN, 1)
    (shown,) = program("status", "--json").objects
    assert [(n["kind"], n["count"]) for n in shown["notices"]] == [("snapshot", 1)]


def test_run_of_format_1_that_was_killed_is_settled(
    program: Program, share: Path, before: dict[bytes, tuple[int, int, int]]
) -> None:
    change(share, "one")
    os.chown(share / "two", -1, GID)  # half done
    batch = (checksummed(preimage(share)), None)
    put(program.state, share, status="running", frontier=WHOLE, entries=0, batch=batch)
    made(len(drift(share)) == 2, "a run that was killed")
    ended = program("resume", "--json")
    assert (ended.status, ended.summary["entries"], ended.summary["changed"]) == (0, 3, 3)
    assert drift(share) == []
    assert program("undo").status == 0
    assert attrs(share) == before


def test_run_of_format_1_that_was_killed_is_undone(
    program: Program, share: Path, before: dict[bytes, tuple[int, int, int]]
) -> None:
    change(share, "one")
    os.chown(share / "two", -1, GID)  # half done
    batch = (checksummed(preimage(share)), None)
    put(program.state, share, status="running", frontier=WHOLE, entries=0, batch=batch)
    assert program("undo").status == 0
    assert attrs(share) == before
