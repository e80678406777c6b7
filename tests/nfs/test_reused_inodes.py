"""Undo by URL, and files that were made after the run with the inode numbers of deleted ones."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.nfs.fake import Fake, Node
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as made_server:
        made_server.version4 = Version4()
        for name in (b"kept", b"deleted"):
            made_server.file(name, 0o604)
        yield made_server


def replace(server: Fake, name: bytes) -> Node:
    """Delete a file and make another one, as a member of the group leaves it."""
    old = server.root.children[name]
    old.gone = True
    new = server.file(name, 0o664)
    new.gid, new.uid, new.other_inode = GID, old.uid, old.number
    new.ctime = old.ctime + (100 << 32)
    return new


@pytest.mark.parametrize("version", [3, 4])
def test_file_that_was_made_after_the_run_is_left_as_it_is(
    program: Program, server: Fake, version: int
) -> None:
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    new = replace(server, b"deleted")
    made(new.inode == new.other_inode, "a number that is used again")
    ended = program("undo", "--json")
    assert (new.gid, stat.S_IMODE(new.mode)) == (GID, 0o664)
    kept = server.root.children[b"kept"]
    assert (kept.gid, stat.S_IMODE(kept.mode)) == (1000, 0o604)
    assert ended.status == 3
    assert [f["path"] for f in ended.objects if f["type"] == "failure"] == ["deleted"]


@pytest.mark.parametrize("version", [3, 4])
def test_files_of_the_run_go_back(program: Program, server: Fake, version: int) -> None:
    """The control."""
    assert program("perms", "--group", GID, server.url(version)).status == 0
    assert program("undo").status == 0
    for node in server.root.children.values():
        assert (node.gid, stat.S_IMODE(node.mode)) == (1000, 0o604)
