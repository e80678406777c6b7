"""`perms --mode` by direct NFS calls: bits that it takes away, too, in one SETATTR, and back."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from archipmigrate.modes import read_modes
from archipmigrate.policy import stripped
from tests.nfs import fake
from tests.nfs.fake import Fake
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID

pytest.importorskip("archipmigrate._nfs")

MODE = "d:g=rwx,g-s,o= f:g=u,o="
DIRECTORIES = [(mode, gid) for mode in (0o700, 0o2755, 0o2770, 0o770) for gid in (7, GID)]
FILES = [(mode, gid) for mode in (0o600, 0o4755, 0o2646, 0o660, 0o4660) for gid in (7, GID)]


@pytest.fixture
def server() -> Iterator[Fake]:
    """A server of a directory with an entry of each kind."""
    with Fake() as serving:
        serving.version4 = Version4()
        for make, kinds in ((serving.directory, DIRECTORIES), (serving.file, FILES)):
            for mode, gid in kinds:
                node = make(b"%s-%o-%d" % (make.__name__.encode(), mode, gid), mode)
                node.gid = gid
        yield serving


def states(server: Fake) -> dict[bytes, tuple[int, int]]:
    nodes = {b"": server.root, **server.root.children}
    return {name: (node.mode, node.gid) for name, node in nodes.items()}


@pytest.mark.parametrize("version", [3, 4])
def test_modes_come_in_one_call_and_go_back(program: Program, server: Fake, version: int) -> None:
    before, url, modes = states(server), server.url(version), read_modes(MODE)
    options = ("--json", "--group", GID, "--mode", MODE)
    after = {
        name: (mode, gid)
        if (modes.changed(mode), gid) == (mode, GID)
        else (stripped(modes.changed(mode)), GID)
        for name, (mode, gid) in before.items()
    }
    changed = sum(after[name] != before[name] for name in before)
    assert program("verify", *options, url).summary["drift"] == changed
    ended = program("perms", *options, "--jobs", 1, url)
    assert (ended.status, ended.summary["changed"]) == (0, changed)
    assert states(server) == after
    if version == 3:
        assert server.calls[fake.SETATTR] == changed
    assert program("verify", *options, url).status == 0
    assert program("undo").status == 3  # set-id bits of files stay off
    assert states(server) == {
        name: (mode if stat.S_ISDIR(mode) else mode & (after[name][0] | ~0o6000), gid)
        for name, (mode, gid) in before.items()
    }
