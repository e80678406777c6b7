"""The C backend refuses buffers that are not what they should be; it never crashes."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipmigrate.model import Limits, Scan, Unit, Verb
from archipmigrate.modes import GUIDE
from archipmigrate.packed.changes import ChangeWriter, Flag
from archipmigrate.packed.groups import Group, Hint, pack_groups, unpack_groups, whole
from archipmigrate.policy import packed_modes
from tests.support.descriptors import none_left_open
from tests.support.parity import EVERYTHING, POLICY, extension, native, need_native
from tests.support.program import GID


@pytest.fixture(autouse=True)
def _built() -> None:
    need_native()


def scan_native(body: bytes) -> Scan:
    """Scan / by a body that may be anything, for one look."""
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    backend = native.NativeBackend(root)
    try:
        scan: Scan = backend.scan(Unit(body), POLICY, EVERYTHING, Limits(0, 1, 1))
    finally:
        backend.close()
        os.close(root)
    return scan


def check_native(body: bytes) -> None:
    """Have changes that may be anything settled, where there is nothing that they could change."""
    with tempfile.TemporaryDirectory() as empty:
        root = os.open(empty, os.O_RDONLY | os.O_DIRECTORY)
        backend = native.NativeBackend(root)
        try:
            backend.apply(body, Verb.SETTLE)
        finally:
            backend.close()
            os.close(root)


PATHS = st.lists(st.sampled_from([b"a", b"bc", b"\xff", b"n" * 255]), max_size=4).map(b"/".join)
HINTED = st.one_of(
    st.sampled_from([(Hint.WALK, b""), (Hint.SELF, b"")]),
    st.tuples(
        st.sampled_from([Hint.ENTRY, Hint.DIRECTORY]), st.sampled_from([b"x", b"yz", b"..."])
    ),
)
GROUPS = st.lists(
    st.builds(Group, PATHS, st.integers(0, 2**64 - 1), st.lists(HINTED, min_size=1).map(tuple)),
    max_size=5,
)


@settings(deadline=None)
@given(GROUPS)
def test_rest_has_all_groups_that_were_not_looked_at(groups: list[Group]) -> None:
    groups = [whole(b"no/such/thing"), *groups]
    scan = scan_native(pack_groups(groups))
    assert scan.tally.vanished == 1
    rest = list(unpack_groups(scan.rest.body)) if scan.rest else []
    assert rest == groups[1:]
    assert scan.rest is None or scan.rest.entries == sum(len(g.names) for g in rest)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_scan_refuses_or_reads_any_bytes(body: bytes) -> None:
    try:
        scan_native(body)
    except ValueError:
        assert body


@settings(deadline=None)
@given(GROUPS.filter(bool), st.data())
def test_scan_survives_damaged_groups(groups: list[Group], data: st.DataObject) -> None:
    body = bytearray(pack_groups([whole(b"no/such/thing"), *groups]))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        scan_native(bytes(body))


@pytest.mark.parametrize(
    "group",
    [
        Group(b"..", 0, ((Hint.WALK, b""),)),
        Group(b"a/../b", 0, ((Hint.WALK, b""),)),
        Group(b"/etc", 0, ((Hint.WALK, b""),)),
        Group(b"etc/", 0, ((Hint.WALK, b""),)),
        Group(b"a//b", 0, ((Hint.WALK, b""),)),
        Group(b"a\0b", 0, ((Hint.WALK, b""),)),
        Group(b"", 0, ((Hint.DIRECTORY, b".."),)),
        Group(b"", 0, ((Hint.DIRECTORY, b"."),)),
        Group(b"", 0, ((Hint.ENTRY, b"etc/passwd"),)),
        Group(b"", 0, ((Hint.ENTRY, b""),)),
        Group(b"", 0, ((Hint.ENTRY, b"a\0b"),)),
        Group(b"", 0, ((Hint.WALK, b"a"),)),
        Group(b"", 0, ((0, b"a"),)),
    ],
)
def test_scan_refuses_names_that_lead_elsewhere(group: Group) -> None:
    with pytest.raises(ValueError, match="malformed"):
        scan_native(pack_groups([whole(b"no/such/thing"), group]))


def test_scan_refuses_every_truncated_group() -> None:
    first = pack_groups([whole(b"no/such/thing")])
    body = pack_groups([whole(b"no/such/thing"), Group(b"no/x", 1, ((Hint.ENTRY, b"abc"),))])
    for end in range(len(first) + 1, len(body)):
        with pytest.raises(ValueError, match="malformed"):
            scan_native(body[:end])


@pytest.mark.parametrize(
    "options",
    [
        {"gid": -1},
        {"gid": 2**32 - 1},
        {"gid": 2**40},
        {"excludes": b"\5abc"},
        {"snapshots": b"\5abc"},
        {"stop": bytearray()},
        {"descriptors": 0},
        {"wide": 0},
        {"chunks": 0},
        {"most_open_dirs": -1},
        {"wide": 2**62, "chunks": 2**62},
    ],
)
def test_scan_refuses_arguments_out_of_range_and_closes_the_cursor(options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {
        "root": 0,
        "body": b"",
        "cursor": -1,
        "cursor_path": b"",
        "cursor_inode": 0,
        "counted": False,
        "last_try": False,
        "uid": 1,
        "gid": 1,
        "modes": packed_modes(GUIDE),
        "excludes": b"",
        "snapshots": b"",
        "skip_links": False,
        "cross": False,
        "xattrs": False,
        "seconds": 1.0,
        "entries": 1,
        "changes": 1,
        "stop": bytearray(1),
        "descriptors": 64,
        "most_open_dirs": 0,
        "wide": 8,
        "chunks": 2,
        "remote": False,
        "never_device": 0,
        "never_inode": 0,
    }
    with none_left_open():
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            arguments |= {"root": root, "cursor": os.dup(root), **options}
            with pytest.raises(ValueError, match="malformed"):
                extension.scan(**arguments)
        finally:
            os.close(root)


def written(*names: bytes) -> bytes:
    """Return changes of these entries in the root."""
    writer = ChangeWriter(GID)
    writer.enter(b"", 1)
    for name in names:
        flags = Flag.SETID if name.startswith(b"s") else Flag(0)
        writer.change(name, flags, 0o104755, 0o100775, 0, 0, 7, (1, 2) if flags else None)
    writer.enter(b"sub", 2)
    writer.leave((0o40700, 0o42770, 0, 0))
    writer.leave()
    return writer.finish()


def test_apply_refuses_every_truncated_body() -> None:
    body = written(b"file", b"setuid")
    check_native(body)
    for end in [*range(8), *range(9, len(body))]:
        with pytest.raises(ValueError, match="malformed"):
            check_native(body[:end])
    for more in (b"\3", b"\0", b"\5", body):
        with pytest.raises(ValueError, match="malformed"):
            check_native(body + more)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"a\0", b"x" * 256])
def test_apply_refuses_names_that_lead_elsewhere(name: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        check_native(written(b"file", name))
    writer = ChangeWriter(GID)
    writer.enter(b"", 1)
    writer.enter(b"up/../.." if name == b".." else name, 1)
    writer.change(b"file", 0, 0o100600, 0o100660, 0, 0, 7)
    writer.leave()
    writer.leave()
    if name not in {b"a/b", b"x" * 256}:
        with pytest.raises(ValueError, match="malformed"):
            check_native(writer.finish())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_apply_refuses_or_reads_any_bytes(tail: bytes) -> None:
    header = written(b"file")[:8]
    for body in (tail, header + tail, header + b"\1" + tail):
        try:
            check_native(body)
        except ValueError:
            continue
        assert len(body) == len(header)  # no changes, for whatever group


@settings(deadline=None)
@given(st.data())
def test_apply_survives_damaged_changes(data: st.DataObject) -> None:
    body = bytearray(written(b"file", b"setuid", b"other"))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        check_native(bytes(body))
