"""Over NFS, too, a directory's own change comes after that of what is in it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from archipmigrate.engine import limits
from archipmigrate.model import Scan
from tests.nfs import fake
from tests.nfs.fake import Call, Fake, Node
from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

nfs = pytest.importorskip("archipmigrate.backend.nfs")


def below(node: Node) -> Iterator[Node]:
    for child in node.children.values():
        yield child
        yield from below(child)


class Watched(Fake):
    """A server that notes directories that are changed before something in them."""

    def __init__(self) -> None:
        super().__init__()
        self.too_early: list[int] = []

    def _setattr(self, node: Node, call: Call) -> bytes:
        if stat.S_ISDIR(node.mode) and any(entry.gid != GID for entry in below(node)):
            self.too_early.append(node.number)
        return super()._setattr(node, call)


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many directories each scan deferred; units are small, and directories soon wide."""
    monkeypatch.setattr(limits, "FIRST_CHANGES", 16)
    monkeypatch.setattr(limits, "MOST_CHANGES", 16)
    monkeypatch.setattr(nfs, "WIDE", 50)
    found: list[int] = []
    real = nfs.NfsBackend.scan

    def scan(backend: object, *args: object) -> Scan:
        result: Scan = real(backend, *args)
        found.extend([result.deferred.entries] if result.deferred else [])
        return result

    monkeypatch.setattr(nfs.NfsBackend, "scan", scan)
    return found


@pytest.mark.parametrize("jobs", [1, 4])
def test_directory_is_changed_after_all_that_is_in_it(
    program: Program, deferred: list[int], jobs: int
) -> None:
    with Watched() as server:
        for _ in range(5):
            at = None
            for depth in range(4):
                at = server.directory(b"d%d" % len(server.root.children), parent=at)
                for number in range(120 if depth == 2 else 20):
                    server.file(b"%d" % number, parent=at)
        entries = sum(1 for _ in below(server.root)) + 1
        ended = program("perms", "--json", "--group", GID, "--jobs", jobs, server.url())
        made(sum(deferred) > 5, "directories that are deferred")
        assert (ended.status, ended.summary["changed"]) == (0, entries)
        assert (ended.summary["compliant"], server.drift(GID)) == (0, [])
        assert server.too_early == []
        assert server.calls[fake.LOOKUP] == 0  # their handles are remembered
        assert server.calls[fake.GETATTR] <= sum(deferred) + 2
